"""The rules of blame, as a table of stories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.blame import (
    BlameRules,
    Fault,
    Probe,
    ProbeStep,
    failure_of,
    judge,
    probe_delay,
    probe_step,
    resting_until,
)

NOW = 10_000.0
FARM = ("ant", "bee", "cat", "dog")
MIRROR = "could not resolve mirror.example"
RULES = BlameRules()


class Story(NamedTuple):
    """(job, worker, reason, seconds ago) of each fault, and whom it blames."""

    what: str
    faults: Sequence[tuple[int, str, str, float]]
    quarantine: set[str]
    outages: set[str]
    working: tuple[str, ...] = FARM
    quarantined: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


STORIES = [
    Story("nothing happened", [], set(), set()),
    Story(
        "a worker fails three jobs while others do well",
        [
            (1, "ant", "a: no space", 0),
            (2, "ant", "b: crash", 9),
            (3, "ant", "c: oops", 99),
        ],
        {"ant"},
        set(),
    ),
    Story(
        "two jobs are not enough",
        [(1, "ant", "x", 0), (2, "ant", "y", 9), (2, "ant", "z", 19)],
        set(),
        set(),
    ),
    Story(
        "three within an hour, not within a day",
        [(1, "ant", "x", 0), (2, "ant", "y", 9), (3, "ant", "z", 3601)],
        set(),
        set(),
    ),
    Story(
        "one job fails wherever it runs: its own fault",
        [(1, "ant", "it crashed", 0), (1, "bee", "it fell", 9), (1, "cat", "it died", 19)],
        set(),
        set(),
    ),
    Story(
        "three such jobs blame no worker, though one met them all",
        [(job, w, f"odd {job}{w}", 9) for job in (1, 2, 3) for w in ("ant", "bee", "cat")],
        set(),
        set(),
    ),
    Story(
        "a job that fails everywhere does not clear a worker that fails others",
        [(1, "ant", "p", 9), (1, "bee", "q", 9), (1, "cat", "r", 9)]
        + [(job, "ant", f"s{job}s", 9) for job in (2, 3, 4)],
        {"ant"},
        set(),
    ),
    Story(
        "the same from three workers and three jobs: something outside is away",
        [(1, "ant", MIRROR, 0), (2, "bee", MIRROR, 9), (3, "cat", MIRROR, 99)],
        set(),
        {MIRROR},
    ),
    Story(
        "an outage blames no worker that met it often",
        [(job, "ant", MIRROR, 9) for job in (1, 2, 3, 4)]
        + [(5, "bee", MIRROR, 9), (6, "cat", MIRROR, 9)],
        set(),
        {MIRROR},
    ),
    Story(
        "the same from two workers of four may be theirs",
        [(1, "ant", MIRROR, 0), (2, "bee", MIRROR, 9), (3, "bee", MIRROR, 99)],
        set(),
        set(),
    ),
    Story(
        "the same from both of two workers is outside",
        [(1, "ant", MIRROR, 0), (2, "bee", MIRROR, 9), (3, "bee", MIRROR, 99)],
        set(),
        {MIRROR},
        working=("ant", "bee"),
    ),
    Story(
        "a single worker cannot tell an outage from itself",
        [(job, "ant", MIRROR, 9) for job in (1, 2, 3)],
        set(),
        set(),
        working=("ant",),
    ),
    Story(
        "the same too long apart is no outage",
        [(1, "ant", MIRROR, 0), (2, "bee", MIRROR, 9), (3, "cat", MIRROR, 601)],
        set(),
        set(),
    ),
    Story(
        "one job on three workers is no outage",
        [(1, w, MIRROR, 9) for w in ("ant", "bee", "cat")],
        set(),
        set(),
    ),
    Story(
        "two failures at a time are two outages",
        [
            (job, w, f"fetch of https://{host}/x/{job} failed", 9)
            for job, (w, host) in enumerate(
                [(w, h) for w in ("ant", "bee", "cat") for h in ("a.example", "b.example")]
            )
        ],
        set(),
        {"fetch of * failed a.example", "fetch of * failed b.example"},
    ),
    Story(
        "what a worker says of itself is about it",
        [
            (job, w, f"worker {w} was not heard from for 300 seconds", 9)
            for job, w in enumerate(("ant", "bee", "cat"))
        ],
        set(),
        set(),
    ),
    Story(
        "an outage that is known takes whoever meets it",
        [(1, "ant", MIRROR, 0)],
        set(),
        {MIRROR},
        known=(MIRROR,),
    ),
    Story(
        "who is in quarantine is not put there again",
        [(job, "ant", f"x{job}x", 9) for job in (1, 2, 3)],
        set(),
        set(),
        quarantined=("ant",),
    ),
    Story(
        "where half of the farm fails nobody is blamed",
        [
            (job + 10 * n, w, f"odd {w}{job}", 9)
            for n, w in enumerate(("ant", "bee", "cat"))
            for job in (1, 2, 3)
        ],
        set(),
        set(),
    ),
]


class JudgeTests(SynchronousTestCase):
    def test_every_story(self) -> None:
        for story in STORIES:
            faults = [Fault(NOW - ago, job, w, why) for job, w, why, ago in story.faults]
            blame = judge(
                faults,
                NOW,
                working=story.working,
                quarantined=story.quarantined,
                known_outages=story.known,
            )
            self.assertEqual(set(blame.quarantine), story.quarantine, story.what)
            self.assertEqual(set(blame.outages), story.outages, story.what)

    def test_the_reason_names_jobs_and_the_last_fault(self) -> None:
        faults = [Fault(NOW - job, job, "ant", f"why {job}") for job in (1, 2, 3)]
        blame = judge(faults, NOW, working=FARM)
        self.assertEqual(
            blame.quarantine["ant"], "3 different jobs failed there, the last one: why 1"
        )

    @given(
        st.lists(
            st.tuples(st.integers(1, 5), st.sampled_from(FARM), st.sampled_from("xyz")),
            max_size=30,
        )
    )
    def test_there_is_always_somebody_left_to_work(
        self, found: list[tuple[int, str, str]]
    ) -> None:
        faults = [Fault(NOW, job, worker, why) for job, worker, why in found]
        blame = judge(faults, NOW, working=FARM)
        self.assertLessEqual(2 * len(blame.quarantine), len(FARM))
        for worker in blame.quarantine:
            self.assertGreaterEqual(len({f.job for f in faults if f.worker == worker}), 3)


class FailureTests(SynchronousTestCase):
    def test_what_differs_from_case_to_case_is_left_out(self) -> None:
        one = failure_of(
            "git: https://git.example/a/b.git at 3f2a91bc44: exit status 128", "w"
        )
        two = failure_of(
            "git: https://git.example/c.git at 99ab12cd00: exit  status 129", "w"
        )
        self.assertEqual(one, two)
        self.assertIn("git.example", one)
        other = failure_of(
            "git: https://other.example/c.git at 99ab12cd00: exit status 1", "w"
        )
        self.assertNotEqual(one, other)
        self.assertEqual(
            failure_of("no room in /var/lib/x/12", "w"),
            failure_of("no room in /srv/y", "w"),
        )

    def test_a_password_never_gets_into_it(self) -> None:
        told = failure_of("clone of https://ann:secret@git.example/a failed", "w")
        self.assertNotIn("secret", told)
        self.assertIn("git.example", told)

    def test_a_workers_name_counts_as_a_word_only(self) -> None:
        self.assertEqual(failure_of("worker mill-1 lost it", "mill-1"), "")
        self.assertNotEqual(failure_of("worker mill-10 lost it", "mill-1"), "")
        self.assertNotEqual(failure_of("the miller is away", "mill"), "")
        self.assertEqual(failure_of("a.*b(", "a.*b("), "")

    @given(st.text(), st.text(min_size=1))
    def test_any_reason_is_bounded(self, reason: str, worker: str) -> None:
        self.assertLessEqual(len(failure_of(reason, worker)), 400)


class RestTests(SynchronousTestCase):
    def test_canaries_come_less_and_less_often(self) -> None:
        faults = [Fault(at, 1, "ant", "x") for at in (90.0, 110.0, 200.0, 400.0)]
        rests = [
            resting_until(100.0, faults[:n], "ant", RULES)
            for n in range(1, len(faults) + 1)
        ]
        self.assertEqual(rests, [None, 170.0, 320.0, 640.0])
        many = [Fault(1000.0 + n, 1, "ant", "x") for n in range(100)]
        self.assertEqual(resting_until(100.0, many, "ant", RULES), 1099.0 + 3600)
        self.assertIsNone(resting_until(100.0, many, "bee", RULES))


class ProbeTests(SynchronousTestCase):
    def test_every_step(self) -> None:
        for probe, next_at, step in (
            (None, NOW + 1, ProbeStep.WAIT),
            (None, NOW, ProbeStep.PROBE),
            (Probe(False, False), 0.0, ProbeStep.WAIT),
            (Probe(True, True), 0.0, ProbeStep.AGAIN),
            (Probe(True, False), 0.0, ProbeStep.LET_GO),
            (Probe(True, False, tells=False), 0.0, ProbeStep.PROBE),
        ):
            self.assertEqual(probe_step(NOW, next_at, probe), step, str(probe))
        delays = [probe_delay(n, RULES) for n in (0, 1, 2, 99)]
        self.assertEqual(delays, [60, 120, 240, 1800])
