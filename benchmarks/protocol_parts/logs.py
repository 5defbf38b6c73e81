"""A log of 100 MB from a command on a worker until the master's database has it all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.machine import processor_seconds
from benchmarks.protocol_parts.at_hand import Bench, memory_of
from benchmarks.report import Bar, Figures, Measured
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome

SIZE = 100 * 10**6
BARS = (
    Bar("a log of 100 MB until stored", "MB/s", ">=", 80.0),
    Bar("a log of 100 MB, the master's processor", "s", "<=", 0.5),
)
_BUILD = """\
pipeline: [speak]
jobs:
  speak: {{series: bookworm, architectures: [amd64, arm64], run: 'cat {}'}}
"""


async def measure(quick: bool) -> Measured:
    """One build that speaks, after a short one that warms everything."""
    bench: Any = Bench()
    try:
        return await _measure(bench, SIZE // 50 if quick else SIZE)
    finally:
        await bench.tidy()


async def _measure(bench: Any, size: int) -> Measured:
    master = MasterHome(bench, fresh_dsn(bench))
    daemon = await master.start()
    WorkerHome(bench, master.port).start()
    await master.worker("ant", "connected")
    short, long = Path(bench.folder, "short"), Path(bench.folder, "long")
    short.write_bytes(_text(10_000))
    long.write_bytes(_text(size))
    [warm] = await master.submit(bench, _BUILD.format(short))
    await master.done(warm)
    before, used = memory_of(daemon.pid), processor_seconds(daemon.pid)
    [job] = await master.submit(bench, _BUILD.format(long))
    while (await master.client.job(job)).state != "running":
        pass
    began = time.perf_counter()
    ended = await master.done(job)
    took = time.perf_counter() - began
    figures: Figures = {
        "bytes": size,
        "result": ended.result,
        "seconds": took,
        "mb_per_s": size / took / 1e6,
        "master_cpu_s": processor_seconds(daemon.pid) - used,
        "master_memory_mb_more": (memory_of(daemon.pid) - before) / 1e6,
    }
    return Measured(
        figures,
        {
            BARS[0].name: figures["mb_per_s"],
            BARS[1].name: figures["master_cpu_s"],
        },
    )


def _text(size: int) -> bytes:
    """Lines as a compiler writes them."""
    lines = b"".join(
        b"[%6d/40000] cc -O2 -g -Wall -c src/module%d.c -o build/module%d.o\n" % (n, n, n)
        for n in range(40_000)
    )
    return (lines * (size // len(lines) + 1))[:size]
