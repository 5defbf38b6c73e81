"""Expands a job's matrix into concrete jobs, numbered from 0."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from protocol.pipeline.document import WEIGHT_LIMIT, Entry, Mapping, Sequence
from protocol.pipeline.problems import Report, Spot, quoted
from protocol.pipeline.values import described

#: Concrete jobs of a file, and pipeline jobs that its stages name.
JOB_LIMIT = 5000


class Concrete(msgspec.Struct, frozen=True):
    """The keys of one concrete job; ``line`` is where its own part of the file is."""

    index: int
    found: dict[str, Entry]
    line: int


class Budget:
    """How much the jobs of a file may still expand to."""

    def __init__(self) -> None:
        self._jobs = JOB_LIMIT
        self._weight = WEIGHT_LIMIT

    def spend(self, jobs: int, weight: int) -> bool:
        """Take it off; False if there is not so much left."""
        self._jobs -= jobs
        self._weight -= weight
        return self._jobs >= 0 and self._weight >= 0


def concrete_jobs(
    name: str, node: Mapping, line: int, budget: Budget, report: Report
) -> Iterator[Concrete]:
    """The concrete jobs of ``name``; none if its matrix is wrong, with the error noted.

    An item of the matrix replaces whole keys of the job; nothing is merged below them.
    """
    base = {entry.key.text: entry for entry in node.entries}
    matrix = base.pop("matrix", None)
    if matrix is None:
        if _affordable(name, line, budget, 1, node.weight, report):
            yield Concrete(0, base, line)
        return
    items = _items(name, matrix, report)
    weight = sum(entry.value.weight for entry in base.values()) * len(items)
    matrix_line = matrix.key.line
    total = weight + matrix.value.weight
    if not _affordable(name, matrix_line, budget, len(items), total, report):
        return
    for index, item in enumerate(items):
        own = {entry.key.text: entry for entry in item.entries}
        yield Concrete(index, {**base, **own}, item.line)


def _items(name: str, matrix: Entry, report: Report) -> list[Mapping]:
    node = matrix.value
    # The reference notices this before it knows the job, hence the location.
    spot = Spot(report, "__root__", matrix.key.line)
    if not isinstance(node, Sequence):
        spot.error(
            f"the matrix of {quoted(name)} must be a list of mappings,"
            f" and is {described(node)}"
        )
        return []
    items = []
    for item in node.items:
        if isinstance(item, Mapping):
            items.append(item)
        else:
            Spot(report, "__root__", item.line).error(
                f"an item of the matrix of {quoted(name)} must be a mapping,"
                f" and is {described(item)}"
            )
    return items


def _affordable(
    name: str, line: int, budget: Budget, jobs: int, weight: int, report: Report
) -> bool:
    if budget.spend(jobs, weight):
        return True
    report.error(
        f"jobs.{name[:200]}",
        line,
        f"with this job the file expands to more than {JOB_LIMIT} jobs or"
        f" {WEIGHT_LIMIT // 1024 // 1024} MiB; give its matrix fewer items",
    )
    return False
