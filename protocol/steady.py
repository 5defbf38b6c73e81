"""Makes a reactor measure waiting on a clock that never jumps.

Twisted's reactor follows the wall clock. When that is set back, everything that waits
waits longer by as much, heartbeats included; when it is set forward, every limit is over.
"""

from __future__ import annotations

import time
from typing import Any


def make_steady(reactor: Any) -> None:
    """To be called before anything is scheduled: what is, was measured otherwise."""
    if reactor.getDelayedCalls():
        raise RuntimeError("something waits already, on the wall clock")
    reactor.seconds = time.monotonic
