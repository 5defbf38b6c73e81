"""Does in one go what many ask for at about the same time.

Whoever asks first does not wait for others; who asks while that is done, is done together
with all others who did. So one asker is answered at once, and two thousand cost a few
transactions instead of two thousand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from buildmaster.database import DatabaseAway

T = TypeVar("T")
R = TypeVar("R")

#: Askers that are done in one go.
MOST = 500


class Together(Generic[T, R]):
    """``work`` answers a list of questions with a list of answers, in the same order.

    When it raises, each is asked alone, so that only those hear of it who are the cause;
    but where the database is away, all hear it. With ``rest`` the next go waits for what
    that gives, so that more come together.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Awaitable[list[R]]],
        rest: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._work = work
        self._rest = rest
        self._waiting: list[tuple[T, Deferred[R]]] = []
        self._busy = False

    def ask(self, question: T) -> Deferred[R]:
        """Fires with the answer."""
        answer: Deferred[R] = Deferred()
        self._waiting.append((question, answer))
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._go())
        return answer

    async def _go(self) -> None:
        try:
            while self._waiting:
                now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._answer(now)
                if self._rest is not None:
                    await self._rest()
        finally:
            self._busy = False

    async def _answer(self, asked: list[tuple[T, Deferred[R]]]) -> None:
        try:
            answers = await self._work([question for question, _ in asked])
        except DatabaseAway:
            self._fail(asked)
        except Exception:
            if len(asked) == 1:
                self._fail(asked)
                return
            # Nobody suffers for what another one asked.
            for each in asked:
                await self._answer([each])
        else:
            for (_, waiting), answer in zip(asked, answers, strict=True):
                waiting.callback(answer)

    def _fail(self, asked: list[tuple[T, Deferred[R]]]) -> None:
        failure = Failure()
        for _, waiting in asked:
            waiting.errback(failure)
