"""Mends forecasts by how far earlier ones were off. Pure.

What no play knows of (jobs that come later and go first, workers that leave) makes jobs
start later than played. So it is counted how true starts compare with each end of what was
played; an end is then moved to where its share of them lay. This needs nothing but that
the farm goes on as it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.durations import spread
from buildmaster.forecast import HIGH, LOW, MIDDLE, Estimate

#: True starts without which nothing is mended.
ENOUGH = 30
SHARES = (LOW, MIDDLE, HIGH)
#: Seconds that are added to both sides of a comparison: a second is never far off.
GRAIN = 1.0


def ratio(waited: float, played: float) -> float:
    """How a true start compares with a played one."""
    return (max(0.0, waited) + GRAIN) / (played + GRAIN)


@dataclass(frozen=True)
class Calibration:
    """What was counted of a class: a sketch of ratios for each end and the middle."""

    counts: tuple[Sequence[float], Sequence[float], Sequence[float]]

    @property
    def is_enough(self) -> bool:
        """Whether it may be relied on."""
        return sum(self.counts[0]) >= ENOUGH

    def mend(self, played: Estimate, *, at_least: float = 0.0) -> Estimate:
        """What to tell instead of ``played``; nothing starts before ``at_least``."""
        if not self.is_enough:
            return played
        mended: list[float] = []
        ends = (played.low, played.middle, played.high)
        for end, counts, share in zip(ends, self.counts, SHARES, strict=True):
            known = spread(counts)
            assert known is not None
            moved = (end + GRAIN) * known.quantile(share) - GRAIN
            mended.append(max(at_least, moved, *mended[-1:]))
        return Estimate(*mended)


def calibration(own: Calibration | None, of_all: Calibration | None) -> Calibration | None:
    """That of a job's class if it is enough, else that of all classes, if any is."""
    for one in (own, of_all):
        if one is not None and one.is_enough:
            return one
    return None
