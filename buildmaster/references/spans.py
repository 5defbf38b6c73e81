"""How long something may last, as people write it: ``90``, ``15m``, ``7d``, ``1:30:00``."""

from __future__ import annotations

import re

from protocol.pipeline.document import Node, Scalar
from protocol.pipeline.durations import expiry
from protocol.pipeline.problems import Spot

_SHORT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def span(node: Node, spot: Spot) -> float | None:
    """Seconds, more than none."""
    short = isinstance(node, Scalar) and isinstance(node.value, str)
    found = _SHORT.fullmatch(node.text.strip()) if short else None  # type: ignore[union-attr]
    if found is not None:
        seconds = float(found[1]) * _UNITS[found[2]]
        if seconds > 100 * 366 * 86400:
            spot.error("a duration of more than a hundred years")
            return None
    else:
        read = expiry(node, spot)
        if read is None:
            return None
        seconds = read.seconds
    if seconds <= 0:
        spot.error("a limit must be more than no time")
        return None
    return seconds
