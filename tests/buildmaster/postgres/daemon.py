"""A daemon with nothing but a database: ``python -m`` this module, then a data folder.

Prints one line, ``ready PID DSN`` or ``refused`` and the reason, and runs until killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from buildmaster.postgres.embedded import EmbeddedPostgres, PostgresReactor


async def main(data_folder: str) -> None:
    postgres = EmbeddedPostgres(cast(PostgresReactor, global_reactor), Path(data_folder))
    try:
        dsn = await postgres.start()
    except Exception as error:
        print("refused", type(error).__name__, str(error).replace("\n", " "), flush=True)
        return
    pid = (Path(data_folder) / "postgres.pid").read_text().strip()
    print("ready", pid, dsn, flush=True)
    cast(PostgresReactor, global_reactor).addSystemEventTrigger(  # type: ignore[attr-defined]
        "before", "shutdown", lambda: Deferred.fromCoroutine(postgres.stop())
    )
    await Deferred()


if __name__ == "__main__":
    react(lambda _, folder: Deferred.fromCoroutine(main(folder)), sys.argv[1:])
