"""10,000 nodes of a ``.headrace.yaml``: expanded, planned, submitted, and reused."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
from pathlib import Path
from time import monotonic

import msgspec

from benchmarks.bench import Bench
from benchmarks.parts import Part
from benchmarks.report import Bar, Figures, Measured
from buildmaster.cli import references as shown
from buildmaster.cli.farm_plan import asked_nodes
from buildmaster.database import Database
from buildmaster.farm_series import Offering
from buildmaster.nodes import NodeSubmission, Source, paths_in
from buildmaster.references.reading import parse
from buildmaster.requests import GitRequest, SubmissionRequest
from buildmaster.series import DEFAULT_SERIES
from buildmaster.status.keys import MOST_NODES, AskedKeys, AskedNode
from buildmaster.store.documents.keys import known_keys
from buildmaster.submission import Material, SubmissionRules
from protocol.messages import Offer
from protocol.order import GitSource

_SUBMIT = Bar("expand and submit 10,000 nodes", "s", "<=", 2.0)
_PLAN = Bar("plan 10,000 nodes", "s", "<=", 1.0)
_ROUNDS = 3
_REPOSITORY = "https://git.example/large.git"
_OFFERS = tuple(
    Offer(isolation="native", architecture=one, series=("*",)) for one in ("amd64", "arm64")
)


def text_of(packages: int) -> str:
    """A file of 20 nodes for each package: five jobs, two architectures, two series."""
    lines = ["packages:"]
    for number in range(packages):
        depends = ", ".join(f"P{other}" for other in range(max(0, number - 2), number))
        lines.append(f"  P{number}: {{paths: [p{number}], depends: [{depends}]}}")
    lines.append("jobs:")
    for number in range(5):
        needs = f"job{number - 1}" if number else ""
        lines.append(
            f"  job{number}: {{per_package: true, run: make, needs: [{needs}],"
            " matrix: {arch: [amd64, arm64], series: [noble, jammy]}}"
        )
    return "\n".join(lines) + "\n"


async def measure(bench: Bench) -> Measured:
    """The median of some rounds; each submission is of another commit."""
    text = text_of(bench.count(500, 10))
    plans = [_plan(text) for _ in range(_ROUNDS)]
    dsn = bench.server.database("nodes")
    try:
        database = Database(dsn, bench.reactor, name="headrace-benchmark")
        await database.start()
        try:
            await _add_worker(database)
            taken = [await _submit(database, text, f"{n:040x}") for n in range(_ROUNDS)]
            nodes = await database.one("SELECT count(*) FROM node")
            edges = await database.one("SELECT count(*) FROM edge")
            await database.run(
                "UPDATE job SET state = 'done', result = 'success', blocked_by = 0,"
                " finished_at = farm_now(), ready_at = NULL WHERE source_digest = %s",
                (f"{0:040x}",),
            )
            again = await _submit(database, text, "f" * 40, f"{0:040x}")
            asked = await _ask(database, text, f"{0:040x}")
            reused = await database.one("SELECT count(*) FROM node WHERE reused_from > 0")
        finally:
            await database.stop()
    finally:
        bench.server.drop("nodes")
    figures: Figures = {
        "nodes": nodes[0] // _ROUNDS,
        "edges": edges[0] // _ROUNDS,
        "plan_s": statistics.median(plans),
        "submit_s": statistics.median(taken),
        "slowest_submit_s": max(taken),
        "reused": reused[0],
        "submit_reused_s": again,
        "ask_keys_s": asked,
    }
    return Measured(
        {"10,000 nodes": figures},
        {_SUBMIT.name: figures["submit_s"], _PLAN.name: figures["plan_s"]},
    )


def _plan(text: str) -> float:
    """All that ``headrace plan`` does, but start Python."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".headrace.yaml"
        path.write_text(text)
        begun = monotonic()
        found = shown.look(str(path), path.read_bytes())
        with contextlib.redirect_stdout(io.StringIO()):
            assert shown.plan(str(path), found, "text") == 0
        return monotonic() - begun


async def _submit(database: Database, text: str, commit: str, tree: str = "") -> float:
    begun = monotonic()
    await database.transaction(_submission(text, commit, tree).store)
    return monotonic() - begun


def _submission(text: str, commit: str, tree: str = "") -> NodeSubmission:
    request = SubmissionRequest(
        source=GitRequest(repository=_REPOSITORY), configuration=".headrace.yaml"
    )
    file = parse(text.encode()).references
    assert file is not None
    source = GitSource(repository=_REPOSITORY, commit=commit)
    return NodeSubmission(
        request,
        "benchmark",
        Material(_REPOSITORY, commit, source, text.encode()),
        file,
        {},
        Source({}, {path: f"{tree or commit} {path}" for path in paths_in(file)}),
        SubmissionRules(DEFAULT_SERIES),
    )


async def _ask(database: Database, text: str, tree: str) -> float:
    """All that a farm does for ``headrace plan --farm``, half of the nodes changed."""
    nodes = [*_nodes(text, tree), *_nodes(text, "another tree")][::2]
    begun = monotonic()
    for first in range(0, len(nodes), MOST_NODES):
        asked = AskedKeys(
            nodes=tuple(nodes[first : first + MOST_NODES]), repositories=(_REPOSITORY,)
        )
        await known_keys(database, asked, None, ("trusted",), "native")
    return monotonic() - begun


def _nodes(text: str, tree: str) -> list[AskedNode]:
    offerings = [Offering("paper", True, _OFFERS, ())]
    return asked_nodes(_submission(text, "e" * 40, tree).keyed(offerings))


async def _add_worker(database: Database) -> None:
    await database.run(
        "INSERT INTO worker (name, offers) VALUES ('paper', %s::jsonb)",
        (msgspec.json.encode(_OFFERS).decode(),),
    )


PART = Part("references", (_SUBMIT, _PLAN), measure)
