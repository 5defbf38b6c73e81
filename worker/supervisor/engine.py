"""The engine: runs the stages of an order and decides what follows from each end."""

from __future__ import annotations

from collections.abc import Callable

from protocol.order import Order
from protocol.pipeline.model import PipelineJob
from protocol.results import Result
from protocol.stages import Cell, title
from worker.supervisor.endings import Ending, Malformed, Outcome
from worker.supervisor.ledger import Ledger, root_cause

#: Runs one pipeline job; raises an `Ending`, or `Stopped`, or OSError for a full disk.
RunJob = Callable[[Cell, PipelineJob, int], Outcome]


def check(order: Order) -> None:
    """Raise `Malformed` if the order asks for something that cannot be run at all."""
    cells = [cell for stage in order.stages for cell in stage]
    if not cells:
        raise Malformed("no pipeline job was asked for: the list of stages is empty")
    for name, index in cells:
        if index >= len(order.jobs.get(name, ())):
            raise Malformed(
                f"the pipeline defines no job {title(name, index)}, but a stage asks for it"
            )
    if len(set(cells)) != len(cells):
        raise Malformed("a pipeline job stands in the list of stages more than once")
    if len(order.stage_numbers) != len(order.stages):
        raise Malformed("the order does not tell the number of every stage")


def run_stages(order: Order, ledger: Ledger, run_job: RunJob) -> None:
    """Run the stages one after the other and report each job and the attempt's end.

    Every job of a stage runs, though one of it failed; those of later stages do not. A
    job that the farm could not run ends the attempt at once, and so does one whose
    environment lingers: the next would change it.
    """
    kept = {(each.name, each.index) for each in order.kept}
    for number, stage in zip(order.stage_numbers, order.stages, strict=True):
        for cell in stage:
            if cell in kept:
                continue
            outcome = _run_one(order, cell, number, ledger, run_job)
            if outcome.result is Result.ERROR or outcome.lingers is not None:
                return _give_up(ledger, number)
        if ledger.failures():
            return _give_up(ledger, number)
    ledger.finish()


def _run_one(
    order: Order, cell: Cell, number: int, ledger: Ledger, run_job: RunJob
) -> Outcome:
    name, index = cell
    ledger.began(cell)
    try:
        outcome = run_job(cell, order.jobs[name][index], number)
    except Ending as ending:
        outcome = ending.outcome()
    ledger.ended(cell, outcome)
    return outcome


def _give_up(ledger: Ledger, number: int) -> None:
    causes = "; ".join(root_cause(*failure) for failure in ledger.failures()[:3])
    ledger.leave_out(f"{causes} in stage {number + 1}")
    ledger.finish()
