"""Files of jobs that a node waited for, put where its commands find them."""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
from pathlib import Path, PurePosixPath

from protocol.order import HandedOver, KeptFile, Order, variable_part
from worker.environments.interface import BadPath, EnvironmentFault, IEnvironment
from worker.environments.limits import in_units
from worker.supervisor.blobs import Blobs, NoSuchBlob
from worker.supervisor.endings import CannotRun, is_disk_full

#: The folder beside that of the project and its outputs.
FOLDER = "inputs"


def fetch(order: Order, blobs: Blobs, folder: Path) -> Path | None:
    """Bring the files that ``order`` hands over into ``folder``, once; None: none are.

    Commands never see that folder: each pipeline job gets a copy (`put_in`). What the farm
    has lost cannot be made again by trying elsewhere: `CannotRun`, for good.
    """
    if not order.handed:
        return None
    whole = folder / FOLDER
    if whole.exists():
        return whole
    _check_room(order, folder)
    new = folder / f"{FOLDER}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for handed in order.handed:
        place = new / name_of(handed)
        if place.exists():
            raise CannotRun(
                f"two of the jobs that it needs would have their files in "
                f"${handed.variable}; rename one of them",
                final=True,
            )
        place.mkdir()
        for file in handed.files:
            _fetch_file(handed, file, blobs, place)
    _open_to_all(new)
    new.rename(whole)
    return whole


def _check_room(order: Order, folder: Path) -> None:
    """`CannotRun` before a byte is fetched, if all of it cannot be."""
    size = _size(order)
    disk = os.statvfs(folder)
    room = disk.f_bavail * disk.f_frsize
    if size > room:
        raise CannotRun(
            f"the files that other jobs hand over to it take {in_units(size)}, and the "
            f"worker's disk has {in_units(room)} left in {folder}; its operator must free "
            "some, or `artifacts` choose fewer of them"
        )


def _fetch_file(handed: HandedOver, file: KeptFile, blobs: Blobs, place: Path) -> None:
    target = place / _path(file.path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError
        blobs.download(file.sha256, file.size, target)
    except NoSuchBlob as error:
        raise CannotRun(
            f"the file {_shown(file)} of {handed.job} is gone; run that job again",
            final=True,
        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise CannotRun(
            f"the file {_shown(file)} of {handed.job} is in the way of another;"
            " choose with `artifacts` which of them are handed over",
            final=True,
        ) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise CannotRun(
            f"the name of the file {_shown(file)} of {handed.job} is too long to be handed "
            "over; shorten it, or pack the files into one",
            final=True,
        ) from error


def _path(text: str) -> PurePosixPath:
    """Where in its job's folder a file is to be; `CannotRun` for any place elsewhere."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
        raise CannotRun(f"the master named an impossible file: {text!r}")
    return path


def _shown(file: KeptFile) -> str:
    """Its path in one line, whatever the job that made it called it."""
    path = file.path if file.path.isprintable() else ascii(file.path)[1:-1]
    return path if len(path) <= 200 else f"{path[:100]}...{path[-90:]}"


def _open_to_all(folder: Path) -> None:
    """Let every user read it, whatever this process's umask leaves of a new file's mode."""
    for place, _, files in os.walk(folder):
        os.chmod(place, 0o755)
        for name in files:
            os.chmod(os.path.join(place, name), 0o644)


def put_in(
    environment: IEnvironment, fetched: Path, order: Order, owner: str | None
) -> None:
    """Give the pipeline job that just began its own copy of what was fetched.

    It belongs to ``owner``, who runs the commands: the job may do with it as it likes.
    """
    try:
        environment.push(fetched, environment.inputs, owner=owner)
    except BadPath as error:
        raise CannotRun(
            f"the files that other jobs hand over cannot be put into its environment: "
            f"{error}",
            final=True,
        ) from error
    except (OSError, EnvironmentFault) as error:
        # No room in there, which is not to say that the worker's own disk is full.
        exhausted = environment.exhausted()
        if not exhausted or not (
            isinstance(error, EnvironmentFault) or is_disk_full(error)
        ):
            raise
        raise CannotRun(
            f"the files that other jobs hand over to it take {in_units(_size(order))}, and "
            f"when they were put into its environment {exhausted}"
        ) from error


def variables(order: Order, environment: IEnvironment) -> dict[str, str]:
    """What tells commands where the files are."""
    place = environment.inputs
    return {one.variable: posixpath.join(place, name_of(one)) for one in order.handed}


def name_of(handed: HandedOver) -> str:
    """The name of the folder with the files of one job."""
    return variable_part(handed.job).lower()


def _size(order: Order) -> int:
    return sum(file.size for handed in order.handed for file in handed.files)
