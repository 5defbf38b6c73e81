"""Expansion against a naive account of the rules, on files made at random."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.references.expansion import expand
from buildmaster.references.reading import parse
from tests.laws import law
from tests.oracle_expansion import Expansion, Node, WrongFile

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


class ExpansionLaws(SynchronousTestCase):
    @law
    @given(files())
    def test_the_graph_is_what_the_rules_say(self, file: dict[str, Any]) -> None:
        oracle = Expansion(file)
        parsed = parse(yaml.safe_dump(file).encode())
        if oracle.has_package_cycle():
            self.assertIsNone(parsed.references)
            return
        assert parsed.references is not None, parsed.errors
        found = expand(parsed.references)
        try:
            needs = None if oracle.has_cycle() else oracle.needs()
        except WrongFile:
            needs = None
        if needs is None:
            self.assertIsNone(found.graph)
            self.assertTrue(all(one.line for one in found.errors))
            return
        assert found.graph is not None, found.errors
        named = [Node(node.job.name, node.package, node.cell) for node in found.graph.nodes]
        self.assertEqual(len(named), len(set(named)))
        self.assertEqual(set(named), set(oracle.nodes()))
        self.assertEqual(
            {(named[one.up], named[one.down]): one.require for one in found.graph.edges},
            {(need.up, need.down): need.require for need in needs},
        )
        for one in found.graph.edges:
            self.assertLess(one.up, one.down)
        skipped = {named[node.number] for node in found.graph.nodes if node.skipped}
        self.assertEqual(skipped, set(filter(oracle.never_runs, named)))

    @law
    @given(st.binary(max_size=400))
    def test_any_bytes_are_answered(self, text: bytes) -> None:
        parsed = parse(text)
        self.assertEqual(parsed.references is None, bool(parsed.errors))
