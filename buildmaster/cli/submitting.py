"""What commands that submit have in common: their options, and telling what came of it."""

from __future__ import annotations

import argparse
from typing import Any

from buildmaster.cli.console import Console
from buildmaster.cli.narration import in_words
from buildmaster.requests import Submitted, SubmittedJob


def add_submission_options(
    parser: argparse.ArgumentParser, *, with_file: bool = True
) -> None:
    """The options of everything that submits a pipeline."""
    if with_file:
        parser.add_argument(
            "--config",
            metavar="FILE",
            help="the file that says what to run, relative to the source (default:"
            " .headrace.yaml, or else .launchpad.yaml)",
        )
        parser.add_argument(
            "--trigger",
            metavar="EVENT",
            help="what starts it; jobs of a .headrace.yaml for other events are left out",
        )
    else:
        parser.set_defaults(config=None, trigger=None)
    parser.add_argument(
        "--isolation",
        choices=("native", "chroot", "vm"),
        help="where jobs run (default: what the farm does by itself)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="run again what the farm has done before for the same source",
    )
    parser.add_argument(
        "--cross-architecture",
        choices=("orchestrate", "refuse", "barrier"),
        default="orchestrate",
        help="what to do with a stage that must wait for another architecture"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--wait-for-worker",
        action="store_true",
        help="queue also what no worker of the farm can run",
    )


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those options, as fields of a `SubmissionRequest`."""
    return {
        "configuration": arguments.config,
        "trigger": arguments.trigger,
        "isolation": arguments.isolation,
        "force": arguments.force,
        "cross_architecture": arguments.cross_architecture,
        "wait_for_worker": arguments.wait_for_worker,
    }


def announce(console: Console, submitted: Submitted) -> None:
    """Say what was queued, what was merged into what, what was left out, and why."""
    count = len(submitted.jobs)
    console.say(
        f"Run {submitted.run}: {count} job{'' if count == 1 else 's'}"
        f"{_for(submitted.source_digest)}",
        "bold",
    )
    for job in submitted.jobs:
        part = f", part {job.part}" if job.part else ""
        where = f" on {job.architecture} ({job.series}{part})" if job.series else ""
        console.say(f"  job {job.id}: {job.name}{where}{_merged(job)}")
    for skipped in submitted.skipped:
        what = ", ".join(skipped.jobs) or "everything"
        series = f" ({skipped.series})" if skipped.series else ""
        console.say(
            f"  left out on {skipped.architecture}{series}: {what}: {skipped.reason}",
            "void",
        )
    for note in submitted.notes:
        console.say(f"  note: {note}", "void")


def _for(digest: str | None) -> str:
    return f" for {digest.removeprefix('sha256:')[:12]}" if digest else ""


def _merged(job: SubmittedJob) -> str:
    if not job.merged:
        return ""
    if job.state == "done":
        ended = in_words(job.result)
        return f", which was asked for before and {ended}; --force does it again"
    return ", which was asked for before and is on its way"
