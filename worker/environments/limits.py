"""Limits: how much of the machine an environment may take; and what it ran out of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None is no limit."""

    memory: int | None = None  #: bytes, of all processes together
    processes: int | None = None
    processors: float | None = None  #: 1.5 is one and a half of them
    disk: int | None = None  #: bytes that all files together take beyond the image's

    @property
    def are_for_groups(self) -> bool:
        """Whether there is anything that a control group could hold to."""
        return any(
            limit is not None for limit in (self.memory, self.processes, self.processors)
        )


UNLIMITED = Limits()


def in_units(size: int) -> str:
    """``size`` bytes for people."""
    for unit, bytes_each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_each:
            return f"{size / bytes_each:.4g} {unit}"
    return f"{size} bytes"


def ran_out(what: str, limit: str, key: str) -> str:
    """The reason for a failure that a limit caused."""
    return f"it ran out of {what}: the operator of this worker allows {limit} ({key})"
