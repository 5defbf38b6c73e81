"""A native job that tells when it was begun; only the workers of a benchmark have it."""

from __future__ import annotations

import time
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from worker.native.interface import Context, INativeJob


@implementer(IPlugin, INativeJob)
class Clock:
    """Returns this machine's monotonic clock, which all its processes share."""

    name = "benchmark-clock"
    is_quick = True

    def run(self, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """When it was called."""
        return {"monotonic": time.monotonic()}


clock = Clock()
