"""Tasks of a workflow, and what they wait for: coroutines without any loop around them.

`Tasks.drain` runs everything that can run, in one order that only the order of events
decides, and returns when all tasks wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, Generic, TypeVar

from buildmaster.workflow.failures import BadWorkflow, Cancelled
from buildmaster.workflow.history import Wait

T = TypeVar("T")


class Future(Generic[T]):
    """What will be known later; ``await`` it."""

    def __init__(
        self, wait: Wait | None = None, given_up: Callable[[], None] | None = None
    ):
        """``wait`` is shown while somebody waits; ``given_up`` is told of a cancel."""
        self.wait = wait
        self.given_up = given_up
        self.is_done = False
        self.is_looked_at = False  #: whether somebody awaits it, or did
        self._value: T | None = None
        self.error: BaseException | None = None
        self._then: list[Callable[[], None]] = []

    def resolve(self, value: Any = None) -> None:
        """Let it be known; only the first time counts."""
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        """Let whoever waits see ``error`` raised; only the first time counts."""
        self._settle(None, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self.is_done:
            return
        self.is_done, self._value, self.error = True, value, error
        then, self._then = self._then, []
        for each in then:
            each()

    def call_when_done(self, then: Callable[[], None]) -> None:
        """Call ``then`` at once if it is known, else when it is."""
        if self.is_done:
            then()
        else:
            self._then.append(then)

    def cancel(self) -> None:
        """Nobody needs it any more: ask what is under way to stop."""
        if not self.is_done and self.given_up is not None:
            given_up, self.given_up = self.given_up, None
            given_up()

    def result(self) -> T:
        """The value; raises what it failed with."""
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]

    def __await__(self) -> Generator[Future[T], None, T]:
        self.is_looked_at = True
        if not self.is_done:
            yield self
        return self.result()


class Task(Future[T]):
    """A coroutine of the workflow that runs beside others."""

    def __init__(self, tasks: Tasks, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        super().__init__()
        self.name = name
        self.waits_for: Future[Any] | None = None
        self.shields = 0
        self._tasks = tasks
        self._coroutine = coroutine
        self._is_cancelled = False  # asked to, and it was not raised yet
        self._was_cancelled = False

    def step(self) -> None:
        """Run it to where it waits next."""
        if self.is_done:
            return
        self.waits_for = None
        self._resume(self._due_cancel())

    def _resume(self, error: BaseException | None) -> None:
        """Go on to where it waits next; ``error`` is raised where it is."""
        previous, self._tasks.current = self._tasks.current, self
        try:
            if error is None:
                waited = self._coroutine.send(None)
            else:
                waited = self._coroutine.throw(error)
        except StopIteration as stop:
            self.resolve(stop.value)
        except BaseException as raised:
            self.fail(raised)
        else:
            self._wait_for(waited)
        finally:
            self._tasks.current = previous

    def _due_cancel(self) -> Cancelled | None:
        if not self._is_cancelled or self.shields:
            return None
        self._is_cancelled, self._was_cancelled = False, True
        return Cancelled()

    def _wait_for(self, waited: object) -> None:
        if not isinstance(waited, Future):
            self._coroutine.close()
            self.fail(
                BadWorkflow(
                    f"a workflow awaits only what its context gives, and {self.name}"
                    f" awaited a {type(waited).__name__}"
                )
            )
            return
        self.waits_for = waited

        def known() -> None:
            if self.waits_for is waited:
                self._tasks.make_ready(self)

        waited.call_when_done(known)
        if self._is_cancelled and not self.shields:
            self._interrupt()

    def cancel(self) -> None:
        """Raise `Cancelled` where it waits, once; what it waits for is cancelled, too."""
        if self.is_done or self._was_cancelled or self._is_cancelled:
            return
        self._is_cancelled = True
        if not self.shields:
            self._interrupt()

    def _interrupt(self) -> None:
        waited, self.waits_for = self.waits_for, None
        if waited is not None:
            waited.cancel()
        self._tasks.make_ready(self)

    def interrupt_with(self, error: BaseException) -> None:
        """Raise ``error`` where it waits, whatever it waits for."""
        waited, self.waits_for = self.waits_for, None
        if waited is not None:
            waited.cancel()

        def step() -> None:
            if not self.is_done:
                self._resume(error)

        self._tasks.call_soon(step)

    def close(self) -> None:
        """Forget it, wherever it waits."""
        if not self.is_done:
            try:
                self._coroutine.close()
            except BaseException:
                # Its clean-up wanted to wait, or failed: it is forgotten all the same.
                self.is_done = True


class Tasks:
    """All tasks of one workflow, and the order in which they run."""

    def __init__(self) -> None:
        self.all: list[Task[Any]] = []
        self.current: Task[Any] | None = None
        self._ready: deque[Callable[[], None]] = deque()
        self._conditions: list[tuple[Callable[[], bool], Future[Any]]] = []

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> Task[T]:
        """A new task, which runs when those before it wait."""
        task: Task[T] = Task(self, coroutine, name)
        self.all.append(task)
        self.make_ready(task)
        return task

    def make_ready(self, task: Task[Any]) -> None:
        """Let a task run."""
        self._ready.append(task.step)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have ``call`` called in its turn."""
        self._ready.append(call)

    def add_condition(self, holds: Callable[[], bool], future: Future[Any]) -> None:
        """Resolve ``future`` as soon as ``holds`` says so, after all that can run has."""
        self._conditions.append((holds, future))

    def drain(self) -> None:
        """Run until every task waits, or has ended."""
        while True:
            while self._ready:
                self._ready.popleft()()
            if not self._look_at_conditions():
                break
        self.all = [task for task in self.all if not task.is_done or task.error]

    def _look_at_conditions(self) -> bool:
        """Resolve the first one that holds; whether one did."""
        open_ones = [each for each in self._conditions if not each[1].is_done]
        self._conditions = open_ones
        for holds, future in open_ones:
            try:
                if not holds():
                    continue
            except Exception as error:
                future.fail(error)
            else:
                future.resolve(True)
            return True
        return False

    def close(self) -> None:
        """Forget all of them."""
        for task in self.all:
            task.close()


def gathered(tasks: Iterable[Future[Any]]) -> Future[list[Any]]:
    """The values of all, in their order; the first failure cancels the others."""
    members = list(tasks)
    whole: Future[list[Any]] = Future(given_up=lambda: _cancel_all(members))
    left = len(members)

    def one_done(member: Future[Any]) -> None:
        nonlocal left
        left -= 1
        if member.error is not None and not whole.is_done:
            whole.fail(member.error)
            for other in members:
                other.cancel()
        elif not left:
            whole.resolve([each._value for each in members])

    for member in members:
        member.is_looked_at = True
        member.call_when_done(lambda member=member: one_done(member))  # type: ignore[misc]
    if not members:
        whole.resolve([])
    return whole


def first_of(tasks: Iterable[Future[Any]]) -> Future[int]:
    """The number of the one that is known first; the others go on."""
    members = list(tasks)
    found: Future[int] = Future(given_up=lambda: _cancel_all(members))
    for number, member in enumerate(members):
        member.is_looked_at = True
        member.call_when_done(lambda number=number: found.resolve(number))  # type: ignore[misc]
    return found


def _cancel_all(futures: Iterable[Future[Any]]) -> None:
    for each in futures:
        each.cancel()
