"""The aftermath: the end of an attempt, reported by another process than the dead build's.

The supervisor does this when the build dies under it, the worker daemon when the
supervisor is dead, too.
"""

from __future__ import annotations

from pathlib import Path

from protocol.messages import Report, decode_from_worker
from protocol.order import Order
from protocol.results import Result
from worker.supervisor.ledger import Ledger
from worker.supervisor.spool import Kind, Spool, SpoolReader


def report_end(folder: Path, order: Order, result: Result, reason: str) -> None:
    """Add to the spool in ``folder`` what is missing of it; nothing if nothing is.

    Safe to repeat. OSError if the disk is full.
    """
    spool = Spool(folder, order.job, order.attempt)
    reader = SpoolReader(folder)
    try:
        if reader.ended:
            return
        ledger = Ledger(order, spool.append)
        for number in reader.numbers_of(Kind.STARTED, Kind.JOB_ENDED):
            for report in decode_from_worker(reader.read_from(number, 1)[0]):
                if isinstance(report, Report):
                    ledger.recall(report.body)
        spool.use_reserve()
        ledger.break_off(result, reason)
    finally:
        reader.close()
        spool.close()
