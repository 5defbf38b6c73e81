"""Inputs: an earlier job's output, put into the project of a later one."""

from __future__ import annotations

import os
import posixpath
import shutil
from pathlib import Path, PurePosixPath

import msgspec

from protocol.order import KeptJob
from protocol.pipeline.model import Input
from worker.environments.interface import IEnvironment
from worker.supervisor.blobs import Blobs, NoSuchBlob
from worker.supervisor.endings import CannotRun, Malformed
from worker.supervisor.outputs import place_of


def put_in(
    environment: IEnvironment,
    wanted: Input,
    outputs: Path,
    source: Path,
    owner: str | None,
) -> None:
    """Copy the output that ``wanted`` names into the project in ``environment``.

    ``source`` is what the project is a fresh copy of, ``owner`` whose it is. `Malformed`
    if there is no such output, or more than one, or it should go outside the project.
    """
    found = _output(outputs / wanted.job_name, wanted.job_name)
    # The project is a copy of the source: where links lead is the same in both, and of
    # the source nobody changes anything meanwhile.
    target = _inside(source, wanted.target_directory)
    _make_folders(environment, target, source, owner)
    place = posixpath.normpath(f"{environment.project}/{target}")
    environment.push(found / "files", f"{place}/files", owner=owner)
    environment.push(found / "properties", f"{place}/properties", owner=owner)


def _make_folders(
    environment: IEnvironment, target: str, source: Path, owner: str | None
) -> None:
    """Make those folders on the way to ``target`` that the project lacks, for ``owner``."""
    empty = source.with_name("empty")
    empty.mkdir(exist_ok=True)
    for folder in reversed([PurePosixPath(target), *PurePosixPath(target).parents]):
        if not (source / folder).exists():
            environment.push(empty, f"{environment.project}/{folder}", owner=owner)


def restore(kept: KeptJob, outputs: Path, blobs: Blobs) -> None:
    """Bring back the output of a job that passed in an earlier attempt."""
    place = place_of(outputs, (kept.name, kept.index))
    if kept.properties is None or place.exists():
        return
    new = place.with_name(f"{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "files").mkdir(parents=True)
    for file in kept.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts:
            raise CannotRun(f"the master named an impossible kept file: {file.path!r}")
        target = new / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            blobs.download(file.sha256, file.size, target)
        except NoSuchBlob as error:
            raise CannotRun(
                f"the output {file.path} of an earlier attempt is gone; retry the build "
                "from its start",
                final=True,
            ) from error
    (new / "properties").write_bytes(msgspec.json.encode(kept.properties))
    new.rename(place)


def _output(folder: Path, name: str) -> Path:
    indices = sorted(each for each in folder.glob("*") if each.name.isdigit())
    if not indices:
        raise Malformed(
            f"`input` names {name}, but no such job ran earlier in this build and kept "
            "an output; give it an `output`, in an earlier stage"
        )
    if len(indices) > 1:
        raise Malformed(
            f"`input` names {name}, but {len(indices)} jobs of its matrix have an output, "
            "so it is not clear which is meant"
        )
    return indices[0]


def _inside(source: Path, directory: str) -> str:
    top = os.path.realpath(source)
    target = os.path.realpath(os.path.join(top, directory))
    if os.path.isabs(directory) or not (target + "/").startswith(top + "/"):
        raise Malformed(
            f"`target-directory` is {directory}, which is not inside the project"
        )
    return os.path.relpath(target, top)
