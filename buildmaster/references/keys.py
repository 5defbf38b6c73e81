"""Content keys: what makes two nodes do the same, so that one can stand for the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from buildmaster.references.expansion import Edge, Graph, Node
from buildmaster.references.model import References, cell_text, plain

#: Changes whenever keys are made in another way.
VERSION = 1

#: The digest of a part of the source, all of it for no paths.
DigestOf = Callable[[tuple[str, ...]], str]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a node's key before anything has run."""

    base: bytes  #: what it is itself, without what it waits for
    inputs: bytes  #: with the same of all that it builds upon
    #: Whether it may turn out the same although this differs: something that it builds
    #: upon is compared by its files.
    is_late: bool


def paths_of(node: Node, references: References) -> tuple[str, ...]:
    """The part of the source that a node depends on, sorted; none: all of it."""
    if node.job.paths is not None:
        own = set(node.job.paths)
    else:
        packages = {package.name: package for package in references.packages}
        covered = [packages[name] for name in node.covers]
        if not covered or any(not package.paths for package in covered):
            return ()
        own = {path for package in covered for path in package.paths}
    return tuple(sorted(own | set(references.inputs)))


def keys_of(
    graph: Graph,
    references: References,
    digest_of: DigestOf,
    resolved: Callable[[Node], Any],
    included: Mapping[str, str],
) -> list[Keys]:
    """The keys of all nodes; ``resolved`` is what a node runs and where, as JSON.

    ``included`` holds digests of the pipelines' files that jobs include.
    """
    found: list[Keys] = []
    digests: dict[tuple[str, ...], str] = {}
    parts: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
    for node, edges in zip(graph.nodes, graph.ups(), strict=True):
        place = (node.job.name, node.covers)
        if place not in parts:
            parts[place] = paths_of(node, references)
        paths = parts[place]
        if paths not in digests:
            digests[paths] = digest_of(paths)
        base = digest(
            VERSION,
            resolved(node),
            plain(references.license),
            node.package,
            cell_text(node.cell),
            None if node.build is None else plain(node.build),
            included.get(node.job.lpci or ""),
            digests[paths],
        )
        counted = [edge for edge in edges if edge.rebuild]
        ups = [
            (label(edge, graph.nodes[edge.up]), found[edge.up].inputs) for edge in counted
        ]
        found.append(
            Keys(
                base=base,
                inputs=with_ups(base, ups),
                is_late=any(
                    node.job.reuse == "outputs" or found[edge.up].is_late
                    for edge in counted
                ),
            )
        )
    return found


def label(edge: Edge, up: Node) -> str:
    """What is taken of ``up``, and how: the same for the same place in two runs."""
    of = edge.handed
    taken = "nothing" if of is None else f"{of.job}/{of.folder} {of.patterns}"
    return f"{edge.require} {up.name} {cell_text(up.cell)}: {taken}"


def with_ups(base: bytes, ups: Sequence[tuple[str, bytes]]) -> bytes:
    """The key of a node that is ``base``, and builds upon ``ups``."""
    return digest(base.hex(), [(name, key.hex()) for name, key in sorted(ups)])


def digest(*values: Any) -> bytes:
    """The SHA-256 of ``values``, as JSON."""
    return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).digest()


def under(path: str, paths: Sequence[str]) -> bool:
    """Whether a file is in one of ``paths``, none of which is all of the source."""
    normal = [one.strip("/").removeprefix("./") for one in paths]
    return not paths or any(
        one in ("", ".") or path == one or path.startswith(f"{one}/") for one in normal
    )
