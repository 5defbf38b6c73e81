"""Recipes: where in a project conda-build finds what it is to build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from worker.supervisor.endings import Malformed

_CONFIGURATION = "conda_build_config.yaml"


def target(source: Path, folder: str, who: str) -> str:
    """The recipe below ``folder`` of the project ``source``, as a path in the project.

    That is the first folder with a ``meta.yaml`` that is ``folder`` itself or is called
    ``recipe``; or its sub-folder ``parent``, if that has one. `Malformed` if there is none.
    """
    for place in _folders(source, folder):
        if place.name != "recipe" and place != _inside(source, folder):
            continue
        for candidate in (place / "parent", place):
            if _is_plain(candidate / "meta.yaml"):
                return candidate.relative_to(source).as_posix()
    raise Malformed(
        f"{who} finds no build target: no folder called recipe in {folder} has a "
        "meta.yaml; set `build-target` or `recipe-folder`"
    )


def configurations(source: Path, folder: str) -> list[str]:
    """The variant configurations below ``folder``, the last by name first."""
    found = [
        place / _CONFIGURATION
        for place in _folders(source, folder)
        if _is_plain(place / _CONFIGURATION)
    ]
    return [path.relative_to(source).as_posix() for path in sorted(found, reverse=True)]


def _inside(source: Path, folder: str) -> Path:
    return Path(os.path.normpath(source / folder))


def _folders(source: Path, folder: str) -> Iterator[Path]:
    """``folder`` and all below it, by name; never through a link or out of ``source``."""
    top = _inside(source, folder)
    way = [top, *top.parents]
    if source not in way or any(path.is_symlink() for path in way[: way.index(source)]):
        return
    for place, names, _ in os.walk(top):
        names.sort()
        yield Path(place)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()
