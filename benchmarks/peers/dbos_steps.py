"""Runs workflows of dbos on a server: ADDRESS WORKFLOWS STEPS -> one JSON object."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from statistics import median

from dbos import DBOS, SetWorkflowID

ADDRESS, WORKFLOWS, STEPS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

DBOS(
    config={
        "name": "bench",
        "system_database_url": ADDRESS,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
)


@DBOS.step()  # type: ignore[untyped-decorator, unused-ignore]
def nothing(number: int) -> int:
    """Give back what it was given."""
    return number


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
def calling(count: int) -> int:
    """Take so many steps."""
    for number in range(count):
        nothing(number)
    return count


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
def waiting() -> float:
    """Tell when a message came."""
    DBOS.recv(timeout_seconds=60)
    return time.monotonic()


DBOS.launch()
calling(3)
start = time.monotonic()
handles = [DBOS.start_workflow(calling, STEPS) for _ in range(WORKFLOWS)]
for handle in handles:
    handle.get_result()
took = time.monotonic() - start
wakes = []
for number in range(20):
    with SetWorkflowID(f"waiting-{number}"):
        handle = DBOS.start_workflow(waiting)
    time.sleep(0.2)
    sent = time.monotonic()
    DBOS.send(f"waiting-{number}", "now")
    wakes.append(handle.get_result() - sent)
print(
    json.dumps(
        {
            "version": version("dbos"),
            "steps_per_s": WORKFLOWS * STEPS / took,
            "wake_ms_p50": median(wakes) * 1000,
        }
    )
)
DBOS.destroy()
