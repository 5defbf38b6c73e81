"""A graph is right or wrong as a whole, and whoever wrote it hears everything at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.graph import BadGraph, Graph, KindRules, check
from buildmaster.requests import GraphRequest


def graph(*jobs: dict[str, Any]) -> Graph:
    """The graph of jobs that perform something, checked."""
    return check(request(*jobs))


def request(*jobs: dict[str, Any]) -> GraphRequest:
    """The request for such jobs."""
    return msgspec.convert(
        {"jobs": [{"performs": "noop", **job} for job in jobs]}, GraphRequest
    )


class GraphTests(SynchronousTestCase):
    def _wrong(self, *jobs: dict[str, Any]) -> dict[str, str]:
        error = self.assertRaises(BadGraph, graph, *jobs)
        return {problem.where: problem.message for problem in error.problems}

    def _order(self, *jobs: dict[str, Any]) -> list[str]:
        return [member.name for member in graph(*jobs).members]

    def test_each_job_comes_after_all_it_needs_else_as_given(self) -> None:
        order = self._order(
            {"name": "c", "needs": ["b", "a"]},
            {"name": "x"},
            {"name": "b", "needs": ["a"]},
            {"name": "a"},
        )
        self.assertEqual(order, ["x", "a", "b", "c"])

    def test_a_job_is_called_what_it_performs(self) -> None:
        self.assertEqual(self._order({}), ["noop"])

    def test_an_unknown_name_is_told_with_the_nearest(self) -> None:
        wrong = self._wrong({"name": "build"}, {"name": "b", "needs": ["biuld"]})
        self.assertIn("did you mean build?", wrong["jobs.1.needs.0"])

    def test_a_weak_need_vanishes_where_nobody_has_the_name(self) -> None:
        [one] = graph({"needs": [{"job": "other", "weak": True}]}).members
        self.assertEqual(one.ups, ())
        _, two = graph(
            {"name": "other"}, {"name": "b", "needs": [{"job": "other", "weak": True}]}
        ).members
        self.assertEqual(len(two.ups), 1)

    def test_a_cycle_is_told_with_its_path(self) -> None:
        wrong = self._wrong(
            {"name": "a", "needs": ["b"]},
            {"name": "b", "needs": ["c"]},
            {"name": "c", "needs": ["a"]},
            {"name": "behind", "needs": ["a"]},
        )
        self.assertEqual(
            wrong, {"jobs.0.needs": "jobs wait for each other: a -> b -> c -> a"}
        )

    def test_a_job_that_needs_itself_is_a_cycle(self) -> None:
        self.assertEqual(
            self._wrong({"name": "a", "needs": ["a"]}), {"jobs.0.needs": "a needs itself"}
        )

    def test_everything_wrong_is_told_at_once(self) -> None:
        wrong = self._wrong(
            {"name": "a", "needs": ["b"], "arguments": {"x": "\0"}},
            {"name": "b", "needs": ["a", "a", "nobody"]},
            {"name": "b", "performs": None, "requirements": {"isolation": "chroot"}},
            {"name": "d", "semaphores": ["cap:ann/amd64"], "kind": "bulid"},
        )
        self.assertEqual(
            sorted(wrong),
            [
                "jobs.0.arguments",
                "jobs.0.needs",
                "jobs.1.needs.1",
                "jobs.1.needs.2",
                "jobs.2.name",
                "jobs.2.performs",
                "jobs.2.requirements.isolation",
                "jobs.3.kind",
            ],
        )

    def test_the_farms_own_semaphores_cannot_be_named(self) -> None:
        wrong = self._wrong({"semaphores": ["group:x", "lab"]})
        self.assertIn("group:x", wrong["jobs.0.semaphores"])

    def test_a_thousand_mistakes_are_told_in_short(self) -> None:
        error = self.assertRaises(BadGraph, graph, *({"needs": ["q"]} for _ in range(999)))
        self.assertEqual(len(error.problems), 101)

    def test_a_long_chain_and_a_large_circle_are_no_trouble(self) -> None:
        chain = [
            {"name": f"j{n}", "needs": [f"j{n - 1}"] if n else []} for n in range(9999)
        ]
        self.assertEqual(len(graph(*chain).members), 9999)
        chain[0]["needs"] = ["j9998"]
        [told] = self._wrong(*chain).values()
        self.assertIn("(9979 more)", told)
        self.assertLess(len(told), 400)

    def test_several_circles_are_told_each(self) -> None:
        pairs = [
            {"name": f"{one}{n}", "needs": [f"{other}{n}"]}
            for n in range(3)
            for one, other in ("ab", "ba")
        ]
        self.assertEqual(len(self._wrong(*pairs)), 3)

    def test_what_jobs_need_is_the_kinds_unless_they_say_otherwise(self) -> None:
        from buildmaster.requests import Requirements

        defaults = Requirements(tags=("net",), memory=512, cpu=0.5)
        [one] = check(
            request({"requirements": {"memory": 64, "slots": 2}}),
            lambda kind: KindRules(defaults),
        ).members
        needs = one.needs
        self.assertEqual(
            (needs.tags, needs.memory, needs.cpu, needs.slots, needs.performs),
            (("net",), 64, 50, 2, "noop"),
        )

    @given(st.data())
    def test_any_graph_is_ordered_or_refused(self, data: st.DataObject) -> None:
        """The law: an order is one, and a refusal names a cycle that is there."""
        count = data.draw(st.integers(1, 8))
        ups = [
            data.draw(st.sets(st.integers(0, count - 1), max_size=3)) for _ in range(count)
        ]
        jobs = [
            {"name": f"j{n}", "needs": [f"j{up}" for up in sorted(of)]}
            for n, of in enumerate(ups)
        ]
        try:
            order = [member.number for member in graph(*jobs).members]
        except BadGraph as error:
            for problem in error.problems:
                names = problem.message.partition(": ")[2].split(" -> ")
                if names == [""]:
                    names = [problem.message.split()[0]] * 2
                for one, other in pairwise(names):
                    self.assertIn(int(other[1:]), ups[int(one[1:])])
            return
        self.assertEqual(sorted(order), list(range(count)))
        for number, of in enumerate(ups):
            for up in of:
                self.assertLess(order.index(up), order.index(number))
