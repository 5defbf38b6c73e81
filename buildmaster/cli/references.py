"""Shows what a ``.headrace.yaml`` expands to, for ``headrace check`` and ``plan``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from buildmaster.cli.configuration import (
    INVALID,
    VALID,
    problem_documents,
    say,
    say_json,
    say_problems,
)
from buildmaster.cli.git import run_git
from buildmaster.cli.problems import CommandMisused
from buildmaster.planner import CrossArchitecture
from buildmaster.references import keys
from buildmaster.references.expansion import Edge, Expanded, Graph, Node, expand
from buildmaster.references.model import References, cell_text, plain
from buildmaster.references.outlook import Outlook
from buildmaster.references.reading import Parsed, parse
from buildmaster.series import DEFAULT_SERIES, Series
from protocol.order import variable_part
from protocol.pipeline.configuration import parse as parse_pipeline
from protocol.pipeline.document import SIZE_LIMIT
from protocol.pipeline.model import Pipeline
from protocol.pipeline.problems import Problem


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to show of a file."""

    parsed: Parsed
    expanded: Expanded
    outlook: tuple[str, ...] = ()  #: of each node: what will become of it
    fates: tuple[Outlook, ...] = ()  #: the same for programs, if a farm was asked

    @property
    def errors(self) -> tuple[Problem, ...]:
        """All of them."""
        return (*self.parsed.errors, *self.expanded.errors)


def look(
    path: str,
    text: bytes,
    trigger: str | None = None,
    series: Sequence[Series] = DEFAULT_SERIES,
    mode: CrossArchitecture = "orchestrate",
    since: str | None = None,
) -> Shown:
    """What the file at ``path`` says, with the pipelines beside it that it includes."""
    parsed = parse(text)
    if parsed.references is None:
        return Shown(parsed=parsed, expanded=Expanded())
    folder = Path(path).parent
    included, problems = _included(parsed.references, folder)
    if problems:
        return Shown(parsed=parsed, expanded=Expanded(errors=problems))
    expanded = expand(parsed.references, trigger, included, series, mode)
    outlook: tuple[str, ...] = ()
    if expanded.graph is not None:
        unchanged: dict[str, bytes] = {}
        if since is not None:
            unchanged = _keys_at(path, since, trigger, series, mode)
        outlook = _outlook(parsed.references, expanded.graph, folder, since, unchanged)
    return Shown(parsed=parsed, expanded=expanded, outlook=outlook)


def _included(
    references: References, folder: Path
) -> tuple[dict[str, Pipeline], tuple[Problem, ...]]:
    found: dict[str, Pipeline] = {}
    problems: list[Problem] = []
    for name in references.includes:
        [job, *_] = [job for job in references.jobs if job.lpci == name]
        where = f"jobs.{job.name}.lpci"
        try:
            with open(folder / name, "rb") as file:
                text = file.read(SIZE_LIMIT + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problems.append(Problem(where, job.line, f"{name} cannot be read: {reason}"))
            continue
        parsed = parse_pipeline(text)
        problems += [
            Problem(where, job.line, f"{name}, line {one.line}: {one.where}: {one.message}")
            for one in parsed.errors
        ]
        if parsed.pipeline is not None:
            found[name] = parsed.pipeline
    return found, tuple(problems)


# What would be reused: what is the same as at another commit would be, if it passed there.


def _outlook(
    references: References,
    graph: Graph,
    folder: Path,
    since: str | None,
    unchanged: dict[str, bytes],
) -> tuple[str, ...]:
    changed = _changed(folder, since) if since is not None else []
    now = _keys(references, graph, changed)
    return tuple(
        _prospect(node, since, unchanged.get(node.title) == one.inputs, one.is_late)
        for node, one in zip(graph.nodes, now, strict=True)
    )


def _prospect(node: Node, since: str | None, is_same: bool, is_late: bool) -> str:
    if node.skipped:
        return "skipped: not_top, a package depends on it"
    if node.job.reuse == "never":
        return "runs: never reused"
    if since is None:
        return "runs, unless the farm has a result of the same key"
    what = "skipped: unchanged" if node.job.scope == "component" else "reused"
    if is_same:
        return f"{what}, if it passed at {since}: nothing that it depends on has changed"
    late = ", unless what it builds upon comes out the same" if is_late else ""
    return f"runs: it, or what it builds upon, has changed since {since}{late}"


def _keys(references: References, graph: Graph, changed: Sequence[str]) -> list[keys.Keys]:
    def digest_of(paths: tuple[str, ...]) -> str:
        is_same = not any(keys.under(one, paths) for one in changed)
        return f"{'same' if is_same else 'changed'} {paths}"

    return keys.keys_of(graph, references, digest_of, resolved, {})


def resolved(node: Node) -> Any:
    """What a node runs, and where, as JSON."""
    return [None if node.runs is None else plain(node.runs), node.job.isolation]


def _keys_at(
    path: str,
    since: str,
    trigger: str | None,
    series: Sequence[Series],
    mode: CrossArchitecture,
) -> dict[str, bytes]:
    """The keys of the file as it was; none where it was not, or was wrong."""
    folder = Path(path).parent
    name = os.path.basename(path)
    said = _git(folder, "show", f"{_revision(since)}:./{name}")
    parsed = parse(said[: SIZE_LIMIT + 1]) if said is not None else None
    if parsed is None or parsed.references is None:
        return {}
    included, problems = _included(parsed.references, folder)
    graph = expand(parsed.references, trigger, included, series, mode).graph
    if graph is None or problems:
        return {}
    then = _keys(parsed.references, graph, [])
    return {node.title: one.inputs for node, one in zip(graph.nodes, then, strict=True)}


def _changed(folder: Path, since: str) -> list[str]:
    """Files that are not as they were, relative to ``folder``."""
    known = _git(folder, "diff", "--name-only", "--relative", "-z", _revision(since), "--")
    new = _git(folder, "ls-files", "--others", "--exclude-standard", "-z")
    if known is None or new is None:
        raise CommandMisused(f"--since {since}: git knows no such revision of {folder}")
    return [os.fsdecode(one) for one in (known + new).split(b"\0") if one]


def _revision(since: str) -> str:
    if since.startswith("-") or not since.isprintable():
        raise CommandMisused("--since takes a commit, a branch or a tag")
    return since


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        ended = run_git(folder, *arguments)
    except FileNotFoundError as error:
        raise CommandMisused("--since needs git, which this machine has not") from error
    return ended.stdout if ended.returncode == 0 else None


# The commands


def check(path: str, text: bytes, as_json: bool) -> int:
    """What ``headrace check`` does with such a file."""
    shown = look(path, text)
    references, graph = shown.parsed.references, shown.expanded.graph
    if as_json:
        say_json(
            {
                "valid": graph is not None,
                "jobs": None if graph is None else plain(references and references.jobs),
                "packages": None
                if graph is None
                else plain(references and references.packages),
                "errors": problem_documents(shown.errors),
                "warnings": problem_documents(shown.parsed.warnings),
            }
        )
    else:
        say_problems(path, "error", shown.errors)
        say_problems(path, "warning", shown.parsed.warnings)
        say(f"{path}: {_summary(references, graph)}")
    return INVALID if graph is None else VALID


def _summary(references: References | None, graph: Graph | None) -> str:
    if references is None or graph is None:
        return "not valid"
    return (
        f"valid; packages: {len(references.packages)}, jobs: {len(references.jobs)},"
        f" nodes: {len(graph.nodes)}, edges: {len(graph.edges)}"
    )


def plan(path: str, shown: Shown, form: str) -> int:
    """What ``headrace plan`` does with such a file; ``form`` is text, dot or json."""
    graph = shown.expanded.graph
    if form == "json":
        say_json(_document(shown))
    else:
        say_problems(path, "error", shown.errors)
        if form == "text":
            say_problems(path, "warning", shown.parsed.warnings)
        if graph is not None:
            (_say_dot if form == "dot" else _say_text)(graph, shown.outlook)
            if form == "text" and shown.fates:
                say(_sum(shown.fates))
        for note in shown.expanded.notes if form == "text" else ():
            say(f"note: {note}")
    return INVALID if graph is None else VALID


def _document(shown: Shown) -> dict[str, Any]:
    graph = shown.expanded.graph
    nodes = [
        _node(node, said)
        for node, said in zip(graph.nodes if graph else (), shown.outlook, strict=True)
    ]
    for node, fate in zip(nodes, shown.fates, strict=False):
        node["reuse"] = plain(fate)
    return {
        "nodes": nodes,
        "edges": [_edge(edge) for edge in (graph.edges if graph else ())],
        "notes": list(shown.expanded.notes),
        "errors": problem_documents(shown.errors),
        "warnings": problem_documents(shown.parsed.warnings),
    }


def _node(node: Node, outlook: str) -> dict[str, Any]:
    return {
        "number": node.number,
        "name": node.name,
        "job": node.job.name,
        "package": node.package,
        "cell": dict(node.cell),
        "scope": node.job.scope,
        "covers": list(node.covers),
        "manual": node.job.manual,
        "allow_failure": node.job.allow_failure,
        "outlook": outlook,
    }


def _sum(fates: Sequence[Outlook]) -> str:
    """How many nodes end how, in a sentence."""
    count = Counter(one.fate for one in fates)
    return (
        f"of {len(fates)} nodes {count['runs']} would run, {count['reused']} be reused,"
        f" {count['skipped']} be skipped"
    )


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "from": edge.up,
        "to": edge.down,
        "require": edge.require,
        "stage": edge.stage,
        "choice": edge.choice,
        "rebuild": edge.rebuild,
        "handed": None if edge.handed is None else plain(edge.handed),
    }


def _say_text(graph: Graph, outlook: Sequence[str]) -> None:
    for node, said, edges in zip(graph.nodes, outlook, graph.ups(), strict=True):
        words = [
            *(["manual"] if node.job.manual else []),
            *(["may fail"] if node.job.allow_failure else []),
        ]
        say(f"{node.title}{' [' + ', '.join(words) + ']' if words else ''}: {said}")
        for edge in edges:
            how = "" if edge.require == "good" else f", {edge.require}"
            how += ", or any other of its cells" if edge.choice is not None else ""
            files = f"; files in {folder_name(edge)}" if edge.handed is not None else ""
            stage = f"stage {edge.stage} of " if edge.stage is not None else ""
            say(f"  after {stage}{graph.nodes[edge.up].title}{how}{files}")
    if not graph.nodes:
        say("nothing would run")


def folder_name(edge: Edge) -> str:
    """Where the files of an edge lie, as commands name it."""
    assert edge.handed is not None
    name = f"$CI_INPUT_{variable_part(edge.handed.job)}"
    return f"{name}/{edge.handed.folder}" if edge.handed.folder else name


def _say_dot(graph: Graph, outlook: Sequence[str]) -> None:
    say("digraph run {")
    say("  rankdir=LR; node [shape=box];")
    for node, said in zip(graph.nodes, outlook, strict=True):
        style = "" if said.startswith("runs") else ", style=dashed"
        lines = [node.name, *([cell_text(node.cell)] if node.cell else [])]
        label = "\\n".join(_quoted(line) for line in lines)
        say(f'  n{node.number} [label="{label}"{style}, tooltip="{_quoted(said)}"];')
    for edge in graph.edges:
        how = [] if edge.require == "good" else [f'label="{edge.require}"']
        how += [] if edge.rebuild else ["style=dotted"]
        say(f"  n{edge.up} -> n{edge.down}{' [' + ', '.join(how) + ']' if how else ''};")
    say("}")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
