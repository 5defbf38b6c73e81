"""The real lpci in the place of the own engine: one ``lpci run-one`` for a pipeline job.

For operators who have it: it needs LXD, and makes containers of Ubuntu series itself, so
nothing of it can run inside an environment of ours. Its output folder has the layout that
`outputs` keeps anyway, and is where it looks for the input of later jobs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from protocol.order import Order
from protocol.stages import Cell, title
from worker.supervisor import properties
from worker.supervisor.blobs import plain_file
from worker.supervisor.endings import CannotRun, Failed
from worker.supervisor.outputs import place_of
from worker.supervisor.settings import Settings

_CONFIGURATION = ".launchpad.yaml"


def command(settings: Settings, cell: Cell, outputs: Path) -> list[str]:
    """The command (argv), to be run in the project; as Launchpad's builders call it."""
    name, index = cell
    argv = ["lpci", "-v", "run-one", "--output-directory", str(outputs)]
    for line in settings.package_repositories:
        argv += ["--package-repository", line]
    for line in settings.replace_package_repositories:
        argv += ["--replace-package-repositories", line]
    for key, value in sorted(settings.plugin_settings.items()):
        argv += ["--plugin-setting", f"{key}={value}"]
    for key, value in sorted(settings.environment.items()):
        argv += ["--set-env", f"{key}={value}"]
    if settings.secrets_file is not None:
        argv += ["--secrets", settings.secrets_file]
    return [*argv, name, str(index)]


def check(order: Order, source: Path, cell: Cell) -> None:
    """`CannotRun` if lpci would not run what ``order`` says, and not even tell."""
    if order.handed or order.variables:
        raise CannotRun(
            f"{title(*cell)} cannot be run by lpci, which takes neither the files nor the "
            "variables that a job of a .headrace.yaml is handed; use a worker with its own "
            "engine"
        )
    if not (source / _CONFIGURATION).is_file():
        raise CannotRun(
            f"{title(*cell)} cannot be run by lpci, which reads {_CONFIGURATION} and "
            "there is none in the source; use a worker with its own engine",
            final=True,
        )


def result(outputs: Path, cell: Cell) -> dict[str, Any] | None:
    """The properties that lpci wrote for ``cell``; None if the job keeps no output."""
    place = place_of(outputs, cell)
    if not place.exists():
        return None
    (place / "files").mkdir(exist_ok=True)
    try:
        with plain_file(place / "properties") as stream:
            content = stream.read(properties.LIMIT + 1)
        found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(f"the properties of {title(*cell)} cannot be read: {error}") from error
    return found
