"""Times of many repetitions, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic


def quantile(times: Sequence[float], share: float) -> float:
    """The smallest of ``times`` that ``share`` of them do not exceed."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Latencies:
    """Seconds, as they come in."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def add(self, seconds: float) -> None:
        """One more."""
        self.seconds.append(seconds)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time that the block takes."""
        start = monotonic()
        yield
        self.add(monotonic() - start)

    @property
    def p50(self) -> float:
        """Milliseconds that half of them do not exceed."""
        return 1000 * quantile(self.seconds, 0.5)

    @property
    def p99(self) -> float:
        """Milliseconds that all but one of a hundred do not exceed."""
        return 1000 * quantile(self.seconds, 0.99)

    @property
    def figures(self) -> dict[str, float]:
        """For a report."""
        if not self.seconds:
            return {"n": 0}
        worst = 1000 * max(self.seconds)
        count = len(self.seconds)
        return {"n": count, "p50_ms": self.p50, "p99_ms": self.p99, "max_ms": worst}
