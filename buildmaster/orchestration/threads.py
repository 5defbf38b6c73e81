"""Threads for the code of others: a limited number, and one that hangs is replaced."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class TookTooLong(Exception):
    """A call was not back in time; its thread may still be at it."""


class Interrupted(BaseException):
    """Raised in the code of a call that took too long, where that can be done."""


class Threads:
    """Runs calls in ``size`` threads; calls beyond that wait for their turn."""

    def __init__(self, reactor: Any, name: str, size: int, lost: int, *, interrupts: bool):
        """``lost``: so many that hang are replaced by others.

        With ``interrupts`` a call that hangs has `Interrupted` raised in it. That ends a
        loop in Python; what waits for the system is not reached.
        """
        self._reactor = reactor
        self._name = name
        self._size = size
        self._may_lose = lost
        self._interrupts = interrupts
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = 0
        self.busy = 0  #: calls that are waited for

    @property
    def room(self) -> int:
        """How many calls could begin at once."""
        return max(0, self._size - self.busy)

    def run(self, call: Callable[[], Any], timeout: float) -> Deferred[Any]:
        """What ``call`` returns or raises; `TookTooLong` after ``timeout`` seconds."""
        if self._threads < self._size:
            self._start()
        self.busy += 1
        made = _Call(call)
        timer = self._reactor.callLater(timeout, self._late, made, timeout)

        def over(result: Any) -> Any:
            self.busy -= 1
            if timer.active():
                timer.cancel()
            return result

        made.done.addBoth(over)
        self._calls.put(made)
        return made.done

    def stop(self) -> None:
        """Let threads end that have nothing to do."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _start(self) -> None:
        self._threads += 1
        # Daemons: one that never returns does not keep the process.
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                if call.done.called:
                    continue  # it waited for its turn for too long
                outcome = call.make()
                if call.is_lost:
                    return
                self._reactor.callFromThread(call.tell, outcome)
        except Interrupted:
            pass  # it was meant for the call that has just ended

    def _late(self, call: _Call, timeout: float) -> None:
        if call.done.called:
            return
        if call.thread is not None:
            call.is_lost = True
            self._threads -= 1
            if self._may_lose > 0:
                self._may_lose -= 1
                self._start()
            if self._interrupts:
                _raise_in(call.thread)
        call.tell(Failure(TookTooLong(f"it was not back after {timeout:g} s")))


class _Call:
    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.done: Deferred[Any] = Deferred()
        self.thread: int | None = None
        self.is_lost = False  #: its thread is not counted any more, and ends after it

    def make(self) -> Any:
        self.thread = threading.get_ident()
        try:
            return self._call()
        except BaseException:
            return Failure()

    def tell(self, outcome: Any) -> None:
        if not self.done.called:
            self.done.callback(outcome)


def _raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(Interrupted)
    )
