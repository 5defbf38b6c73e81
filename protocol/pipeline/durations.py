"""How long something lasts: seconds, a clock's ``H:MM:SS`` or ISO 8601."""

from __future__ import annotations

import math
import re

from protocol.pipeline.document import Node, Scalar
from protocol.pipeline.model import Expiry
from protocol.pipeline.problems import Spot
from protocol.pipeline.values import described

_LIMIT = 100 * 366 * 86400.0  #: a hundred years
_LENGTH_LIMIT = 100
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SECONDS = re.compile(rf"(?P<sign>-?)(?P<seconds>{_NUMBER})")
_CLOCK = re.compile(
    r"(?P<sign>-?)(?:(?P<days>[0-9]+) (?:days?, )?)?"
    rf"(?:(?P<hours>[0-9]+):)?(?P<minutes>[0-9]+):(?P<seconds>{_NUMBER})"
)
_ISO = re.compile(
    rf"(?P<sign>[-+]?)P(?=[0-9T])(?:(?P<days>{_NUMBER})D)?(?:T(?=[0-9])"
    rf"(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})S)?)?"
)
_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def expiry(node: Node, spot: Spot) -> Expiry | None:
    """A duration that is not negative."""
    seconds = _seconds(node)
    if seconds is None or math.isnan(seconds):
        spot.error(
            f"this must be a duration (seconds, H:MM:SS, 4 days, H:MM:SS or P4DT12H),"
            f" and is {described(node)}"
        )
    elif seconds < 0:
        spot.error("a duration cannot be negative")
    elif seconds > _LIMIT:
        spot.error("a duration of more than a hundred years")
    else:
        return Expiry(seconds)
    return None


def _seconds(node: Node) -> float | None:
    if not isinstance(node, Scalar) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, (int, float)):
        # A hundred digits fit into a float.
        return float(node.value)
    if not isinstance(node.value, str) or len(node.value) > _LENGTH_LIMIT:
        return None
    for form in (_SECONDS, _CLOCK, _ISO):
        found = form.fullmatch(node.value.strip())
        if found is not None:
            parts = found.groupdict()
            total = sum(float(parts.get(unit) or 0) * n for unit, n in _UNITS.items())
            return -total if parts["sign"] == "-" else total
    return None
