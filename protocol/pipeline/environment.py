"""The ``environment`` of a pipeline job: variables to set or unset."""

from __future__ import annotations

from protocol.pipeline import document
from protocol.pipeline.document import Date, Node, Scalar
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import described, not_text


def environment(node: Node, spot: Spot) -> dict[str, str | None] | None:
    """Variables by name; None as a value unsets.

    Numbers and truth values become text the way Python writes them, as the reference
    does; where that is not how they are written in the file, there is a warning.
    """
    if not isinstance(node, document.Mapping):
        spot.error(f"this must be a mapping of variables, and is {described(node)}")
        return None
    variables: dict[str, str | None] = {}
    for entry in node.entries:
        key_spot = spot.at("__key__", entry.key.line)
        name = None if entry.key.value is None else _as_text(entry.key, key_spot)
        if name is None:
            key_spot.error("a variable needs a name")
            continue
        here = spot.at(name[:200], entry.key.line)
        if not name or "=" in name:
            here.doubt(f"no variable can be named {quoted(name)}")
        if name in variables:
            here.doubt(f"the variable {quoted(name)} is given twice")
        variables[name] = _as_text(entry.value, here)
    return variables


def _as_text(node: Node, spot: Spot) -> str | None:
    if not isinstance(node, Scalar) or isinstance(node.value, Date):
        spot.error(not_text(node))
        return None
    if node.value is None or isinstance(node.value, str):
        return node.value
    word = str(node.value)
    if word != node.text:
        spot.warning(
            f"unquoted, {quoted(node.text)} is read as {quoted(word)};"
            f' write "{node.text}" if the text is meant'
        )
    return word
