"""Sessions of workers as the dispatcher sees them, without any line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from buildmaster.matching import Capability
from buildmaster.room import Room
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


class PaperSession(Room):
    """A `buildmaster.session.Session`, as far as the dispatcher needs one."""

    def __init__(
        self,
        id: str,
        capability: Capability,
        begun: Callable[[PaperSession, int, int], None],
        changed: Callable[[Any], None],
    ) -> None:
        """``begun``: it was told to start an attempt."""
        super().__init__()
        self.id = id
        self.is_open = True
        self._begun = begun
        self._changed = changed
        self.begin(capability, {})

    def room_changed(self) -> None:
        self._changed(self)

    def start(self, order: Any) -> None:
        job, attempt = order if isinstance(order, tuple) else (order.job, order.attempt)
        self._begun(self, job, attempt)

    def close(self) -> None:
        self.is_open = False
        self.room_changed()
