"""Stage lists: which pipeline jobs a build runs, stage by stage.

The dispatched form is ``[[["name", index], ...], ...]``. Tools of other farms read it,
so it never changes; ``tests/protocol/stages.golden.json`` pins it.
"""

from __future__ import annotations

from typing import Any

#: One pipeline job: its name, and its index among the concrete jobs of that name.
Cell = tuple[str, int]
#: Stages in order; within a stage, pipeline jobs in order.
Stages = tuple[tuple[Cell, ...], ...]


def dispatched(stages: Stages) -> list[list[list[Any]]]:
    """The stage list as it is stored, sent and shown: lists all the way down."""
    return [[[name, index] for name, index in stage] for stage in stages]


def title(name: str, index: int) -> str:
    """How people and URLs name a pipeline job: ``name:index``."""
    return f"{name}:{index}"
