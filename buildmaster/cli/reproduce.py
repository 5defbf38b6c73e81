"""``headrace reproduce``: run what a job ran, on this machine and for nobody else.

The farm tells the order of the job's current attempt; a program of the worker package runs
it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from buildmaster.cli.context import Context, find_farm, find_trust
from buildmaster.cli.data_folder import default_cache_folder
from buildmaster.cli.naming import pipeline_job
from buildmaster.cli.problems import CommandFailed
from protocol.stages import title

_DESCRIPTION = """\
Run the current attempt of a job once more, on this machine: the same source, images (by
their digests), inputs and commands, by the same supervisor that workers have. The farm
hears nothing of it; what the jobs make lies in FOLDER/outputs. Secrets and settings of the
worker are not here. Builds that ran in chroots need root, as workers do.
"""
_PROGRAM = "worker.supervisor.reproducing"


def add(subparsers: Any) -> None:
    """Add ``reproduce`` to the command line."""
    parser = subparsers.add_parser(
        "reproduce",
        help="run on this machine what a job ran",
        description=_DESCRIPTION,
    )
    parser.add_argument("id", type=int, metavar="ID", help="the job's number")
    parser.add_argument(
        "only",
        nargs="?",
        type=pipeline_job,
        metavar="JOB:INDEX",
        help="only that pipeline job, with what the others made then",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="a new folder for all of it (default: headrace-ID-ATTEMPT in this one)",
    )
    parser.add_argument(
        "--shell", action="store_true", help="enter the environment of what fails"
    )
    parser.add_argument(
        "--any-image",
        action="store_true",
        help="take this machine's image where it lacks the one with that digest",
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="the folder of the images (default: that of headrace up)",
    )
    parser.set_defaults(act=reproduce)


async def reproduce(arguments: argparse.Namespace, context: Context) -> int:
    """Run it; 0 if it passed."""
    if importlib.util.find_spec("worker") is None:
        raise CommandFailed("Jobs are run by workers, and no worker is installed here.")
    client = context.client()
    told = msgspec.json.decode(
        await client.document(f"/api/v1/jobs/{arguments.id}/order"), type=dict[str, Any]
    )
    if arguments.only is not None:
        text = await client.document(f"/api/v1/jobs/{arguments.id}")
        told["made"] = _made(msgspec.json.decode(text, type=dict[str, Any]))
    name = f"headrace-{arguments.id}-{told['order']['attempt']}"
    folder = (arguments.into or Path(name)).absolute()
    if folder.exists():
        raise CommandFailed(f"{folder} is there already: name another with --into.")
    images = arguments.images or default_cache_folder(context.environ) / "images"
    url, token = find_farm(context.environ)
    trust = find_trust(context.environ, url)
    command = [sys.executable, "-P", "-m", _PROGRAM, str(folder), "--farm", url]
    command += ["--images", str(images.absolute())]
    command += ["--ca-file", trust.ca_file] if trust.ca_file else []
    command += ["--fingerprint", trust.fingerprint] if trust.fingerprint else []
    command += ["--any-image"] if arguments.any_image else []
    command += ["--shell"] if arguments.shell else []
    command += ["--only", title(*arguments.only)] if arguments.only else []
    return _run(command, msgspec.json.encode(told), token)


def _run(command: list[str], document: bytes, token: str | None) -> int:
    environment = {**os.environ, "HEADRACE_TOKEN": token or ""}
    read_end, write_end = os.pipe()
    # A file of its own: standard input is for the shell.
    command = [*command, "--document", str(read_end)]
    process = subprocess.Popen(command, cwd="/", env=environment, pass_fds=(read_end,))
    os.close(read_end)
    with open(write_end, "wb") as stream:
        stream.write(document)
    return process.wait()


def _made(job: dict[str, Any]) -> list[dict[str, Any]]:
    """What each pipeline job that passed left, as orders tell it."""
    return [
        {
            "name": each["name"],
            "index": each["index"],
            "properties": each["properties"],
            "files": [
                {key: file[key] for key in ("path", "sha256", "size")}
                for file in each["artifacts"]
            ],
        }
        for each in job["pipeline_jobs"]
        if each["result"] == "success"
    ]
