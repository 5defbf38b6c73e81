"""Outputs: what a pipeline job that passed leaves, taken out of its environment.

They lie in ``OUT/NAME/INDEX``: ``files/...`` and ``properties`` (JSON), where the `input`
of later jobs finds them.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
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

#: Files of one job, and the bytes that all their names may take in a message.
FILES = 5000
NAMES = 300 * 1024


def place_of(outputs: Path, cell: Cell) -> Path:
    """Where below ``outputs`` that of ``cell`` lies."""
    name, index = cell
    return outputs / name / str(index)


def collect(
    environment: IEnvironment, job: PipelineJob, project_license: License | None, to: Path
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
    found = properties.combined(static, dynamic, project_license)
    (to / "properties").write_bytes(msgspec.json.encode(found))
    return found


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
    project = environment.project
    parent = posixpath.dirname(project)
    for pattern in patterns:
        _check(pattern, project, parent)
    stored: dict[str, str] = {}
    candidates = [
        posixpath.relpath(f"{parent}/{path}", project) for path in environment.files(parent)
    ]
    for pattern in patterns:
        matches = _matches(pattern, candidates)
        if not matches:
            raise Failed(f"`output` says that {pattern} is made, but no file is so named")
        for path in matches:
            _choose(environment, path, stored)
    _check_names(stored)
    for name, inside in stored.items():
        target = files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _pull_file(environment, inside, target)


def _matches(pattern: str, candidates: list[str]) -> list[str]:
    # `*` crosses `/`: that is how lpci matches, whatever its documentation says. But it
    # takes a pattern that says `../` to leave the project.
    normal = posixpath.normpath(pattern)
    outside = normal.startswith("../")
    match = re.compile(fnmatch.translate(normal)).match
    return [
        path for path in candidates if match(path) and path.startswith("../") == outside
    ]


def _check(pattern: str, project: str, parent: str) -> None:
    normal = posixpath.normpath(posixpath.join(project, pattern))
    if pattern.startswith("/") or not normal.startswith(parent + "/"):
        raise Failed(
            f"`output` names {pattern}, which leads out of the folder that the project "
            "lies in"
        )


def _choose(environment: IEnvironment, path: str, stored: dict[str, str]) -> None:
    """Note in ``stored`` under which name the file that ``path`` leads to is kept."""
    project = environment.project
    parent = posixpath.dirname(project)
    try:
        inside = environment.resolve(f"{project}/{path}")
    except BadPath as error:
        raise Failed(f"the output {path} leads to nothing that can be kept") from error
    if inside.startswith(project + "/"):
        name = inside.removeprefix(project + "/")
    elif inside.startswith(parent + "/"):
        name = inside.removeprefix(parent + "/")
    else:
        raise Failed(
            f"the output {path} is a link to {inside}, outside the folder that the "
            "project lies in"
        )
    if stored.setdefault(name, inside) != inside:
        raise Failed(f"two outputs would both be kept as {name}; rename one of them")
    if len(stored) > FILES:
        raise Failed(f"`output` matches more than {FILES} files; pack them into one")


def _check_names(stored: dict[str, str]) -> None:
    try:
        size = sum(len(name.encode()) + 120 for name in stored)
    except UnicodeEncodeError as error:
        raise Failed(
            f"the name of the output {error.object!r} is not UTF-8, so it cannot be kept"
        ) from error
    if size > NAMES or any(len(name) > 4000 for name in stored):
        raise Failed("the names of the files in `output` are too long; pack them into one")


def _pull_file(environment: IEnvironment, inside: str, target: Path) -> None:
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
