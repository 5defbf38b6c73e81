"""The life of a job: its states, and the table of what may follow what.

Pure. The states are stored; whoever changes one in SQL names the state it expects, so
a change that the table does not allow touches no row.
"""

from __future__ import annotations

from enum import Enum


class JobState(Enum):
    """Values equal the ``job_state`` type in ``schema/0001_jobs.sql``."""

    WAITING = "waiting"  #: something must happen first: an edge, a time
    READY = "ready"  #: in the queue
    ASSIGNED = "assigned"  #: claimed for a worker that has not yet accepted it
    RUNNING = "running"  #: accepted by a worker
    PARKED = "parked"  #: held until somebody or something lets it go
    DONE = "done"  #: over


class JobEvent(Enum):
    """What can happen to a job."""

    UNBLOCK = "unblock"  #: its last edge was resolved, or its time came
    CLAIM = "claim"
    ACCEPT = "accept"
    GIVE_BACK = "give back"  #: the worker could not take it; same attempt
    LOSE = "lose"  #: the attempt ended by the farm's fault; another one follows
    END = "end"  #: the attempt ended and its result stands
    DECIDE = "decide"  #: an upstream made it impossible or needless
    CANCEL = "cancel"  #: before any worker had it
    RETRY = "retry"  #: somebody asked for another attempt
    PARK = "park"
    LET_GO = "let go"


_S, _E = JobState, JobEvent

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (_S.WAITING, _E.UNBLOCK): _S.READY,
    (_S.WAITING, _E.DECIDE): _S.DONE,
    (_S.WAITING, _E.CANCEL): _S.DONE,
    (_S.WAITING, _E.PARK): _S.PARKED,
    (_S.READY, _E.CLAIM): _S.ASSIGNED,
    (_S.READY, _E.CANCEL): _S.DONE,
    (_S.READY, _E.PARK): _S.PARKED,
    (_S.PARKED, _E.LET_GO): _S.WAITING,
    (_S.PARKED, _E.CANCEL): _S.DONE,
    (_S.ASSIGNED, _E.ACCEPT): _S.RUNNING,
    (_S.ASSIGNED, _E.GIVE_BACK): _S.READY,
    (_S.ASSIGNED, _E.LOSE): _S.WAITING,
    (_S.ASSIGNED, _E.END): _S.DONE,
    (_S.RUNNING, _E.LOSE): _S.WAITING,
    (_S.RUNNING, _E.END): _S.DONE,
    (_S.DONE, _E.RETRY): _S.WAITING,
}


def states_before(event: JobEvent) -> tuple[JobState, ...]:
    """The states in which ``event`` may happen, for the WHERE of a statement."""
    return tuple(state for state, happened in TRANSITIONS if happened is event)
