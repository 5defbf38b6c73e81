"""What a follower of the status gets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Happened:
    """One event."""

    id: str
    kind: str  #: job.done, worker.connected ...
    json: bytes  #: the document, as `buildmaster.status.documents.Event` describes it


@dataclass(frozen=True)
class News:
    """At first the snapshot, then events, some at a time; or another snapshot."""

    cursor: str  #: where to go on: ``since`` of another following
    snapshot: bytes | None = None  #: the document, as the method itself answers
    events: tuple[Happened, ...] = ()  #: oldest first; none: nothing is new, after a while
