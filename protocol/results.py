"""How a job can end, and what that is worth to those who wait for it."""

from __future__ import annotations

from enum import Enum


class Result(Enum):
    """How a job, or one pipeline job of a build, ended.

    Values equal the ``job_result`` type in ``schema/0001_jobs.sql``; a test compares them.
    """

    SUCCESS = "success"
    REUSED = "reused"  #: an earlier success with the same key stands in for it
    SKIPPED = "skipped"  #: its own condition said no
    FAILURE = "failure"  #: the user's code did not pass
    ERROR = "error"  #: the farm could not run it, retries used up
    TIMEOUT = "timeout"  #: it took longer than it was allowed to
    MALFORMED = "malformed"  #: what was asked for makes no sense; never retried
    UNRUN = "unrun"  #: something it needs made it impossible; a root cause is named
    CANCELLED = "cancelled"  #: somebody asked for it to stop


GOOD = frozenset({Result.SUCCESS, Result.REUSED, Result.SKIPPED})
BAD = frozenset({Result.FAILURE, Result.ERROR, Result.TIMEOUT, Result.MALFORMED})
VOID = frozenset({Result.UNRUN, Result.CANCELLED})

#: From the one that decides most to the one that decides least.
_WEIGHT = (
    Result.FAILURE,
    Result.TIMEOUT,
    Result.MALFORMED,
    Result.ERROR,
    Result.CANCELLED,
    Result.UNRUN,
    Result.SUCCESS,
    Result.REUSED,
    Result.SKIPPED,
)


def worst(results: frozenset[Result]) -> Result:
    """The result that stands for all of ``results``: BAD before VOID before GOOD.

    Nothing at all counts as skipped (``semantics`` section 1).
    """
    for result in _WEIGHT:
        if result in results:
            return result
    return Result.SKIPPED
