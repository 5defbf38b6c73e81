"""Reads ``packages``: the parts of a source, and what they depend on."""

from __future__ import annotations

import re

from buildmaster.references.cycles import cycles, told
from buildmaster.references.model import Depend, Package
from protocol.pipeline import document, values
from protocol.pipeline.document import Entry, Node, Scalar
from protocol.pipeline.paths import inside
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import below, described

LIMIT = 10_000
#: Depends of all packages together.
DEPENDS_LIMIT = 100_000
KEYS = ("paths", "depends", "depends_on")
NAME = r"[A-Za-z0-9][A-Za-z0-9+._-]{0,99}"
_NAME = re.compile(NAME)
#: What stands in an example for what is not shown.
PLACEHOLDER = "..."


def is_placeholder(node: Node) -> bool:
    """Whether the value is ``...``, which examples have in place of a real one."""
    return isinstance(node, Scalar) and node.text == PLACEHOLDER


def packages(node: Node, spot: Spot, rebuild: bool) -> tuple[Package, ...]:
    """The packages, each once; ``rebuild`` is what a plain name of a depend means."""
    if not isinstance(node, document.Mapping):
        spot.error(f"this must be a mapping of packages, and is {described(node)}")
        return ()
    if len(node.entries) > LIMIT:
        spot.error(f"more than {LIMIT} packages")
        return ()
    read = []
    left = DEPENDS_LIMIT
    for entry in node.entries:
        package = _package(entry, spot, rebuild)
        if package is not None:
            read.append(package)
            left -= len(package.depends)
        if left < 0:
            spot.error(f"more than {DEPENDS_LIMIT} depends")
            return ()
        if spot.report.full:
            break
    _check(read, spot)
    return tuple(read)


def _package(entry: Entry, spot: Spot, rebuild: bool) -> Package | None:
    name = entry.key.text
    here = spot.at(name[:200], entry.key.line)
    if not isinstance(entry.key.value, str) or not _NAME.fullmatch(name):
        here.error(
            f"{quoted(name)} cannot be a package's name: at most 100 of letters, digits and"
            " + . _ -, a letter or a digit first; quote what YAML takes for a number"
        )
        return None
    if values.is_null(entry.value):
        return Package(name=name, line=entry.key.line)
    if is_placeholder(entry.value):
        here.warning("... stands for nothing: this package is all of the source")
        return Package(name=name, line=entry.key.line)
    found = values.fields(entry.value, here, KEYS)
    if found is None:
        return None
    paths = below(found, "paths", here, values.optional(values.each(inside)))
    depends: list[Depend] = []
    for key in ("depends", "depends_on"):
        depends += below(found, key, here, _depends(rebuild)) or ()
    return Package(
        name=name, line=entry.key.line, paths=paths or (), depends=tuple(depends)
    )


def _depends(rebuild: bool) -> values.Reader[list[Depend]]:
    def read(node: Node, spot: Spot) -> list[Depend]:
        items = node.items if isinstance(node, document.Sequence) else (node,)
        found = []
        for place, item in enumerate(items):
            one = _depend(item, spot.at(place, item.line), rebuild)
            if one is not None:
                found.append(one)
        return found

    return read


def _depend(node: Node, spot: Spot, rebuild: bool) -> Depend | None:
    if isinstance(node, Scalar):
        name = values.text(node, spot)
        chosen = None
    else:
        found = values.fields(node, spot, ("name", "rebuild"))
        if found is None:
            return None
        name = below(found, "name", spot, values.text, "it names the package")
        chosen = below(found, "rebuild", spot, values.boolean)
    if name is None:
        return None
    return Depend(name=name, rebuild=rebuild if chosen is None else chosen, line=node.line)


def _check(read: list[Package], spot: Spot) -> None:
    known = {package.name: place for place, package in enumerate(read)}
    for package in read:
        seen: dict[str, int] = {}
        for depend in package.depends:
            here = spot.at(f"{package.name}.depends", depend.line)
            if depend.name not in known:
                hint = spot.report.suggestion(depend.name, known)
                close = [name for name in known if name.lower() == depend.name.lower()]
                if not hint and close:
                    hint = f"; did you mean {close[0]}?"
                here.error(f"there is no package {quoted(depend.name)}{hint}")
            elif depend.name in seen:
                here.error(
                    f"{quoted(depend.name)} is named twice, first in line"
                    f" {seen[depend.name]}; remove one"
                )
            seen.setdefault(depend.name, depend.line)
    ups = [
        [known[depend.name] for depend in package.depends if depend.name in known]
        for package in read
    ]
    for cycle in cycles(ups):
        first = read[cycle[0]]
        spot.at(f"{first.name}.depends", first.line).error(
            f"packages depend on each other: {told([read[one].name for one in cycle])}"
        )
