"""Expansion against a naive account of the rules, on files made at random."""

from __future__ import annotations

import itertools
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.expansion import expand
from buildmaster.references.reading import parse
from tests.laws import law

AXES = {"arch": ("amd64", "arm64", "s390x"), "series": ("noble", "jammy"), "aa": ("x", "y")}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Files whose jobs and packages refer to others, now and then in a cycle."""
    is_wild = draw(st.integers(0, 9)) == 0
    packages = [f"P{n}" for n in range(draw(st.integers(0, 4)))]
    names = [f"job{n}" for n in range(draw(st.integers(1, 4)))]
    made: dict[str, Any] = {"jobs": {}}
    if packages:
        made["packages"] = {
            name: {
                "depends": [
                    {"name": other, "rebuild": draw(st.booleans())}
                    for other in draw(
                        st.lists(
                            st.sampled_from(
                                packages if is_wild else packages[:place] or [""]
                            ),
                            unique=True,
                            max_size=2,
                        )
                    )
                    if other
                ]
            }
            for place, name in enumerate(packages)
        }
    for number, name in enumerate(names):
        axes = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True))
        job: dict[str, Any] = {"run": "x"}
        if axes:
            job["matrix"] = {
                axis: draw(st.lists(st.sampled_from(AXES[axis]), unique=True, min_size=1))
                for axis in axes
            }
        scopes = ["run", "each", "top", "component"] if packages else ["run"]
        job["scope"] = draw(st.sampled_from(scopes))
        if job["scope"] in ("each", "top") and draw(st.booleans()):
            job["install"] = "closure"
        job["needs"] = [
            {
                "job": other,
                "map": draw(st.sampled_from(["same", "same", "all", "any"])),
                "require": draw(st.sampled_from(["good", "finished", "always"])),
                "cell": draw(
                    st.dictionaries(
                        st.sampled_from(sorted(AXES)),
                        st.just(None),
                        max_size=draw(st.sampled_from((0, 0, 0, 1))),
                    )
                ),
            }
            for other in draw(
                st.lists(
                    st.sampled_from(names if is_wild else names[:number] or [""]),
                    unique=True,
                    max_size=2,
                )
            )
            if other
        ]
        for need in job["needs"]:
            need["cell"] = {
                axis: draw(st.sampled_from(AXES[axis])) for axis in need["cell"]
            }
        made["jobs"][name] = job
    return made


Named = tuple[str, str | None, tuple[tuple[str, str], ...]]  # job, package, cell


class Oracle:
    """The rules once more: slowly, and without any of the code that is tested."""

    def __init__(self, file: dict[str, Any]) -> None:
        self.jobs = file["jobs"]
        self.depends = {
            name: [one["name"] for one in body["depends"]]
            for name, body in file.get("packages", {}).items()
        }
        self.rebuilt = {
            name: [one["name"] for one in body["depends"] if one["rebuild"]]
            for name, body in file.get("packages", {}).items()
        }

    def has_package_cycle(self) -> bool:
        return any(name in self.below(name, self.depends) for name in self.depends)

    def below(self, name: str, depends: dict[str, list[str]]) -> set[str]:
        found: set[str] = set()
        while True:
            new = {d for one in found | {name} for d in depends[one]} - found
            if not new:
                return found
            found |= new

    def tops(self) -> set[str]:
        return set(self.depends) - {d for of in self.depends.values() for d in of}

    def component(self, name: str) -> frozenset[str]:
        found = {name}
        while True:
            new = {
                other
                for other, of in self.depends.items()
                for one in found
                if one in of or other in self.depends[one]
            } - found
            if not new:
                return frozenset(found)
            found |= new

    def component_name(self, members: frozenset[str]) -> str:
        return ",".join(sorted(members & self.tops()))

    def packages(self, job: str) -> list[str | None]:
        scope = self.jobs[job]["scope"]
        if scope == "run":
            return [None]
        if scope == "component":
            names = {self.component_name(self.component(one)) for one in self.depends}
            return list(names)
        return list(self.depends)

    def cells(self, job: str) -> list[dict[str, str]]:
        matrix = self.jobs[job].get("matrix", {})
        return [
            dict(zip(matrix, values, strict=True))
            for values in itertools.product(*matrix.values())
        ]

    def nodes(self) -> set[Named]:
        return {
            (job, package, tuple(sorted(cell.items())))
            for job in self.jobs
            for package in self.packages(job)
            for cell in self.cells(job)
        }

    def matching(
        self, need: dict[str, Any], down: dict[str, str]
    ) -> list[dict[str, str]] | None:
        """The cells that are waited for; None: the file is wrong."""
        ups = [
            up
            for up in self.cells(need["job"])
            if all(up.get(axis) == value for axis, value in need["cell"].items())
        ]
        if not ups:
            return None
        if need["map"] == "all":
            return ups
        shared = [axis for axis in ups[0] if axis in down and axis not in need["cell"]]
        same = [up for up in ups if all(up[axis] == down[axis] for axis in shared)]
        if same:
            return same
        loose = [axis for axis in shared if len({up[axis] for up in ups}) > 1]
        return [up for up in ups if all(up[axis] == down[axis] for axis in loose)] or None

    def groups(self, job: str, up: str, package: str | None) -> list[str | None]:
        mine, theirs = self.jobs[job]["scope"], self.jobs[up]["scope"]
        if theirs == "run":
            return [None]
        if mine == "run":
            return self.packages(up)
        assert package is not None
        if theirs == "component":
            if mine == "component":
                return [package]
            return [self.component_name(self.component(package))]
        if mine == "component":
            return [
                one
                for one in self.depends
                if self.component_name(self.component(one)) == package
            ]
        found: list[str | None] = [package]
        if self.jobs[job].get("install") == "closure":
            found += sorted(self.below(package, self.rebuilt))
        return found

    def edges(self) -> dict[tuple[Named, Named], str] | None:
        """What each edge requires; None: the file is wrong."""
        found: dict[tuple[Named, Named], str] = {}
        wrong = False
        for job, package, cell in self.nodes():
            for need in self.jobs[job]["needs"]:
                matching = self.matching(need, dict(cell))
                if matching is None:
                    wrong = True
                    continue
                if self.jobs[job]["scope"] == "top" and package not in self.tops():
                    continue
                for group in self.groups(job, need["job"], package):
                    for up in matching:
                        key = (
                            (need["job"], group, tuple(sorted(up.items()))),
                            (job, package, cell),
                        )
                        wrong |= found.setdefault(key, need["require"]) != need["require"]
            if self.jobs[job]["scope"] in ("each", "top") and package is not None:
                if self.jobs[job]["scope"] == "top" and package not in self.tops():
                    continue
                for other in self.depends[package]:
                    found.setdefault(((job, other, cell), (job, package, cell)), "good")
        return None if wrong else found

    def has_cycle(self, edges: dict[tuple[Named, Named], str]) -> bool:
        ups: dict[Named, set[Named]] = {node: set() for node in self.nodes()}
        for up, down in edges:
            ups[down].add(up)
        while free := [node for node, of in ups.items() if not of]:
            for node in free:
                del ups[node]
            for of in ups.values():
                of.difference_update(free)
        return bool(ups)


class ExpansionLaws(SynchronousTestCase):
    @law
    @given(files())
    def test_the_graph_is_what_the_rules_say(self, file: dict[str, Any]) -> None:
        oracle = Oracle(file)
        parsed = parse(yaml.safe_dump(file).encode())
        if oracle.has_package_cycle():
            self.assertIsNone(parsed.references)
            return
        assert parsed.references is not None, parsed.errors
        found = expand(parsed.references)
        edges = oracle.edges()
        if edges is None or oracle.has_cycle(edges):
            self.assertIsNone(found.graph)
            self.assertTrue(all(one.line for one in found.errors))
            return
        assert found.graph is not None, found.errors
        named: list[Named] = [
            (node.job.name, node.package, node.cell) for node in found.graph.nodes
        ]
        self.assertEqual(len(named), len(set(named)))
        self.assertEqual(set(named), oracle.nodes())
        self.assertEqual(
            {(named[one.up], named[one.down]): one.require for one in found.graph.edges},
            edges,
        )
        for one in found.graph.edges:
            self.assertLess(one.up, one.down)
        skipped = {named[node.number] for node in found.graph.nodes if node.skipped}
        self.assertEqual(
            skipped,
            {
                node
                for node in oracle.nodes()
                if oracle.jobs[node[0]]["scope"] == "top" and node[1] not in oracle.tops()
            },
        )

    @law
    @given(st.binary(max_size=400))
    def test_any_bytes_are_answered(self, text: bytes) -> None:
        parsed = parse(text)
        self.assertEqual(parsed.references is None, bool(parsed.errors))
