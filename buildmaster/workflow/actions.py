"""Local actions: functions that a workflow has the master call, its step once written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__headrace_local__"


def local(function: F) -> F:
    """Let workflows ``execute_local`` the function.

    Its first parameter is a `LocalCall`. It is called in a thread of a bounded pool, so it
    may wait for the network; at least once, and again if the master dies meanwhile: give
    the call's ``key`` to the other side where that can tell a repeated request.
    """
    setattr(function, _MARK, True)
    return function


def is_local(function: object) -> bool:
    """Whether `local` was said of it."""
    return bool(getattr(function, _MARK, False))


def name_of(function: Callable[..., Any]) -> str:
    """How the history names a local action."""
    return f"{function.__module__}:{function.__qualname__}"


@dataclass(frozen=True)
class LocalCall:
    """What a local action knows of its call."""

    key: str  #: the same for every try of this call, and for no other
    attempt: int  #: from 1
    workflow: str
    timeout: float  #: seconds after which nobody waits for it any more


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when a local action fails."""

    limit: int = 5  #: tries altogether
    delay: float = 1.0  #: seconds before the second one
    factor: float = 2.0
    longest: float = 300.0  #: seconds between two tries
    never: tuple[str, ...] = ()  #: names of exceptions that another try would not mend

    def pause(self, tries: int) -> float:
        """Seconds to wait after so many tries."""
        return min(self.longest, self.delay * self.factor ** max(0, tries - 1))
