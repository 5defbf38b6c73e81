"""Reads what a job needs: ``needs``, and the names that others use for it."""

from __future__ import annotations

from collections.abc import Mapping

from buildmaster.references.model import CollectionNeed, Need
from buildmaster.references.spans import span
from protocol.pipeline import document, values
from protocol.pipeline.document import Entry, Node, Scalar, Sequence
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import below, described

#: Other names of ``needs``, from the note that asked for it and from similar systems.
ALIASES = ("build_identifier", "after", "after_build", "depends_on")
KEYS = ("needs", *ALIASES)
#: Needs of one job.
LIMIT = 1000
REQUIRES = ("good", "finished", "bad", "always")
MAPS = ("same", "all", "any")
NEED_KEYS = ("job", "require", "map", "cell", "artifacts", "weak")
COLLECTION_KEYS = ("collection", "contains", "same", "timeout")

AnyNeed = Need | CollectionNeed


def needs(found: Mapping[str, Entry], spot: Spot) -> list[AnyNeed]:
    """Everything that the job with these entries needs, under whatever name it says so."""
    read: list[AnyNeed] = []
    for key in KEYS:
        entry = found.get(key)
        if entry is not None and not values.is_null(entry.value):
            read += _listed(entry.value, spot.at(key, entry.key.line))
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], Need] = {}
    for need in read:
        if isinstance(need, Need):
            first = seen.setdefault((need.job, tuple(sorted(need.cell.items()))), need)
            if first is not need:
                spot.at("needs", need.line).error(
                    f"it needs {quoted(need.job)} twice, first in line {first.line};"
                    " remove one"
                )
    if len(read) > LIMIT:
        spot.at("needs").error(f"more than {LIMIT} needs of one job")
        return []
    return read


def _listed(node: Node, spot: Spot) -> list[AnyNeed]:
    if not isinstance(node, Sequence):
        need = _need(node, spot)
        return [] if need is None else [need]
    if len(node.items) > LIMIT:
        spot.error(f"more than {LIMIT} needs of one job")
        return []
    read = []
    for place, item in enumerate(node.items):
        need = _need(item, spot.at(place, item.line))
        if need is not None:
            read.append(need)
    return read


def _need(node: Node, spot: Spot) -> AnyNeed | None:
    if isinstance(node, Scalar):
        name = values.text(node, spot)
        return None if name is None else Need(job=name, line=node.line)
    if not isinstance(node, document.Mapping):
        spot.error(f"a need is a job's name or a mapping, and this is {described(node)}")
        return None
    if any(entry.key.value == "collection" for entry in node.entries):
        return _collection(node, spot)
    found = values.fields(node, spot, NEED_KEYS) or {}
    name = below(found, "job", spot, values.text, "it names the job that must end first")
    require = below(found, "require", spot, values.choice(REQUIRES))
    mapped = below(found, "map", spot, values.choice(MAPS))
    cell = below(found, "cell", spot, _cell)
    patterns = below(found, "artifacts", spot, values.optional(values.texts))
    weak = below(found, "weak", spot, values.boolean)
    if name is None:
        return None
    if require == "bad" and mapped == "any":
        spot.error("map: any takes the first that passed, and require: bad wants none")
    return Need(
        job=name,
        require=require or "good",  # type: ignore[arg-type]
        map=mapped or "same",  # type: ignore[arg-type]
        cell=cell or {},
        artifacts=patterns,
        weak=bool(weak),
        line=node.line,
    )


def _cell(node: Node, spot: Spot) -> dict[str, str] | None:
    if not isinstance(node, document.Mapping):
        spot.error(f"this must be a mapping of axes, and is {described(node)}")
        return None
    cell = {}
    for entry in node.entries:
        key = entry.key.text if isinstance(entry.key.value, str) else ""
        value = values.text(entry.value, spot.at(entry.key.text[:200], entry.key.line))
        if value is not None:
            cell["arch" if key == "architectures" else key] = value
    return cell


def _collection(node: document.Mapping, spot: Spot) -> CollectionNeed | None:
    found = values.fields(node, spot, COLLECTION_KEYS) or {}
    name = below(found, "collection", spot, collection_name)
    contains = below(
        found, "contains", spot, values.each(member_name), "it lists who must be there"
    )
    same = below(found, "same", spot, values.text)
    timeout = below(found, "timeout", spot, span)
    if contains == ():
        spot.at("contains").error("a collection that needs nobody is always complete")
    if name is None or not contains:
        return None
    return CollectionNeed(
        collection=name, contains=contains, same=same, timeout=timeout, line=node.line
    )


def collection_name(node: Node, spot: Spot) -> str | None:
    """What repositories call a collection that they share."""
    name = values.text(node, spot)
    if name is not None and not (0 < len(name) <= 200 and name.isprintable()):
        spot.error("a collection's name has one to 200 printable characters")
        return None
    return name


def member_name(node: Node, spot: Spot) -> str | None:
    """What a member of a collection is called: a package, as a rule."""
    name = values.text(node, spot)
    if name is not None and not (0 < len(name) <= 100 and name.isprintable()):
        spot.error("a member's name has one to 100 printable characters")
        return None
    if name is not None and ("/" in name or name in (".", "..")):
        spot.error(
            f"a folder with a member's files is called as it is, which {quoted(name)}"
            " cannot be"
        )
        return None
    return name
