"""Sessions of workers as the dispatcher sees them, without any line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from buildmaster.matching import Amounts, Capability, Leased
from buildmaster.session import Session
from tests.direct import Direct, Row


class DirectDatabase:
    """A `buildmaster.database.Database`, as far as the dispatcher needs one."""

    def __init__(self, books: Direct) -> None:
        self._books = books

    async def rows(self, sql: str, parameters: Any = ()) -> list[Row]:
        return self._books.rows(sql, parameters)

    async def run(self, sql: str, parameters: Any = ()) -> int:
        return self._books.run(sql, parameters)

    async def transaction(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        return self._books.act(work)


class PaperOrders:
    """Orders with nothing in them."""

    async def make(self, cursor: object, job: int, attempt: int) -> tuple[int, int]:
        return job, attempt


@dataclass(eq=False)
class PaperSession:
    """A `buildmaster.session.Session`, as far as the dispatcher needs one."""

    id: str
    capability: Capability
    begin: Callable[[PaperSession, int, int], None]  #: it was told to start an attempt
    changed: Callable[[Any], None]
    left: Amounts = field(init=False)
    attempts: dict[tuple[int, int], Leased] = field(default_factory=dict)
    is_open: bool = True
    _next_lease: int = 0
    _doubted_from: int | None = None

    # As the real one has them.
    since = Session.since
    doubt = Session.doubt

    def __post_init__(self) -> None:
        self.left = self.capability.amounts

    def lease(self, job: int, attempt: int, leased: Leased) -> None:
        self.attempts[job, attempt] = leased
        self._next_lease = max(self._next_lease, leased.lease + 1)
        self.left = self.left.less([leased.needs])
        self.changed(self)

    def start(self, order: Any) -> None:
        job, attempt = order if isinstance(order, tuple) else (order.job, order.attempt)
        self.begin(self, job, attempt)

    def drop(self, job: int, attempt: int) -> None:
        self.attempts.pop((job, attempt), None)
        taken = [leased.needs for leased in self.attempts.values()]
        self.left = self.capability.amounts.less(taken)
        self.changed(self)

    def close(self) -> None:
        self.is_open = False
        self.changed(self)
