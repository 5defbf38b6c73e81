"""Files of jobs that a node waited for, put where its commands find them."""

from __future__ import annotations

import posixpath
import shutil
from pathlib import Path, PurePosixPath

from protocol.order import HandedOver, Order, variable_part
from worker.environments.interface import IEnvironment
from worker.supervisor.blobs import Blobs, NoSuchBlob
from worker.supervisor.endings import CannotRun

#: The folder beside that of the project and its outputs.
FOLDER = "inputs"


def fetch(order: Order, blobs: Blobs, folder: Path) -> Path | None:
    """Bring the files that ``order`` hands over into ``folder``, once; None: none are.

    What the farm has lost cannot be made again by trying elsewhere: `CannotRun`.
    """
    if not order.handed:
        return None
    whole = folder / FOLDER
    if whole.exists():
        return whole
    new = folder / f"{FOLDER}.new"
    shutil.rmtree(new, ignore_errors=True)
    for handed in order.handed:
        place = new / name_of(handed)
        place.mkdir(parents=True)
        for file in handed.files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise CannotRun(f"the master named an impossible file: {file.path!r}")
            target = place / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                blobs.download(file.sha256, file.size, target)
            except NoSuchBlob as error:
                raise CannotRun(
                    f"the file {file.path} of {handed.job} is gone; run that job again",
                    final=True,
                ) from error
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise CannotRun(
                    f"the file {file.path} of {handed.job} is in the way of another;"
                    " choose with `artifacts` which of them are handed over",
                    final=True,
                ) from error
    new.rename(whole)
    return whole


def name_of(handed: HandedOver) -> str:
    """The name of the folder with the files of one job."""
    return variable_part(handed.job).lower()


def place_in(environment: IEnvironment) -> str:
    """Where in ``environment`` the files lie: outside of what can be an output."""
    beside = posixpath.dirname(environment.project)
    return posixpath.join(posixpath.dirname(beside), f"headrace-{FOLDER}")


def variables(order: Order, environment: IEnvironment) -> dict[str, str]:
    """What tells commands where the files are."""
    place = place_in(environment)
    return {one.variable: posixpath.join(place, name_of(one)) for one in order.handed}
