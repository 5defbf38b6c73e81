"""The slots of a worker, which its builds and its native jobs share."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """How many there are, and who takes how many."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._takers: list[Callable[[], int]] = []

    def taken_by(self, taken: Callable[[], int]) -> None:
        """Somebody takes as many as ``taken()`` says, from now on."""
        self._takers.append(taken)

    def why_none(self) -> str:
        """Why no further job can be taken; "" if one can."""
        if sum(taken() for taken in self._takers) < self._number:
            return ""
        return f"all {self._number} slots of this worker are taken"
