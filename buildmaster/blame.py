"""Whose fault it is when the farm fails: a worker's, a job's, or nobody's here.

Pure. What counts are attempts that ended as ``error``. The rules, in their order:

1. *Nobody.* Several jobs on several workers met the same within a short time: something
   outside is away. They are parked, and one of them tries again from time to time.
2. *The job.* It failed on more workers than others failed on any of these. Its own retries
   end it.
3. *The worker.* More jobs failed there than it takes for chance, others do well: it is put
   into quarantine, where it has one job at a time until one passes.

Who fails as often as the other is not blamed: the next attempt will tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Fault:
    """An attempt that ended as ``error``. Times are seconds."""

    at: float
    job: int
    worker: str
    reason: str

    @property
    def failure(self) -> str:
        """What its reason has in common with others of its kind; see `failure_of`."""
        return failure_of(self.reason, self.worker)


@dataclass(frozen=True)
class BlameRules:
    """How much is too much."""

    window: float = 3600.0  #: seconds in which faults of a worker are counted
    jobs: int = 3  #: different jobs that fail on a worker that is to blame
    outage_window: float = 600.0
    outage_workers: int = (
        3  #: different ones that meet the same; all, where there are fewer
    )
    outage_jobs: int = 3
    rest: float = 60.0  #: seconds between two canaries, doubled after each that failed
    longest_rest: float = 3600.0
    probe_after: float = 60.0  #: seconds before an outage is tried, doubled likewise
    longest_probe: float = 1800.0


@dataclass(frozen=True)
class Blame:
    """What follows from the faults of late."""

    quarantine: Mapping[str, str] = field(default_factory=dict)  #: worker: why
    outages: Mapping[str, tuple[Fault, ...]] = field(default_factory=dict)  #: by failure


_VARIABLE = re.compile(
    r"""
    [a-z]+://\S+ | (?<!\w)/[\w./+-]+        # addresses and paths
    | \b[0-9a-f]{7,64}\b                    # hashes
    | \d+(?:\.\d+)?                         # numbers
    """,
    re.VERBOSE,
)
_HOST = re.compile(r"[a-z]+://(?:[^/@\s]*@)?([^/:\s?#]+)")
_LONGEST = 200


def failure_of(reason: str, worker: str) -> str:
    """``reason`` without what differs from case to case; "" if it is about the worker.

    Of an address the host stays: two hosts are two outages.
    """
    text = " ".join(reason.lower().split())
    if re.search(rf"(?<![\w.-]){re.escape(worker.lower())}(?![\w-])", text):
        return ""
    hosts = [found.rstrip(".,;") for found in _HOST.findall(text)]
    words = " ".join(_VARIABLE.sub("*", text)[:_LONGEST].split())
    if not words.strip("* "):
        return ""
    return " ".join([words, *sorted(set(hosts))])[: 2 * _LONGEST]


def judge(
    faults: Sequence[Fault],
    now: float,
    *,
    working: Collection[str],
    quarantined: Collection[str] = (),
    known_outages: Collection[str] = (),
    rules: BlameRules | None = None,
) -> Blame:
    """Whom to blame. ``working`` are the workers that are there and on duty."""
    rules = rules or BlameRules()
    recent = [one for one in faults if now - one.at <= rules.window]
    outages = _outages(recent, now, working, known_outages, rules)
    met = {one for of in outages.values() for one in of}
    left = [one for one in recent if one not in met and one.failure not in known_outages]
    jobs_of: dict[str, set[int]] = {}
    workers_of: dict[int, set[str]] = {}
    for one in left:
        jobs_of.setdefault(one.worker, set()).add(one.job)
        workers_of.setdefault(one.job, set()).add(one.worker)
    to_blame = {}
    for worker, jobs in jobs_of.items():
        its_own = [job for job in jobs if len(workers_of[job]) < len(jobs)]
        if len(its_own) >= rules.jobs and worker not in quarantined:
            to_blame[worker] = _why(worker, left)
    # Where most of the farm fails there is no telling who is to blame.
    well = set(working) - set(to_blame) - set(quarantined)
    if len(well) < len(to_blame):
        to_blame = {}
    return Blame(to_blame, outages)


def _outages(
    recent: Sequence[Fault],
    now: float,
    working: Collection[str],
    known: Collection[str],
    rules: BlameRules,
) -> dict[str, tuple[Fault, ...]]:
    by_failure: dict[str, list[Fault]] = {}
    for one in recent:
        if one.failure and (now - one.at <= rules.outage_window or one.failure in known):
            by_failure.setdefault(one.failure, []).append(one)
    enough = min(rules.outage_workers, max(2, len(set(working))))
    return {
        failure: tuple(of)
        for failure, of in by_failure.items()
        if failure in known
        or (
            len({one.worker for one in of}) >= enough
            and len({one.job for one in of}) >= rules.outage_jobs
        )
    }


def _why(worker: str, faults: Sequence[Fault]) -> str:
    mine = [one for one in faults if one.worker == worker]
    last = max(mine, key=lambda one: one.at)
    jobs = len({one.job for one in mine})
    return f"{jobs} different jobs failed there, the last one: {last.reason}"[:1000]


def resting_until(
    quarantined_at: float, faults: Sequence[Fault], worker: str, rules: BlameRules
) -> float | None:
    """Until when a worker in quarantine gets no canary; None if it may have one."""
    failed = [f.at for f in faults if f.worker == worker and f.at > quarantined_at]
    if not failed:
        return None
    rest = min(rules.longest_rest, rules.rest * 2.0 ** (min(len(failed), 30) - 1))
    return max(failed) + rest


class ProbeStep(Enum):
    """What to do about an outage."""

    WAIT = "wait"
    PROBE = "probe"  #: let one job go
    LET_GO = "let go"  #: it is over: let all of them go
    AGAIN = "again"  #: the probe met it, too: wait longer


@dataclass(frozen=True)
class Probe:
    """How the job stands that tries whether an outage is over."""

    has_ended: bool  #: the attempt that was to try
    met_it: bool  #: with the same failure
    tells: bool = True  #: it came as far as to tell; not so when it was cancelled


def probe_step(now: float, next_at: float, probe: Probe | None) -> ProbeStep:
    """The next step of an outage; ``probe`` is the job that was let go, if one was."""
    if probe is None:
        return ProbeStep.PROBE if now >= next_at else ProbeStep.WAIT
    if not probe.has_ended:
        return ProbeStep.WAIT
    if probe.met_it:
        return ProbeStep.AGAIN
    return ProbeStep.LET_GO if probe.tells else ProbeStep.PROBE


def probe_delay(probes: int, rules: BlameRules) -> float:
    """Seconds before the next one, after so many."""
    return min(rules.longest_probe, rules.probe_after * 2.0 ** min(probes, 30))
