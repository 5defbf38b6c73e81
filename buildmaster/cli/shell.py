"""``headrace shell``: enter the environment of a pipeline job that failed and was held.

The farm is asked first, and notes who enters and why. The environment itself is a
worker's, so the entering is done by a program of theirs, on the machine of that worker.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buildmaster.cli.context import Context
from buildmaster.cli.data_folder import default_data_folder
from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.table import moment

_DESCRIPTION = """\
Enter the environment of a job that failed after 'headrace retry ID --hold 1h', as the user
that the job ran as, in its project. It is on the machine of the worker: run it there. Needs
the farm's token, or one with the scope admin; who enters, and why, is noted. The secrets of
the worker are not in there.
"""
_PROGRAM = "worker.supervisor.shell"
#: What the program ends with when the environment is on another machine.
_NOT_HERE = 3


def add(subparsers: Any) -> None:
    """Add ``shell`` to the command line."""
    parser = subparsers.add_parser(
        "shell",
        help="enter the held environment of a job that failed",
        description=_DESCRIPTION,
    )
    parser.add_argument("id", type=int, metavar="ID", help="the job's number")
    parser.add_argument(
        "--reason", default="to look into it", metavar="TEXT", help="what to note"
    )
    parser.add_argument(
        "--root", action="store_true", help="as root in there, whoever the job ran as"
    )
    parser.add_argument(
        "--release", action="store_true", help="let go of it now: it is removed"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="'data' of the worker's settings (default: the workers of headrace up)",
    )
    parser.add_argument(
        "--run", metavar="TEXT", help="have sh run this in there, without a terminal"
    )
    parser.set_defaults(act=shell)


async def shell(arguments: argparse.Namespace, context: Context) -> int:
    """Ask, then enter; the exit status of what ran in there."""
    body = {"reason": arguments.reason.strip() or "-", "release": arguments.release}
    path = f"/api/v1/jobs/{arguments.id}/shell"
    held = await context.client().change(path, body)
    if importlib.util.find_spec("worker") is None:
        raise CommandFailed(_elsewhere(held))
    wishes = [
        *(["--root"] if arguments.root else []),
        *(["--release"] if arguments.release else []),
    ]
    builds = _builds(arguments.data, context, str(held["worker"]))
    status = enter(builds, held, wishes, arguments.run)
    if status == _NOT_HERE:
        raise CommandFailed(_elsewhere(held))
    if arguments.release and status == 0:
        context.console.say(f"The environment of job {arguments.id} is let go of.")
    return status


def enter(
    builds: Path, held: dict[str, Any], wishes: Sequence[str], run: str | None
) -> int:
    """Have the worker's program enter; its exit status."""
    command = [sys.executable, "-P", "-m", _PROGRAM, "--builds", str(builds)]
    command += ["--attempt", f"{held['job']}-{held['attempt']}", *wishes]
    command += [] if run is None else ["--", "sh", "-c", run]
    # It has the terminal meanwhile: what is typed there, Ctrl-C too, is not for us.
    return subprocess.run(command, cwd="/").returncode


def _builds(data: Path | None, context: Context, worker: str) -> Path:
    if data is not None:
        return data.absolute() / "builds"
    # A name is the farm's word; it must not lead elsewhere.
    name = Path(worker).name or "-"
    return default_data_folder(context.environ) / "workers" / name / "builds"


def _elsewhere(held: dict[str, Any]) -> str:
    job, worker = held["job"], held["worker"]
    return (
        f"The environment of job {job}, attempt {held['attempt']}"
        f" ({held['name']}:{held['index']}, {held['isolation']}), is held until"
        f" {moment(held['lingers_until'])} UTC by worker {worker}, which is not on this"
        f" machine or keeps its builds elsewhere. On the machine of {worker}, as the"
        f" account of the worker, run: headrace shell {job} --data FOLDER (FOLDER is"
        " 'data' in its worker.yaml; HEADRACE_URL and HEADRACE_TOKEN_FILE as here)."
    )
