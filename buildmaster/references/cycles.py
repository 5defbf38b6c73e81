"""Finds what waits for itself, and says by which way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

#: Cycles of one graph that are told, and names of each.
LIMIT = 10
_SHOWN = 20


def in_order(ups: Sequence[Sequence[int]]) -> list[int]:
    """All numbers, each after all it waits for, without those in or behind cycles."""
    downs: list[list[int]] = [[] for _ in ups]
    left = [0] * len(ups)
    for down, of in enumerate(ups):
        for up in set(of):
            downs[up].append(down)
            left[down] += 1
    free = deque(number for number, count in enumerate(left) if not count)
    order: list[int] = []
    while free:
        number = free.popleft()
        order.append(number)
        for down in downs[number]:
            left[down] -= 1
            if not left[down]:
                free.append(down)
    return order


def cycles(ups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Some cycles, each from one that waits to the next that it waits for.

    None shares a member with another one that is told.
    """
    found: list[list[int]] = []
    order = in_order(ups)
    if len(order) == len(ups):
        return found
    stuck = set(range(len(ups))) - set(order)
    done: set[int] = set()
    for start in sorted(stuck):
        path: list[int] = []
        places: dict[int, int] = {}
        at: int | None = start
        while at is not None and at not in places and at not in done:
            places[at] = len(path)
            path.append(at)
            # Whoever is stuck waits for somebody who is stuck.
            at = min((up for up in ups[at] if up in stuck), default=None)
        if at is not None and at in places:
            cycle = path[places[at] :]
            first = cycle.index(min(cycle))
            found.append([*cycle[first:], *cycle[:first]])
            if len(found) == LIMIT:
                break
        done.update(path)
    return found


def told(names: Sequence[str]) -> str:
    """``A -> B -> A``: a cycle for people."""
    if len(names) == 1:
        return f"{names[0]} -> {names[0]}"
    shown = list(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown.append(f"({len(names) - _SHOWN} more)")
    return " -> ".join([*shown, names[0]])
