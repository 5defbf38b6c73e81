"""What the end of one job means for a job that waits for it: the truth table.

Pure. A resolved edge is never judged again.
"""

from __future__ import annotations

from enum import Enum

from protocol.results import BAD, GOOD, Result


class Require(Enum):
    """What an edge asks of its upstream; values equal the ``edge_require`` type."""

    GOOD = "good"
    FINISHED = "finished"  #: GOOD or BAD
    BAD = "bad"  #: clean-up, notification
    ALWAYS = "always"  #: however it ends


class Verdict(Enum):
    """What a resolved edge says to its downstream."""

    GO = "go"
    SKIP = "skip"
    UNRUN = "unrun"


def judge(require: Require, ended: Result) -> Verdict:
    """What an edge that asks ``require`` says when its upstream ended as ``ended``."""
    if require is Require.ALWAYS:
        return Verdict.GO
    if ended in GOOD:
        return Verdict.SKIP if require is Require.BAD else Verdict.GO
    if ended in BAD:
        return Verdict.UNRUN if require is Require.GOOD else Verdict.GO
    return Verdict.UNRUN
