"""Which environment a pipeline job gets: as the order isolates it, for its series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocol.order import Order
from worker.environments.interface import IEnvironment
from worker.supervisor.endings import CannotRun
from worker.supervisor.settings import Settings

#: Makes the environment of a series in a folder; it says its progress to the function.
Make = Callable[[Order, Settings, str, Path, Callable[[str], None]], IEnvironment]


def make(
    order: Order,
    settings: Settings,
    series: str,
    folder: Path,
    say: Callable[[str], None],
) -> IEnvironment:
    """An environment, not yet prepared, or `CannotRun` if this worker has none such."""
    if order.isolation == "native":
        from worker.environments.native import Native

        return Native(folder, say=say)
    raise CannotRun(f"this worker cannot make a {order.isolation} for {series}")
