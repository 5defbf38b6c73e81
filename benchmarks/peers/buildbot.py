"""Runs a measuring script for Buildbot on PostgreSQL, and takes its figures.

The script is no part of the project: ``--buildbot FOLDER`` says where it lies. It starts
its own master, workers and cluster; the cluster is made here beforehand, so that it has
the settings of every other contender.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.peers.installed import environ, installed
from benchmarks.progress import say
from benchmarks.report import Figures

#: The script's ports, before its offset is added.
_PORTS = (55440, 18010, 19989)
#: Of the script's variants: one slot and one builder, and the fastest that it has.
WANTED = ("W10_1builder_max1", "W10_10builders_max4")
_ALL = (
    "W10_1builder_max1_http_submit",
    "W10_1builder_max1",
    "W10_1builder_max1_pool15",
    "W10_10builders_max4",
    "W10_10builders_max4_pool15",
    "W10_100builders_max1",
    "W50_1builder_max1",
    "W10_1builder_max1_pool15_synchronous_commit_off",
    "W10_1builder_max1_msgpack_ws",
)
#: It stops a master, workers and PostgreSQL when it is told to end.
_END = (("TERM", 60.0), ("KILL", 10.0))


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let the command line say where the script lies."""
    parser.add_argument(
        "--buildbot",
        type=lambda text: Path(text).absolute(),
        metavar="FOLDER",
        help="of the measuring script for Buildbot (bench.py); peers are measured with it",
    )


def missing(folder: Path | None) -> str:
    """Why it cannot be run here; empty if it can."""
    if folder is None or not (folder / "bench.py").is_file():
        return "no measuring script for Buildbot was named (--buildbot FOLDER)"
    if os.geteuid() != 0:
        return "the measuring script for Buildbot needs root"
    if not Path("/usr/lib/postgresql/15/bin").is_dir():
        return "the measuring script for Buildbot needs PostgreSQL 15 of Debian"
    return ""


async def measure(bench: Bench, folder: Path) -> Figures:
    """Builds per second and latencies of Buildbot."""
    phases = ["throughput"] if bench.quick else ["latency", "throughput"]
    given: dict[str, Any] = {
        "throughput": {name: {} for name in _ALL if name not in WANTED}
    }
    return _figures(await _run(bench, folder, phases, given))


async def measure_status(bench: Bench, folder: Path) -> Figures:
    """How fast Buildbot lists and shows 10,000 builds that are over, with 8 clients."""
    said = await _run(bench, folder, ["status"], {})
    found: Figures = {"builds": said["status"]["finished_builds"]}
    for name, told in said["status"]["get"].items():
        if "wrk_c8" not in told:  # one that is asked for while others list
            found[name] = {"p50_ms": told["median"], "p90_ms": told["p90"]}
            continue
        found[name] = {
            "p50_ms": told["serial_ms"]["median"],
            "per_second_with_8": told["wrk_c8"]["req_per_s"],
            "bytes": told["bytes"],
            "cpu_ms_of_the_master": told["master_cpu_ms"],
        }
    return found


async def _run(
    bench: Bench, folder: Path, phases: Sequence[str], given: dict[str, Any]
) -> dict[str, Any]:
    """What the script says of these phases; what is in ``given`` it takes as measured."""
    venv = await installed(bench.processes, "buildbot")
    run = bench.folder / "buildbot"
    run.mkdir()
    run.chmod(0o755)
    offset = _free_offset()
    await _make_cluster(bench, run / "pg", _PORTS[0] + offset)
    out = run / "figures.json"
    out.write_text(json.dumps(given))
    variables = {
        **environ(),
        "BB": str(venv.parent),
        "BB_RUN": str(run),
        "BB_PORT_OFFSET": str(offset),
        "SKIP_DONE": "1",
    }
    script = [str(venv / "bin" / "python"), "-P", str(folder / "bench.py")]
    say(f"Buildbot: {', '.join(phases)}")
    try:
        await bench.processes.run(
            [*script, "--out", str(out), *phases], variables, timeout=1800, end=_END
        )
    finally:
        _end_server(run / "pg")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _figures(said: dict[str, Any]) -> Figures:
    found: Figures = {
        name: {
            "builds": said["throughput"][name]["builds"],
            "builds_per_s": said["throughput"][name]["builds_per_s"],
            "commits_per_build": said["throughput"][name]["pg_commits_per_build"],
        }
        for name in WANTED
    }
    for name, told in said.get("latency", {}).items():
        start = told["step_start_ms"]
        found[f"request_to_command_ms_{name}"] = {
            "p50": start["median"],
            "p90": start["p90"],
            "max": start["max"],
        }
    return found


async def _make_cluster(bench: Bench, data: Path, port: int) -> None:
    account = bench.server.account
    data.mkdir(mode=0o700)
    os.chown(data, account.uid, account.gid)
    await bench.server.make_cluster(data, superuser="postgres")
    settings = {
        **bench.server.settings,
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(data),
    }
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def _end_server(data: Path) -> None:
    """The script starts its server as a daemon; where it was killed, that is left."""
    with suppress(OSError, ValueError):
        pid = int((data / "postmaster.pid").read_text().split("\n")[0])
        if str(data) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGQUIT)


def _free_offset() -> int:
    for offset in range(0, 2000, 7):
        with suppress(OSError):
            for port in _PORTS:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return offset
    raise RuntimeError("no free ports on the loopback interface for Buildbot")
