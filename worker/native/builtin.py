"""The callables that every worker performs: for tests, and to measure a farm."""

from __future__ import annotations

import time
from typing import Any

from zope.interface import implementer

from worker.native.interface import Context, INativeJob


@implementer(INativeJob)
class Noop:
    """Does nothing, at once."""

    name = "noop"
    is_quick = True

    def run(self, arguments: dict[str, Any], context: Context) -> None:
        """Arguments are taken, and ignored."""


@implementer(INativeJob)
class Sleep:
    """Waits for ``seconds``."""

    name = "sleep"
    is_quick = False

    def run(self, arguments: dict[str, Any], context: Context) -> None:
        """ValueError and KeyError are what a wrong argument ends in."""
        time.sleep(float(arguments["seconds"]))


BUILT_IN = (Noop(), Sleep())
