"""How long jobs take: what was seen of it, in few numbers, and spreads to draw from.

Pure. A sketch counts durations in buckets, each a fixed ratio wider than the one before;
the function ``duration_bucket`` of the database is the same rule.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

#: Buckets of one doubling; where the first begins, as a power of two; how many there are.
PER_DOUBLING = 4
LOWEST = -10
BUCKETS = 120
#: Durations below which a sketch says too little, and one that is coarser is asked.
ENOUGH = 5
#: How many values stand for a spread, each as likely as the others.
_VALUES = 60


def bucket(seconds: float) -> int:
    """The bucket that counts a duration."""
    if not seconds > 2.0**LOWEST:
        return 0
    return min(BUCKETS - 1, math.floor((math.log2(seconds) - LOWEST) * PER_DOUBLING))


def _edge(number: int) -> float:
    return math.pow(2.0, LOWEST + number / PER_DOUBLING)


@dataclass(frozen=True)
class Spread:
    """What a duration may be, as values that are equally likely, in ascending order."""

    values: tuple[float, ...]
    samples: float  #: how many durations it was made of

    @cached_property
    def mean(self) -> float:
        """Seconds."""
        return sum(self.values) / len(self.values)

    @cached_property
    def doubt(self) -> float:
        """How far its middle may be off: the standard deviation of its logarithm."""
        logs = [math.log(value) for value in self.values]
        middle = sum(logs) / len(logs)
        variance = sum((each - middle) ** 2 for each in logs) / len(logs)
        # Seen in full buckets: a few equal durations do not make it certain.
        return math.sqrt((variance + 0.02) / max(1.0, self.samples))

    def quantile(self, share: float) -> float:
        """The value that this share of durations stays below."""
        return quantile(self.values, share)

    def left(self, elapsed: float, luck: float) -> float:
        """Seconds until something that runs since ``elapsed`` ends.

        ``luck`` from 0 to 1 chooses among what is possible. Of what has taken longer than
        anything seen it is only known that it may take half as long again.
        """
        first = bisect_right(self.values, elapsed)
        if first == len(self.values):
            return luck * elapsed / 2
        rest = len(self.values) - first
        return self.values[first + min(rest - 1, int(luck * rest))] - elapsed

    def widened(self, ratio: float) -> Spread:
        """The same, for something of which little is known but its kind."""
        normal = NormalDist(0.0, math.log(ratio))
        others = (math.exp(normal.inv_cdf(share)) for share in (0.1, 0.3, 0.5, 0.7, 0.9))
        whole = sorted(value * other for other in others for value in self.values)
        step = len(whole) / _VALUES
        return Spread(
            tuple(whole[int((i + 0.5) * step)] for i in range(_VALUES)), self.samples
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of sorted ``values`` lies, between two of them."""
    place = share * len(values) - 0.5
    low = max(0, min(len(values) - 1, math.floor(place)))
    high = min(len(values) - 1, low + 1)
    if not math.isfinite(values[high]):
        return values[high if place > low else low]
    return values[low] + max(0.0, min(1.0, place - low)) * (values[high] - values[low])


def spread(counts: Sequence[float]) -> Spread | None:
    """What a sketch tells; None of one that has counted nothing."""
    samples = sum(counts)
    if samples <= 0:
        return None
    values: list[float] = []
    passed = 0.0
    for number, count in enumerate(counts):
        before, passed = passed, passed + count
        while len(values) < _VALUES and (len(values) + 0.5) * samples <= passed * _VALUES:
            within = ((len(values) + 0.5) * samples / _VALUES - before) / count
            values.append(_edge(number) * 2.0 ** (within / PER_DOUBLING))
    values += values[-1:] * (_VALUES - len(values))
    return Spread(tuple(values), samples)


def _default() -> Spread:
    """From a second to an hour, and beyond."""
    normal = NormalDist(math.log(60.0), math.log(10.0))
    shares = ((i + 0.5) / _VALUES for i in range(_VALUES))
    return Spread(tuple(math.exp(normal.inv_cdf(share)) for share in shares), 1.0)


#: Of what was never seen.
DEFAULT = _default()


def expected(own: Sequence[float] | None, of_kind: Sequence[float] | None) -> Spread:
    """What to expect: of its own name and class, else of its kind, else of anything."""
    known = spread(own) if own is not None else None
    if known is not None and known.samples >= ENOUGH:
        return known
    kind = spread(of_kind) if of_kind is not None else None
    if kind is not None and kind.samples >= ENOUGH:
        return kind.widened(2.0)
    return DEFAULT
