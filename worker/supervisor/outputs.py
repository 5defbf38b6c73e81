"""Outputs: what a pipeline job that passed leaves, taken out of its environment.

They lie in ``OUT/NAME/INDEX``: ``files/...`` and ``properties`` (JSON), where the `input`
of later jobs finds them.
"""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from protocol.messages import FileMade
from protocol.pipeline.model import License, PipelineJob
from protocol.stages import Cell
from worker.environments.interface import BadPath, IEnvironment
from worker.supervisor import properties
from worker.supervisor.blobs import Blobs, plain_file
from worker.supervisor.endings import Failed
from worker.supervisor.redaction import Redactor

#: Files of one job, and the bytes that all their names may take in a message.
FILES = 5000
NAMES = 300 * 1024


def place_of(outputs: Path, cell: Cell) -> Path:
    """Where below ``outputs`` that of ``cell`` lies."""
    name, index = cell
    return outputs / name / str(index)


def collect(
    environment: IEnvironment,
    job: PipelineJob,
    project_license: License | None,
    to: Path,
    redactor: Redactor,
) -> dict[str, Any] | None:
    """Copy what ``job`` made into the folder ``to``; its properties.

    None if neither the job nor the project says that anything is kept. `Failed` if what
    the job says it makes is not there or leads elsewhere.
    """
    if job.output is None and project_license is None:
        return None
    files = to / "files"
    files.mkdir(parents=True)
    output = job.output
    if output and output.paths:
        _pull(environment, output.paths, files)
    dynamic: dict[str, str | None] = {}
    if output and output.dynamic_properties is not None:
        dynamic = _dynamic(environment, output.dynamic_properties, to)
    static = output.properties if output else None
    found: dict[str, Any] = redactor.value(
        properties.combined(static, dynamic, project_license)
    )
    (to / "properties").write_bytes(msgspec.json.encode(found))
    return found


def salvage(environment: IEnvironment, job: PipelineJob, to: Path) -> None:
    """Copy of what ``job``, which failed, should have made what there is into ``to``.

    What is not there, or cannot be kept, is left out.
    """
    files = to / "files"
    files.mkdir(parents=True)
    output = job.output
    if output is None or not output.paths:
        return
    kept = _Kept()
    candidates = _candidates(environment)
    for pattern in output.paths:
        if _leads_out(pattern, environment.project):
            continue
        for path in _matches(pattern, candidates):
            with contextlib.suppress(Failed):
                _salvage_file(environment, path, kept, files)


def _salvage_file(environment: IEnvironment, path: str, kept: _Kept, files: Path) -> None:
    name, inside = _place(environment, path)
    if not kept.add(name, inside):
        return
    pulled = files.with_name("pulled")
    try:
        _pull_file(environment, inside, pulled)
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        pulled.rename(files / name)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise Failed(f"the output {path} is in the way of another") from None
    finally:
        # A link to a folder, for one, has been copied with all that is in it.
        shutil.rmtree(pulled, ignore_errors=True)
        with contextlib.suppress(OSError):
            pulled.unlink()


def upload(to: Path, blobs: Blobs) -> tuple[FileMade, ...]:
    """Make the files in the folder ``to`` known to the farm."""
    files = to / "files"
    made = []
    for path in sorted(path for path in files.rglob("*") if not path.is_dir()):
        digest, size = blobs.upload(path)
        name = path.relative_to(files).as_posix()
        made.append(FileMade(path=name, sha256=digest, size=size))
    return tuple(made)


def _pull(environment: IEnvironment, patterns: tuple[str, ...], files: Path) -> None:
    for pattern in patterns:
        if _leads_out(pattern, environment.project):
            raise Failed(
                f"`output` names {pattern}, which leads out of the folder that the project "
                "lies in"
            )
    kept = _Kept()
    candidates = _candidates(environment)
    for pattern in patterns:
        matches = _matches(pattern, candidates)
        if not matches:
            raise Failed(f"`output` says that {pattern} is made, but no file is so named")
        for path in matches:
            kept.add(*_place(environment, path))
    for name, inside in kept.files.items():
        _pull_file(environment, inside, files / name)


class _Kept:
    """Files that will be kept, by the name they get."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}  #: name -> path in the environment
        self._room = NAMES

    def add(self, name: str, inside: str) -> bool:
        """Keep ``inside`` as ``name``; False if it is already. `Failed` if it cannot be."""
        known = self.files.get(name)
        if known is not None and known != inside:
            raise Failed(f"two outputs would both be kept as {name}; rename one of them")
        if known is not None:
            return False
        try:
            size = len(name.encode()) + 120
        except UnicodeEncodeError as error:
            raise Failed(
                f"the name of the output {name!r} is not UTF-8, so it cannot be kept"
            ) from error
        if len(self.files) >= FILES or size > self._room or len(name) > 4000:
            raise Failed(
                f"`output` matches more than {FILES} files, or their names are too long; "
                "pack them into one"
            )
        self._room -= size
        self.files[name] = inside
        return True


def _candidates(environment: IEnvironment) -> list[str]:
    """All files in the project and beside it, by their paths from the project."""
    project = environment.project
    parent = posixpath.dirname(project)
    return [
        posixpath.relpath(f"{parent}/{path}", project) for path in environment.files(parent)
    ]


def _matches(pattern: str, candidates: list[str]) -> list[str]:
    # `*` crosses `/`: that is how lpci matches, whatever its documentation says. But it
    # takes a pattern that says `../` to leave the project.
    normal = posixpath.normpath(pattern)
    outside = normal.startswith("../")
    match = re.compile(fnmatch.translate(normal)).match
    return [
        path for path in candidates if match(path) and path.startswith("../") == outside
    ]


def _leads_out(pattern: str, project: str) -> bool:
    """Whether ``pattern`` leads out of the folder that ``project`` lies in."""
    normal = posixpath.normpath(posixpath.join(project, pattern))
    parent = posixpath.dirname(project)
    return pattern.startswith("/") or not normal.startswith(parent + "/")


def _place(environment: IEnvironment, path: str) -> tuple[str, str]:
    """Under which name what ``path`` leads to is kept, and where it is. Or `Failed`."""
    project = environment.project
    parent = posixpath.dirname(project)
    try:
        inside = environment.resolve(f"{project}/{path}")
    except BadPath as error:
        raise Failed(f"the output {path} leads to nothing that can be kept") from error
    if inside.startswith(project + "/"):
        return inside.removeprefix(project + "/"), inside
    if inside.startswith(parent + "/"):
        return inside.removeprefix(parent + "/"), inside
    raise Failed(
        f"the output {path} is a link to {inside}, outside the folder that the project "
        "lies in"
    )


def _pull_file(environment: IEnvironment, inside: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        environment.pull(inside, target)
        with plain_file(target):
            pass
    except BadPath as error:
        raise Failed(f"the output {inside} cannot be kept: {error}") from error
    except IsADirectoryError as error:
        raise Failed(f"the output {inside} is a folder; name the files in it") from error


def _dynamic(environment: IEnvironment, path: str, to: Path) -> dict[str, str | None]:
    project = environment.project
    try:
        inside = environment.resolve(posixpath.join(project, path))
    except BadPath:
        inside = ""
    if not inside.startswith(project + "/"):
        raise Failed(f"`dynamic-properties` names {path}, but the project has no such file")
    local = to / "dynamic-properties"
    _pull_file(environment, inside, local)
    with plain_file(local) as stream:
        content = stream.read(properties.LIMIT + 1)
    local.unlink()
    if len(content) > properties.LIMIT:
        raise Failed(
            f"{path}, the file of `dynamic-properties`, has more than "
            f"{properties.LIMIT} bytes"
        )
    return properties.parse(content)
