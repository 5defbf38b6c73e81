"""A process that starts the engine on a database with sleepers: DSN NAME -> JSON.

It says how long after its imports the workflow NAME had ended, and what it has then:
threads, memory, connections.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from benchmarks.workflow_parts.engine import engine


def memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def wake(reactor: Any, dsn: str, name: str, imported: float) -> None:
    """Start, wait for the workflow's end, and say what it took."""
    async with engine(dsn, reactor) as running:
        while not await running.count(f"name = '{name}' AND state = 'done'"):
            await deferLater(reactor, 0.005)
        woken = monotonic()
        print(
            json.dumps(
                {
                    "woken_after_s": woken - imported,
                    "threads": threading.active_count(),
                    "connections": sum(running.running.database.connections().values()),
                    "memory": memory(),
                    "delayed_calls": len(reactor.getDelayedCalls()),
                    "live": len(running.running.stepper.live),
                }
            )
        )


def main() -> None:
    """Read the command line."""
    _, dsn, name = sys.argv
    imported = monotonic()
    react(lambda reactor: Deferred.fromCoroutine(wake(reactor, dsn, name, imported)))


if __name__ == "__main__":
    main()
