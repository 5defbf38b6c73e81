"""How fast lists, single builds and the overview come, with many builds remembered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import treq

from benchmarks.bench import Bench
from benchmarks.farm import Farm
from benchmarks.latency import quantile
from benchmarks.parts import Part
from benchmarks.progress import say
from benchmarks.report import Bar, Figures, Measured
from benchmarks.status_parts.rows import add_builds, add_counts

#: Of the newest 1000 builds.
LIST = "/api/v1/jobs?kind=build&limit=1000"
#: Not from the master's memory.
FRESH = "Cache-Control: no-cache"


def _bars(builds: str, first: float) -> tuple[Bar, ...]:
    return (
        Bar(f"newest 1,000 of {builds} builds, p50", "ms", "<=", first),
        Bar(f"newest 1,000 of {builds} builds, unchanged, p50", "ms", "<=", 5),
        Bar(f"newest 1,000 of {builds} builds, 8 clients", "req/s", ">=", 250),
        Bar(f"newest 1,000 of {builds} builds, unchanged, 8 clients", "req/s", ">=", 3000),
        Bar(f"one of {builds} builds, each another, 8 clients", "req/s", ">=", 1500),
        Bar(f"one of {builds} builds, remembered, 8 clients", "req/s", ">=", 4000),
    )


_OVERVIEW = Bar("overview, p50", "ms", "<=", 5)


async def _measure(builds: int, bars: Sequence[Bar], bench: Bench) -> Measured:
    count = bench.count(builds, 2000)
    dsn = bench.server.database("status")
    say(f"{count:,} builds that are over")
    add_builds(dsn, 1, count)
    farm = Farm(bench, dsn, workers=1, slots=1)
    try:
        await farm.start_master()
        port = int(farm.addresses.http.rpartition(":")[2])
        asking = partial(ask, bench, farm.pids[0], port)
        n = partial(bench.count, quick=3)
        await asking(LIST, n(20), 1, FRESH)  # warms it up
        first = await asking(LIST, n(100), 1, FRESH)
        etag = await _etag(bench, port)
        unchanged = f"If-None-Match: {etag}"
        known = await asking(LIST, n(100), 1, FRESH, unchanged)
        many = await asking(LIST, n(400), 8, FRESH)
        many_known = await asking(LIST, n(4000), 8, unchanged)
        # Nobody shares an answer with another: a part of the list, and each build.
        others = await asking(f"{LIST}&after={{{count}}}", n(400), 8, FRESH)
        one = f"/api/v1/jobs/{count - 7}"
        one_fresh = await asking(f"/api/v1/jobs/{{{count - 7}}}", n(1900), 8, FRESH)
        same_fresh = await asking(one, n(2000), 8, FRESH)
        one_known = await asking(one, n(4000), 8)
        add_counts(dsn, 1_000_000, 5_000_000)
        overview = await asking("/api/v1/overview", n(200), 1, FRESH)
    finally:
        await farm.stop()
        bench.server.drop("status")
    values = (
        first["p50_ms"],
        known["p50_ms"],
        many["per_second"],
        many_known["per_second"],
        one_fresh["per_second"],
        one_known["per_second"],
    )
    figures: Figures = {
        "builds": count,
        "list": first,
        "list_unchanged": known,
        "list_8": many,
        "list_8_each_another": others,
        "list_unchanged_8": many_known,
        "one_8": same_fresh,
        "one_8_each_another": one_fresh,
        "one_remembered_8": one_known,
        "overview": overview,
    }
    named = {bar.name: value for bar, value in zip(bars, values, strict=False)}
    return Measured(figures, {**named, _OVERVIEW.name: overview["p50_ms"]})


async def ask(
    bench: Bench, master: int, port: int, path: str, count: int, clients: int, *headers: str
) -> Figures:
    """What ``count`` answers of the master cost, to so many clients at a time."""
    command = [sys.executable, "-m", "benchmarks.status_parts.client", "ask", str(port)]
    before = _cpu_seconds(master)
    said = await bench.processes.run(
        [*command, path, str(count), str(clients), *headers], environ()
    )
    found = json.loads(said)
    return {
        "p50_ms": 1000 * quantile(found["seconds"], 0.5),
        "p99_ms": 1000 * quantile(found["seconds"], 0.99),
        "per_second": found["per_second"],
        # Does not depend on who else uses the machine, or hardly.
        "cpu_ms_of_the_master": 1000 * (_cpu_seconds(master) - before) / count,
        "statuses": ",".join(found["statuses"]),
    }


async def _etag(bench: Bench, port: int) -> str:
    response: Any = await treq.get(f"http://127.0.0.1:{port}{LIST}", persistent=False)
    await response.content()
    [etag] = response.headers.getRawHeaders("etag")
    return str(etag).replace("-gzip", "")


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environ() -> dict[str, str]:
    """For clients, which are modules of this checkout."""
    checkout = Path(__file__).resolve().parent.parent.parent
    return {**os.environ, "PYTHONPATH": str(checkout)}


_BARS_10K, _BARS_1M = _bars("10,000", 10), _bars("1,000,000", 12)
PARTS = (
    Part("lists-10k", _BARS_10K, partial(_measure, 10_000, _BARS_10K)),
    Part("lists-1m", (*_BARS_1M, _OVERVIEW), partial(_measure, 1_000_000, _BARS_1M)),
)
