"""A native job that counts words; ``docs/native-jobs.rst`` explains each part."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from worker.native.interface import Context, INativeJob


@implementer(IPlugin, INativeJob)
class CountWords:
    """Counts the words of ``text``."""

    name = "count-words"
    is_quick = False

    def run(self, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """Without ``text`` it fails: KeyError."""
        words = arguments["text"].split()
        print(f"counted for attempt {context.attempt} of job {context.job}")
        return {"words": len(words)}
