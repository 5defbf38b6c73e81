"""Whether the database keeps what it has said that it has: its settings, read as a warning.

The farm believes a commit: a worker deletes a build's reports once their end is recorded,
and whoever submits is told the number of a run. A server that forgets commits when it or
its machine crashes loses finished builds and runs without a trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.logger import Logger

from buildmaster.database import Cursor
from buildmaster.store.server import settings

#: What each setting loses when it is off.
LOSSES: Mapping[str, str] = {
    "fsync": "after a crash of its machine the whole database may be damaged",
    "full_page_writes": "after a crash of its machine the whole database may be damaged",
    "synchronous_commit": "a crash of the server forgets what was recorded just before: "
    "runs that were promised, and builds that have ended",
}

_log = Logger()


def warnings(found: Mapping[str, str]) -> Sequence[str]:
    """A sentence for each setting among ``found`` with which commits can be lost."""
    return [
        f"PostgreSQL works with {name} = off: {loss}. Set it to on for anything but tests."
        for name, loss in LOSSES.items()
        if found.get(name) == "off"
    ]


async def warn(cursor: Cursor) -> None:
    """Put into the log what the server that ``cursor`` asks might lose."""
    for sentence in warnings(await settings(cursor, LOSSES)):
        _log.warn("{sentence}", sentence=sentence)
