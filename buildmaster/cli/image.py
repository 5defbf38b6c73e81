"""``headrace image``: the images of this machine, which are its worker's.

This package knows nothing of workers, so the work is done by a program of theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from buildmaster.cli.data_folder import default_cache_folder
from buildmaster.cli.problems import CommandFailed, CommandMisused

_DESCRIPTION = """\
build SERIES    make the image of a Debian series, in the place of the one that is there
refresh [NAME]  make images again from today's archives: all of them, or one
list            show the images
remove NAME     take an image away; it goes as soon as no build uses it

Images are made with mmdebstrap (as root) from the archives that this machine's own apt
sources name. A build that runs keeps the image that it started from.
"""
_PROGRAM = "worker.environments.image_program"


def add(subparsers: Any) -> None:
    """Add ``image`` to the command line."""
    parser = subparsers.add_parser(
        "image",
        help="make and list the images that environments start from",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("build", "refresh", "list", "remove"))
    parser.add_argument("name", nargs="?", help="of the series or of the image")
    parser.add_argument("--arch", metavar="A", help="a foreign architecture, as arm64")
    parser.add_argument(
        "--packages",
        metavar="P",
        action="append",
        help="have these, separated by commas, in the image; may be repeated",
    )
    parser.add_argument(
        "--name", metavar="NAME", dest="called", help="call the image so, not by its series"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="the folder of the images (default: that of headrace up)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(act=image)


def image(arguments: argparse.Namespace) -> int:
    """Have it done; the exit status."""
    if arguments.action in ("build", "remove") and arguments.name is None:
        raise CommandMisused(f"headrace image {arguments.action} needs a name.")
    if arguments.action == "list" and arguments.name is not None:
        raise CommandMisused("headrace image list takes no name.")
    if importlib.util.find_spec("worker") is None:
        raise CommandFailed("Images are a worker's, and no worker is installed here.")
    folder = arguments.images or default_cache_folder(os.environ) / "images"
    command = [sys.executable, "-P", "-m", _PROGRAM, arguments.action]
    command += [arguments.name] if arguments.name is not None else []
    command += ["--images", str(folder.absolute())]
    if arguments.arch:
        command += ["--arch", arguments.arch]
    if arguments.called:
        command += ["--name", arguments.called]
    for packages in arguments.packages or ():
        command += [f"--packages={packages}"]
    command += ["--json"] if arguments.json else []
    try:
        return subprocess.run(command, cwd="/").returncode
    except KeyboardInterrupt:
        return 130
