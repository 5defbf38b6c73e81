"""How what a workflow waited for has ended: jobs, builds, graphs, collections."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.results import GOOD

_GOOD = frozenset(one.value for one in GOOD)


class _End(msgspec.Struct, frozen=True, kw_only=True):
    result: str

    @property
    def good(self) -> bool:
        """Whether it is success, reused or skipped."""
        return self.result in _GOOD


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a job kept; the hash is what it is fetched by."""

    path: str
    sha256: str
    size: int = 0


class JobEnd(_End, frozen=True, kw_only=True):
    """How a farm job ended."""

    job: int
    reason: str = ""
    attempt: int = 1
    output: dict[str, Any] | None = None  #: what a native job returned
    name: str = ""
    cell: str = ""  #: as in ``arch=amd64,series=noble``
    # Of nodes only:
    architecture: str = ""
    series: str = ""
    reused_from: int | None = None  #: the job whose result stands for its own
    files: tuple[File, ...] = ()  #: 100 at most
    files_left_off: bool = False  #: a history has no room for those of all nodes


class BuildEnd(_End, frozen=True, kw_only=True):
    """How all builds of a source ended."""

    run: int
    jobs: tuple[dict[str, Any], ...] = ()  #: id, name, kind, cell, result


class GraphEnd(_End, frozen=True, kw_only=True):
    """How a run ended, node by node."""

    run: int
    nodes: tuple[JobEnd, ...] = ()  #: bad ends first; 500 at most
    counts: dict[str, int] = {}  #: nodes by their results, all of them

    def of(self, name: str, **cell: str) -> tuple[JobEnd, ...]:
        """The nodes of a name, as ``A/build``, which have these values in their cells."""
        return tuple(
            node
            for node in self.nodes
            if node.name == name and cell.items() <= _values(node.cell).items()
        )


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a collection: the last job of a member and a cell that passed."""

    member: str
    job: int
    attempt: int = 1
    cell: dict[str, str] = {}
    since: str = ""


class CollectionEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A collection in which all are that were waited for."""

    collection: str
    members: tuple[Member, ...] = ()  #: 500 at most


def _values(cell: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in cell.split(",") if pair)
    return {axis: value for axis, _, value in pairs}
