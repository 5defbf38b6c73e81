"""Tells whoever waits how far a run is, on standard error."""

from __future__ import annotations

import sys
from time import monotonic

_start = monotonic()


def say(text: str) -> None:
    """One line, with the seconds since the run began."""
    print(f"{monotonic() - _start:7.1f} s  {text}", file=sys.stderr, flush=True)
