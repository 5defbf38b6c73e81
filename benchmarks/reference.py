"""Figures of the same run that do not depend on Headrace: they say what a machine can do.

A ratio to one of them is comparable between machines; the figure itself is not.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import psycopg2

from benchmarks.processes import Processes
from benchmarks.progress import say
from benchmarks.report import Figures
from benchmarks.server import Server

SCRIPTS = Path(__file__).parent / "pgbench"

#: Scripts that insert, claim and complete ``BATCH`` jobs in three commits, with the
#: statement that counts what they completed.
LIFECYCLES: Mapping[str, str] = {
    "state": "SELECT count(*) FROM state_job WHERE state = 'done'",
    "moved": "SELECT count(*) FROM moved_done",
    "deleted": "SELECT completed FROM deleted_count",
}
#: Those after which every finished job can still be looked up.
KEEPING = ("state", "moved")
BATCH = 100
CLIENTS = (1, 2, 4)

_DATABASE = "reference"


def python_loop(turns: int = 10_000_000) -> float:
    """Turns per second of a loop of plain Python; the best of three."""
    best = 0.0
    for _ in range(3):
        start, number = perf_counter(), 0
        for turn in range(turns):
            number = (number * 31 + turn) & 0xFFFF
        best = max(best, turns / (perf_counter() - start))
    return best


class NoPgbench(Exception):
    """pgbench is not there; it comes with the server packages of distributions."""


class Pgbench:
    """Runs pgbench against a database of its own on ``server``."""

    def __init__(
        self, server: Server, processes: Processes, *, seconds: float | None
    ) -> None:
        """``seconds`` of each figure; None: only show that it runs. Raises `NoPgbench`."""
        beside = Path(server.binaries.program("pgbench"))
        found = str(beside) if beside.exists() else shutil.which("pgbench")
        if found is None:
            raise NoPgbench(
                "there is no pgbench on this machine: install the server package of "
                "PostgreSQL (on Debian: postgresql)"
            )
        self._program = found
        self._server = server
        self._processes = processes
        self._scale = "10" if seconds else "1"
        self._length = ("-T", str(max(1, round(seconds)))) if seconds else ("-t", "10")

    async def measure(self) -> Figures:
        """All reference figures that need the database."""
        self._server.database(_DATABASE, migrated=False)
        try:
            await self._pgbench("-i", "-q", "-s", self._scale)
            self._server.execute((SCRIPTS / "tables.sql").read_text(), _DATABASE)
            return {
                "pgbench_select_per_s": await self._rates("-S", clients=(1, 4, 8)),
                "pgbench_commit_per_s": await self._rates(
                    "-f", str(SCRIPTS / "commit.sql"), clients=(1, 8)
                ),
                "pgbench_lifecycle_jobs_per_s": await self._lifecycles(),
            }
        finally:
            self._server.drop(_DATABASE)

    async def _lifecycles(self) -> Figures:
        found: Figures = {"batch": BATCH}
        for name in LIFECYCLES:
            say(f"pgbench: insert, claim and complete, variant {name}")
            found[name] = {f"c{n}": await self._lifecycle(name, n) for n in CLIENTS}
        found["best_kept"] = max(max(found[name].values()) for name in KEEPING)
        return found

    async def _lifecycle(self, name: str, clients: int) -> float:
        """Completed jobs per second, counted in the table and not by transactions."""
        self._server.execute("SELECT forget_jobs()", _DATABASE)
        self._server.settle(_DATABASE)
        script = (
            "-M",
            "prepared",
            "-D",
            f"batch={BATCH}",
            "-f",
            str(SCRIPTS / f"{name}.sql"),
        )
        said = await self._timed(*script, clients=clients)
        connection = psycopg2.connect(self._server.dsn(_DATABASE))
        try:
            with connection.cursor() as cursor:
                cursor.execute(LIFECYCLES[name])
                row = cursor.fetchone()
        finally:
            connection.close()
        assert row is not None
        return float(row[0]) * _tps(said) / _transactions(said)

    async def _rates(self, *options: str, clients: tuple[int, ...]) -> Figures:
        say(f"pgbench {' '.join(Path(option).name for option in options)}")
        return {f"c{n}": _tps(await self._timed(*options, clients=n)) for n in clients}

    async def _timed(self, *options: str, clients: int) -> str:
        return await self._pgbench("-n", *self._length, "-c", str(clients), *options)

    async def _pgbench(self, *options: str) -> str:
        where = ("-h", str(self._server.sockets), "-U", "headrace", _DATABASE)
        environ = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
        return await self._processes.run([self._program, *options, *where], environ)


def _tps(said: str) -> float:
    found = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    assert found is not None, said
    return float(found[1])


def _transactions(said: str) -> int:
    found = re.search(r"transactions actually processed: (\d+)", said)
    assert found is not None, said
    return int(found[1])
