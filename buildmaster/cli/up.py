"""``headrace up``: a whole farm in one command, until Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from buildmaster.cli.context import Context
from buildmaster.cli.data_folder import (
    CERTIFICATE,
    DEFAULT_HTTP,
    DataFolder,
    FarmSettings,
    default_cache_folder,
    default_data_folder,
)
from buildmaster.cli.own_farm import OwnFarm
from buildmaster.cli.problems import CommandFailed, CommandMisused
from buildmaster.cli.run import read_series_images
from buildmaster.client.http import Client

_DESCRIPTION = """\
Starts PostgreSQL, a buildmaster and workers on this machine, and stops them at Ctrl-C.

The first start writes master.yaml, a worker.yaml for each worker and their tokens into
the data folder; later ones use what is there.
"""


def add(subparsers: Any) -> None:
    """Add ``up`` to the command line."""
    parser = subparsers.add_parser(
        "up",
        help="run a whole farm on this machine",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="the farm's data folder")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=1,
        help="how many (default: %(default)s)",
    )
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        help=f"where to show the status (default: {DEFAULT_HTTP}, or as in master.yaml);"
        " with port 0, any port that is free, and for workers as well",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="make a certificate for this farm, and speak nothing but TLS",
    )
    parser.add_argument(
        "--series-image",
        metavar="SERIES=IMAGE",
        action="append",
        default=[],
        help="take the image of another series, as in jammy=bookworm; may be repeated",
    )
    parser.set_defaults(act=up)


async def up(arguments: argparse.Namespace, context: Context) -> int:
    """Run a farm until it is told to stop; 1 if it stopped by itself."""
    if arguments.workers < 1:
        raise CommandMisused("--workers: a farm needs one at least.")
    path = (arguments.data or default_data_folder(context.environ)).absolute()
    folder = DataFolder(path, default_cache_folder(context.environ))
    any_port = (arguments.http or "").endswith(":0")
    settings = FarmSettings(
        workers=arguments.workers,
        http=arguments.http,
        listen_for_workers="127.0.0.1:0" if any_port else None,
        tls=arguments.tls,
        series_images=read_series_images(arguments.series_image),
    )
    console = context.console
    farm = OwnFarm(context.reactor, folder, settings, console)
    stopping: Deferred[None] = Deferred()

    def stop() -> None:
        context.interrupts.handler = farm.kill
        stopping.callback(None)

    def died(sentence: str) -> str:
        if not stopping.called:
            stopping.callback(None)
        return sentence

    try:
        console.say(f"Starting a farm in {path}", "faint")
        client = await farm.start()
        _introduce(context, farm, client, folder)
        context.interrupts.handler = stop
        farm.died.addCallback(died)
        await stopping
    finally:
        console.say("Stopping the farm", "faint")
        context.interrupts.handler = farm.kill
        await farm.stop()
    if farm.death is not None:
        raise CommandFailed(farm.death)
    console.say("The farm has stopped.")
    return 0


def _introduce(context: Context, farm: OwnFarm, client: Client, folder: DataFolder) -> None:
    say = context.console.say
    say("The farm is up; Ctrl-C stops it.", "good")
    say(f"  dashboard    {client.url}/")
    say(f"  workers at   {farm.addresses.workers}")
    say(f"  data         {folder.path}")
    say("Commands in other terminals find it by")
    token_file = shlex.quote(str(folder.token_file))
    words = f"HEADRACE_URL={client.url} HEADRACE_TOKEN_FILE={token_file}"
    if client.url.startswith("https:") and (folder.path / CERTIFICATE).exists():
        words += f" HEADRACE_CA_FILE={shlex.quote(str(folder.path / CERTIFICATE))}"
    say(f"  export {words}")
