"""One native attempt: who performs it, and how its reports go to the master."""

from __future__ import annotations

import time
from collections.abc import Callable

from protocol.messages import Attempt, Ended, Report, ReportBody, encode
from protocol.results import Result
from worker.delivery import Delivery, ReportsMissing
from worker.dialogue import Mouth
from worker.native.kept import Kept
from worker.native.runners import Runner


class NativeAttempt:
    """It lives until its end is reported, and is done with when that is recorded."""

    __slots__ = (
        "_delivery",
        "_ended",
        "_kept",
        "_mouth",
        "fence_after",
        "key",
        "runner",
        "starves",
        "taken_at",
    )

    def __init__(
        self,
        key: Attempt,
        mouth: Callable[[], Mouth | None],
        ended: Callable[[NativeAttempt], None],
    ) -> None:
        self.key = key
        self.runner: Runner | None = None  #: who performs it, while it lives
        self.fence_after: float | None = None
        self.taken_at = 0.0
        #: It has reports that the line had no room for.
        self.starves = False
        self._mouth = mouth
        self._ended = ended
        self._kept = Kept()
        self._delivery = Delivery(self._kept)

    @property
    def lives(self) -> bool:
        """Whether its end is still to come."""
        return not self._kept.ended

    @property
    def is_done(self) -> bool:
        """Whether its end is recorded."""
        return self._delivery.is_done

    # -- what a runner tells (`worker.native.runners.Client`)

    def said(self, report: bytes, is_last: bool) -> None:
        """The next report, encoded."""
        self._kept.append(report, is_last)
        if is_last:
            self.runner = None
            self._ended(self)
        self.pump()

    def lost(self, result: Result, reason: str) -> None:
        """The runner is gone: the end is ours to tell."""
        self.say(Ended(at=time.time(), result=result, reason=reason))

    def say(self, body: ReportBody) -> None:
        """The next report."""
        number = self._kept.last_number + 1
        report = Report(
            job=self.key.job, attempt=self.key.attempt, number=number, body=body
        )
        self.said(encode(report), isinstance(body, Ended))

    # -- its reports

    def begin(self) -> None:
        """It was taken in a session that is open; there is nothing to report yet."""
        self._delivery.resume(0)

    def resume(self, recorded: int) -> None:
        """A session is open in which the master has ``recorded`` so many reports.

        Raises `ReportsMissing` if it wants some that are no longer here.
        """
        if recorded < self._kept.dropped:
            raise ReportsMissing(
                f"the master has {recorded} reports, and had {self._kept.dropped} before"
            )
        self._delivery.resume(recorded)
        self._kept.drop(recorded)
        self.pump()

    def suspend(self) -> None:
        """There is no session."""
        self._delivery.suspend()
        self.starves = False

    def settle(self, recorded: int) -> None:
        """The master has ``recorded`` so many."""
        self._delivery.settle(recorded)
        self._kept.drop(recorded)
        if not self.is_done:
            self.pump()

    def pump(self) -> None:
        """Send what there is, as far as the window and the line allow."""
        mouth = self._mouth()
        if mouth is None:
            return
        while not (starves := not mouth.has_room) and (parcels := self._delivery.next()):
            for parcel in parcels:
                mouth.report(self.key.job, self.key.attempt, parcel)
        self.starves = starves
