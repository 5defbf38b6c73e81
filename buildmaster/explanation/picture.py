"""The farm in one picture: workers, what they run, the heads of the lines, durations.

Pure. ``buildmaster/store/picture.py`` takes it.
"""

from __future__ import annotations

import msgspec

from protocol.messages import Offer


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, as far as it matters to those who wait."""

    name: str
    state: str
    duty: str
    duty_reason: str
    duty_until: str | None
    quarantine_reason: str  #: "" outside of quarantine
    last_heard_at: str | None
    offers: tuple[Offer, ...]
    tags: tuple[str, ...]
    restricted_tags: tuple[str, ...]
    performs: tuple[str, ...]
    slots: int
    cpu: int | None
    memory: int | None
    disk: int | None


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """A requirement set."""

    id: int
    architecture: str
    isolation: str
    series: tuple[str, ...]
    tags: tuple[str, ...]
    performs: str
    worker: str
    slots: int
    cpu: int
    memory: int
    disk: int


class LeaseRow(msgspec.Struct, frozen=True, array_like=True):
    """A job that a worker has."""

    job: int
    worker: str
    class_id: int
    elapsed: float
    kind: str
    name: str
    limits: tuple[str, ...] | None = None


class LineRow(msgspec.Struct, frozen=True, array_like=True):
    """A job in the line, or beside it."""

    job: int
    class_id: int
    position: int
    kind: str
    name: str
    aside: str
    limits: tuple[str, ...] | None = None
    refused_by: tuple[str, ...] | None = None


class SketchRow(msgspec.Struct, frozen=True, array_like=True):
    """Counted durations."""

    kind: str
    name: str
    class_id: int
    counts: tuple[float, ...]


class ErrorRow(msgspec.Struct, frozen=True, array_like=True):
    """How far forecasts of a class were off."""

    class_id: int  #: 0 is all
    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


class HoldRow(msgspec.Struct, frozen=True, kw_only=True):
    """What operators keep from starting."""

    scope: str
    name: str
    reason: str
    held_by: str
    created_at: str
    until: str | None


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    cursor: str = "0-0"  #: the event that it knows of, and all before
    at: float  #: seconds since 1970, by the database's clock
    workers: tuple[WorkerRow, ...]
    classes: tuple[ClassRow, ...]
    running: tuple[LeaseRow, ...]
    line: tuple[LineRow, ...]  #: the first of each class
    each: int  #: so many of a class at most: where there are as many, there may be more
    sketches: tuple[SketchRow, ...]
    errors: tuple[ErrorRow, ...]
    semaphores: dict[str, int]
    holds: tuple[HoldRow, ...]
