"""How an environment on this kernel is held to its limits: by groups, or each process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from worker.environments.groups import Groups, Refused
from worker.environments.limits import Limits
from worker.environments.rootfs import Root


def nothing() -> None:
    """Where there is no group to enter."""


def open_groups(folder: Path, limits: Limits, say: Callable[[str], None]) -> Groups | None:
    """The control groups of the environment in ``folder``; None where there are none."""
    if not limits.are_for_groups:
        return None
    try:
        return Groups(folder, limits)
    except Refused as error:
        say(f"Each process is held to its limits by itself, for {error}.")
        return None


def per_process(limits: Limits, groups: Groups | None, root: Root | None) -> Limits:
    """What of ``limits`` each process must be held to, as nothing else does it."""
    return Limits(
        memory=limits.memory if groups is None else None,
        processes=limits.processes if groups is None else None,
        disk=None if root is not None and root.is_bounded else limits.disk,
    )
