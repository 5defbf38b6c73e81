"""Packages as a whole: who stands at the top, and which hang together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from buildmaster.references.cycles import in_order
from buildmaster.references.model import Package

_NAME_LIMIT = 100


@dataclass(frozen=True)
class Parts:
    """The packages of a file whose depends have no cycle."""

    packages: Sequence[Package]
    places: dict[str, int] = field(default_factory=dict)
    tops: frozenset[str] = frozenset()  #: packages that no package depends on
    component_of: dict[str, str] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: of a component
    _closures: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def closure(self, name: str) -> tuple[str, ...]:
        """All packages whose files ``name`` builds upon, however indirectly, sorted."""
        known = self._closures.get(name)
        if known is None:
            found: set[str] = set()
            left = [name]
            while left:
                for depend in self.packages[self.places[left.pop()]].depends:
                    if depend.rebuild and depend.name not in found:
                        found.add(depend.name)
                        left.append(depend.name)
            known = self._closures[name] = tuple(sorted(found))
        return known


def parts_of(packages: Sequence[Package]) -> Parts:
    """What follows of ``packages``, whose depends all exist."""
    places = {package.name: place for place, package in enumerate(packages)}
    needed = {depend.name for package in packages for depend in package.depends}
    tops = frozenset(name for name in places if name not in needed)
    root = list(range(len(packages)))

    def of(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for place, package in enumerate(packages):
        for depend in package.depends:
            root[of(place)] = of(places[depend.name])
    groups: dict[int, list[str]] = {}
    for place, package in enumerate(packages):
        groups.setdefault(of(place), []).append(package.name)
    members = {
        component_name([name for name in names if name in tops]): tuple(names)
        for names in groups.values()
    }
    component_of = {name: one for one, names in members.items() for name in names}
    return Parts(packages, places, tops, component_of, members)


def component_name(tops: Sequence[str]) -> str:
    """What the packages that hang together are called: by those at their top."""
    name = ",".join(sorted(tops))
    if len(name) <= _NAME_LIMIT:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: _NAME_LIMIT - 13]}~{digest}"


def by_depends(packages: Sequence[Package]) -> list[int]:
    """The places of the packages, each after all it depends on."""
    places = {package.name: place for place, package in enumerate(packages)}
    return in_order([[places[d.name] for d in package.depends] for package in packages])
