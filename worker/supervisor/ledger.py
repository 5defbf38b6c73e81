"""The ledger: which pipeline jobs of an attempt were reported, so that none is forgotten.

Whoever ends an attempt - the build itself, the watch when the build hangs, the worker
daemon when the supervisor died - ends it through here, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from protocol.messages import Ended, PipelineJobEnded, PipelineJobStarted, ReportBody
from protocol.order import Order
from protocol.results import BAD, Result, worst
from protocol.stages import Cell, title
from worker.supervisor.endings import Outcome, Stop, sentence


class Ledger:
    """Tells of the pipeline jobs of one attempt, each begun and ended once."""

    def __init__(
        self,
        order: Order,
        append: Callable[[ReportBody], object],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._order = order
        self._append = append
        self._now = now
        self._kept = {(kept.name, kept.index) for kept in order.kept}
        self._begun: set[Cell] = set()
        self._ended: dict[Cell, Outcome] = {}
        self._over = False

    def recall(self, body: ReportBody) -> None:
        """Take note of a report that stands in the spool already."""
        if isinstance(body, PipelineJobStarted):
            self._begun.add((body.name, body.index))
        elif isinstance(body, PipelineJobEnded):
            cell = (body.name, body.index)
            self._ended[cell] = Outcome(body.result, body.reason, body.exit_status)

    def began(self, cell: Cell) -> None:
        """Report that ``cell`` begins."""
        name, index = cell
        self._append(PipelineJobStarted(name=name, index=index, at=self._now()))
        self._begun.add(cell)

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """Report how ``cell`` ended."""
        if cell in self._ended:
            return
        name, index = cell
        self._append(
            PipelineJobEnded(
                name=name,
                index=index,
                at=self._now(),
                result=outcome.result,
                reason=sentence(outcome.reason),
                exit_status=outcome.exit_status,
                properties=outcome.properties,
                files=outcome.files,
                image=outcome.image,
                lingers=outcome.lingers,
            )
        )
        self._ended[cell] = outcome

    def failures(self) -> list[tuple[Cell, Outcome]]:
        """The jobs that ended BAD so far, in the order in which they ended."""
        return [(cell, how) for cell, how in self._ended.items() if how.result in BAD]

    def finish(self) -> None:
        """Report the end of an attempt whose jobs have all been reported."""
        results = frozenset(how.result for how in self._ended.values())
        # Jobs kept from an earlier attempt passed there.
        passed = {Result.SUCCESS} if self._kept else set()
        self._end(worst(results | passed), self._summary(), self._all_final())

    def break_off(
        self,
        result: Result,
        reason: str,
        final: bool = False,
        lingers: float | None = None,
    ) -> None:
        """Report the end of an attempt that something stopped on its way.

        A job that was running ends with ``result``, and its environment ``lingers``;
        those that had not begun are ``unrun``, or ``cancelled`` with the attempt.
        Repeating changes nothing.
        """
        waiting = Result.CANCELLED if result is Result.CANCELLED else Result.UNRUN
        for cell in self._open():
            if cell in self._begun:
                self.ended(cell, Outcome(result, reason, lingers=lingers))
            else:
                self.ended(cell, Outcome(waiting, f"did not begin: {reason}"))
        self._end(result, reason, final)

    def stop(self, stop: Stop) -> None:
        """`break_off` for the reason that ``stop`` gives."""
        self.break_off(stop.result, stop.reason)

    def leave_out(self, reason: str) -> None:
        """Report every job that has not begun as ``unrun``, for ``reason``."""
        for cell in self._open():
            if cell not in self._begun:
                self.ended(cell, Outcome(Result.UNRUN, reason))

    def _open(self) -> list[Cell]:
        cells = (cell for stage in self._order.stages for cell in stage)
        return [c for c in cells if c not in self._ended and c not in self._kept]

    def _end(self, result: Result, reason: str, final: bool) -> None:
        if self._over:
            return
        is_final = final and result is Result.ERROR
        self._append(
            Ended(
                at=self._now(),
                result=result,
                reason=sentence(reason),
                final=is_final,
                exit_status=self._exit_status(result),
            )
        )
        self._over = True

    def _exit_status(self, result: Result) -> int | None:
        """That of the job whose failure is the attempt's, if there is one such job."""
        failures = self.failures()
        if result is not Result.FAILURE or len(failures) != 1:
            return None
        return failures[0][1].exit_status

    def _summary(self) -> str:
        failures = self.failures()
        told = "; ".join(root_cause(cell, outcome) for cell, outcome in failures[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        return told + more

    def _all_final(self) -> bool:
        errors = [how for _, how in self.failures() if how.result is Result.ERROR]
        return bool(errors) and all(how.final for how in errors)


def root_cause(cell: Cell, outcome: Outcome) -> str:
    """Which job it was and what befell it, in a few words: ``unit:0 failed (...)``."""
    verb = {Result.FAILURE: "failed", Result.TIMEOUT: "took too long"}.get(
        outcome.result, "could not run"
    )
    status = outcome.exit_status
    told = outcome.result is Result.FAILURE and status not in (None, 0)
    why = outcome.reason
    if told:
        # What it ran out of stands behind the words that the status says again.
        _, _, exhausted = outcome.reason.partition("; ")
        why = f"exit status {status}" + (f"; {exhausted}" if exhausted else "")
    return f"{title(*cell)} {verb} ({why})"
