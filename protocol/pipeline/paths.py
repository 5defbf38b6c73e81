"""Paths in a configuration: relative to the project, and never out of what is allowed."""

from __future__ import annotations

import posixpath

from protocol.pipeline.document import Node
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import text


def collected(node: Node, spot: Spot) -> str | None:
    """A pattern of files to keep: in the project, or beside it (``../*.deb``)."""
    path = text(node, spot)
    if path is not None and _is_relative(path, spot):
        normal = posixpath.normpath(path)
        if f"{normal}/" == "../" or f"{normal}/".startswith("../../"):
            spot.doubt(
                f"the path {quoted(path)} leads out of the folder that holds the project;"
                " only files in it can be kept"
            )
    return path


def inside(node: Node, spot: Spot) -> str | None:
    """A path in the project."""
    path = text(node, spot)
    if path is not None and _is_relative(path, spot):
        normal = posixpath.normpath(path)
        if f"{normal}/".startswith("../"):
            spot.doubt(f"the path {quoted(path)} leads out of the project")
    return path


def _is_relative(path: str, spot: Spot) -> bool:
    if path and not path.startswith("/"):
        return True
    spot.doubt(
        "an empty path leads nowhere"
        if not path
        else f"the path {quoted(path)} must be relative to the project"
    )
    return False
