"""``headrace run``: runs a work tree's pipeline, shows all of it, says how it ended."""

from __future__ import annotations

import argparse
import getpass
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from buildmaster.cli.console import Console, tone
from buildmaster.cli.context import Context
from buildmaster.cli.data_folder import DataFolder, FarmSettings, default_cache_folder
from buildmaster.cli.following import RunFollower
from buildmaster.cli.narration import in_words, seconds_between
from buildmaster.cli.own_farm import OwnFarm, remove_farm
from buildmaster.cli.problems import FAILED, CommandFailed, CommandMisused
from buildmaster.cli.submitting import add_submission_options, announce, chosen_options
from buildmaster.cli.tree import open_archive, pack
from buildmaster.client.documents import JobDocument, RunDocument
from buildmaster.client.http import Client
from buildmaster.requests import SubmissionRequest, TreeRequest
from buildmaster.submission import REFERENCES, USUAL_FILE
from protocol.tree_archive import PackedTree, TreeProblem

_DESCRIPTION = """\
Runs the pipeline of a work tree: uncommitted changes included, files that git ignores
not. The farm is the one that HEADRACE_URL names, or one of its own that lives as long as
the command.

Exit status: 0 if everything passed, 1 if not, 2 for wrong usage. Ctrl-C cancels the run;
a second one leaves at once.
"""


def add(subparsers: Any) -> None:
    """Add ``run`` to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the pipeline of a work tree",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path", nargs="?", default=".", type=Path, help="the work tree (default: here)"
    )
    add_submission_options(parser)
    own = parser.add_argument_group("a farm of its own (without HEADRACE_URL)")
    own.add_argument(
        "--data", metavar="DIR", type=Path, help="keep the farm's data in this folder"
    )
    own.add_argument(
        "--keep", action="store_true", help="keep the farm's data in a temporary folder"
    )
    own.add_argument(
        "--series-image",
        metavar="SERIES=IMAGE",
        action="append",
        default=[],
        help="take the image of another series, as in jammy=bookworm; may be repeated",
    )
    parser.set_defaults(act=run)


async def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do it; the exit status."""
    images = read_series_images(arguments.series_image)
    if context.environ.get("HEADRACE_URL"):
        if arguments.data or arguments.keep or images:
            raise CommandMisused(
                "--data, --keep and --series-image are for a farm of its own, and"
                " HEADRACE_URL names another one: leave one of them out."
            )
        return await _pack_and_run(arguments, context, None)
    with _data_folder(arguments.data, arguments.keep, context.console) as folder:
        settings = FarmSettings(
            default_http="127.0.0.1:0",
            listen_for_workers="127.0.0.1:0",
            series_images=images,
        )
        data = DataFolder(folder, default_cache_folder(context.environ))
        farm = OwnFarm(context.reactor, data, settings, context.console)
        try:
            return await _pack_and_run(arguments, context, farm)
        finally:
            context.interrupts.handler = farm.kill
            await farm.stop()


async def _pack_and_run(
    arguments: argparse.Namespace, context: Context, farm: OwnFarm | None
) -> int:
    tree = arguments.path.absolute()
    with tempfile.TemporaryDirectory(prefix="headrace-tree-") as folder:
        try:
            packed = pack(tree, Path(folder) / "tree.tar")
        except TreeProblem as error:
            raise CommandFailed(str(error)) from error
        names = [arguments.config] if arguments.config else [REFERENCES, USUAL_FILE]
        if not any((tree / name).is_file() for name in names):
            raise CommandFailed(
                f"There is no {names[-1]} in {tree}: name the pipeline's file with"
                " --config, or another work tree."
            )
        for path in packed.left_out:
            context.console.say(f"Not sent, for it is no file: {path}", "void")
        if farm is None:
            client = context.client()
        else:
            context.console.say("Starting a farm of its own", "faint")
            client = await farm.start()
        context.console.say(f"Dashboard: {client.url}/")
        await _send(client, packed, context)
    name = f"worktree/{_user()}/{tree.resolve().name or 'root'}"
    request = SubmissionRequest(
        source=TreeRequest(name=name, sha256=packed.sha256), **chosen_options(arguments)
    )
    submitted = await client.submit(request)
    announce(context.console, submitted)
    follower = RunFollower(context.reactor, client, context.console, submitted.run)
    ended = await _follow(follower, client, context, submitted.run, farm)
    status = conclude(context.console, ended, follower.jobs)
    stops = "" if farm is None else " (its farm stops now; --data DIR keeps what it knows)"
    context.console.say(f"Dashboard: {client.url}/{stops}")
    return status


async def _send(client: Client, packed: PackedTree, context: Context) -> None:
    if await client.has_artifact(packed.sha256):
        return
    size = f"{packed.files} files, {packed.size / 1e6:.1f} MB"
    telling = context.reactor.callLater(
        2.0, context.console.say, f"Sending the work tree ({size})", "faint"
    )
    try:
        with open_archive(packed) as archive:
            await client.store_artifact(packed.sha256, archive)
    finally:
        if telling.active():
            telling.cancel()


async def _follow(
    follower: RunFollower, client: Client, context: Context, run: int, farm: OwnFarm | None
) -> RunDocument:
    """Follow the run; Ctrl-C cancels it, and then leaves."""
    following = Deferred.fromCoroutine(follower.follow())

    def cancel() -> None:
        context.interrupts.handler = following.cancel
        context.console.say(
            "Cancelling the run; press Ctrl-C again to leave at once", "void"
        )
        why = f"{_user()} pressed Ctrl-C"
        asked = Deferred.fromCoroutine(client.cancel("run", run, why))
        asked.addErrback(lambda failure: context.console.say(str(failure.value), "bad"))

    context.interrupts.handler = cancel
    if farm is not None:
        # Nobody is left to tell how the run ends.
        farm.died.addCallback(lambda sentence: following.cancel())
    try:
        return await following
    except CancelledError:
        if farm is not None and farm.death is not None:
            raise CommandFailed(farm.death) from None
        raise


def conclude(console: Console, run: RunDocument, jobs: Iterable[JobDocument]) -> int:
    """Print the result in one line; the exit status."""
    counts = Counter(each.result for job in jobs for each in job.pipeline_jobs)
    told = ", ".join(
        f"{count} {in_words(result)}" for result, count in sorted(counts.items(), key=str)
    )
    taken = seconds_between(run.created_at, run.finished_at)
    total = sum(counts.values())
    what = "pipeline job" if total == 1 else "pipeline jobs"
    line = f"Run {run.id} {in_words(run.result)}{taken}: {total} {what} ({told or 'none'})"
    console.say(line, tone(run.result))
    return 0 if tone(run.result) == "good" else FAILED


def read_series_images(pairs: Iterable[str]) -> dict[str, str]:
    """``SERIES=IMAGE`` pairs as a mapping, or `CommandMisused`."""
    images = {}
    for pair in pairs:
        series, equals, image = pair.partition("=")
        if not (series and equals and image):
            raise CommandMisused(
                f"--series-image {pair}: write it as SERIES=IMAGE, as in jammy=bookworm."
            )
        images[series] = image
    return images


@contextmanager
def _data_folder(named: Path | None, keep: bool, console: Console) -> Iterator[Path]:
    """The folder that was named, or one that is removed at the end unless kept."""
    if named is not None:
        yield named.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="headrace-"))
    if os.geteuid() == 0:
        # PostgreSQL's account must pass to its cluster within.
        folder.chmod(0o711)
    try:
        yield folder
    finally:
        if keep:
            console.say(f"The farm's data are kept in {folder}")
        else:
            remove_farm(folder)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
