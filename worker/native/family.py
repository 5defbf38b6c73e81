"""A runner's family: whoever descends from it, and the end of them all.

The runner adopts every orphan among its descendants (see `worker.environments.brood`), so
a daemon that a job leaves behind is found, too.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from worker.environments import brood, traces


class Unkillable(Exception):
    """Somebody in the family belongs to another user."""


def kill_family(but: Collection[int] = ()) -> None:
    """Kill all that descends from this process, and return when nobody is left.

    Children ``but`` these, and what descends from them, live on. Raises `Unkillable`.
    """
    # A process can fork faster than it is found: repeat until nobody is left.
    while _has_children(but):
        killed = [each for each in _family(but) if traces.kill(each)]
        if not killed and (family := _family(but)):
            raise Unkillable(f"processes {family} belong to another user")
        for process in killed:
            # Only children can be waited for; others become children first.
            with suppress(ChildProcessError):
                os.waitpid(process, 0)


def _has_children(but: Collection[int]) -> bool:
    """Whether looking for the family is worth while, which it is seldom."""
    if but:
        return bool(_family(but))
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _family(but: Collection[int]) -> list[int]:
    return brood.descendants(os.getpid(), but)
