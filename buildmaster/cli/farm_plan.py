"""Asks a farm what would become of the nodes of a ``.headrace.yaml``, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildmaster.cli.problems import CommandFailed
from buildmaster.cli.references import Shown
from buildmaster.cli.source_tree import SourceTree, source_tree
from buildmaster.client.http import Client
from buildmaster.farm_series import Offering
from buildmaster.nodes import Keyed, NodeSubmission, Source, paths_in
from buildmaster.planner import CrossArchitecture
from buildmaster.references.expansion import Expanded
from buildmaster.references.keys import paths_of
from buildmaster.references.model import References, cell_text
from buildmaster.references.outlook import Outlook, outlook
from buildmaster.references.reading import parse
from buildmaster.requests import GitRequest, Refusal, SubmissionRequest
from buildmaster.series import DEFAULT_SERIES, Series
from buildmaster.status.keys import MOST_NODES, AskedKeys, AskedNode, KnownNode
from buildmaster.submission import Material, SubmissionRules
from protocol.pipeline.configuration import parse as parse_pipeline
from protocol.pipeline.model import Pipeline
from protocol.pipeline.problems import Problem


async def look_at_farm(
    client: Client,
    path: str,
    text: bytes,
    *,
    trigger: str | None,
    series: Sequence[Series] | None,
    mode: CrossArchitecture,
    isolation: str | None,
) -> Shown:
    """What the file says, and of each of its nodes what the farm would make of it."""
    parsed = parse(text)
    file = parsed.references
    if file is None:
        return Shown(parsed=parsed, expanded=Expanded())
    farm = await client.keys(AskedKeys())
    offerings = [Offering("", True, farm.offers, ())]
    with source_tree(Path(path).absolute().parent) as tree:
        request = SubmissionRequest(
            source=GitRequest(repository=str(tree.root)),
            configuration=str(Path(path).absolute().relative_to(tree.root)),
            trigger=trigger,
            cross_architecture=mode,
            isolation=isolation,  # type: ignore[arg-type]
        )
        submission = NodeSubmission(
            request,
            "",
            Material(str(tree.root), None, None, text),
            file,
            *_included(file, tree),
            SubmissionRules(tuple(series or DEFAULT_SERIES), isolation=farm.isolation),
        )
        try:
            keyed = submission.keyed(offerings)
        except Refusal as refusal:
            problems = refusal.problems or (Problem("jobs", None, str(refusal)),)
            errors = tuple(Problem(one.where, one.line, one.message) for one in problems)
            return Shown(parsed=parsed, expanded=Expanded(errors=errors))
        asked = asked_nodes(keyed, submission.suffix)
        answers = await _answers(client, asked, tree.repositories())
    fates = _fates(file, keyed, answers)
    return Shown(
        parsed=parsed,
        expanded=Expanded(graph=keyed.graph, notes=keyed.notes),
        outlook=tuple(f"{one.fate}: {one.sentence}" for one in fates),
        fates=tuple(fates),
    )


def asked_nodes(keyed: Keyed, suffix: str = "") -> list[AskedNode]:
    """The nodes as a farm is asked about them, in the order of the graph."""
    return [
        AskedNode(
            key=key.inputs.hex(),
            base=key.base.hex(),
            configuration=place.configuration.hex(),
            name=f"{node.name}{suffix}",
            cell=cell_text(node.cell),
            part=node.build.part if node.build else 0,
            environment=place.environment,
        )
        for node, place, key in zip(
            keyed.graph.nodes, keyed.placed, keyed.keys, strict=True
        )
    ]


def _included(file: References, tree: SourceTree) -> tuple[dict[str, Pipeline], Source]:
    """The pipelines that jobs include, and the source that keys are made of."""
    texts: dict[str, bytes] = {}
    pipelines = {}
    for name in file.includes:
        try:
            texts[name] = (tree.root / name).read_bytes()
        except OSError as error:
            raise CommandFailed(f"{name} cannot be read: {error.strerror}.") from error
        parsed = parse_pipeline(texts[name])
        if parsed.pipeline is None:
            raise CommandFailed(f"{name} is not valid: {parsed.errors[0].message}.")
        pipelines[name] = parsed.pipeline
    return pipelines, Source(texts, tree.digests(paths_in(file)))


async def _answers(
    client: Client, asked: Sequence[AskedNode], repositories: Sequence[str]
) -> list[KnownNode]:
    found: list[KnownNode] = []
    for first in range(0, len(asked), MOST_NODES):
        known = await client.keys(
            AskedKeys(
                nodes=tuple(asked[first : first + MOST_NODES]),
                repositories=tuple(repositories),
            )
        )
        found += known.nodes
    return found


def _fates(file: References, keyed: Keyed, answers: Sequence[KnownNode]) -> list[Outlook]:
    """In the order of the graph: what a node builds upon comes before it."""
    nodes = keyed.graph.nodes
    fates: list[Outlook] = []
    for node, place, key, answer, edges in zip(
        nodes, keyed.placed, keyed.keys, answers, keyed.graph.ups(), strict=True
    ):
        running = [
            nodes[edge.up].title
            for edge in edges
            if edge.rebuild and fates[edge.up].fate == "runs"
        ]
        fates.append(
            outlook(
                node,
                key,
                place.environment,
                paths_of(node, file),
                running,
                answer.passed,
                answer.before,
            )
        )
    return fates
