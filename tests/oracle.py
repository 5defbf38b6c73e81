"""What the queue should do, in plain Python: the rules once more, without the database.

Nothing of the SQL is used. What the queue may choose (which of several workers, say) is
told to the oracle, which says whether it was allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

GOOD = ("success", "reused", "skipped")
BAD = ("failure", "error", "timeout", "malformed")

#: semantics of an edge: what it asks, and what it says to an upstream that ended GOOD, BAD,
#: or not at all
TABLE = {
    "good": ("go", "unrun", "unrun"),
    "finished": ("go", "go", "unrun"),
    "bad": ("skip", "go", "unrun"),
    "always": ("go", "go", "go"),
}
#: The worst first.
ORDER = "failure timeout malformed error cancelled unrun success reused skipped".split()
LOST_LIMIT = 3


class Wrong(AssertionError):
    """The queue did what it may not."""


class Refused(Exception):
    """What was asked for cannot be done."""


def judge(require: str, ended: str, allowed: bool = False) -> str:
    """What an edge says to its downstream; a bad end may be ``allowed``."""
    if allowed and ended in BAD:
        ended = "success"
    column = 0 if ended in GOOD else 1 if ended in BAD else 2
    return TABLE[require][column]


@dataclass
class Attempt:
    """One try, and how it ended."""

    result: str | None = None
    passed: set[int] = field(default_factory=set)  #: stages


@dataclass
class Job:
    """A job as it should be."""

    id: int
    limits: tuple[str, ...] = ()
    retry: tuple[tuple[int | None, int], ...] = ()
    error_limit: int = 3
    stages: int = 0
    allow_failure: bool = False
    has_gate: bool = False
    state: str = "waiting"
    result: str | None = None
    root: int | None = None
    attempts: list[Attempt] = field(default_factory=lambda: [Attempt()])
    errors: int = 0
    failures: int = 0
    lost: int = 0
    cancelling: bool = False
    not_before: float | None = None
    worker: str | None = None
    refused: dict[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of the current attempt."""
        return len(self.attempts)

    @property
    def is_at_work(self) -> bool:
        """Whether a worker has it."""
        return self.state in ("assigned", "running")


@dataclass
class Edge:
    """A dependency."""

    up: int
    down: int
    require: str
    stage: int | None = None
    saw: int | None = None  #: the attempt, once it is resolved; 0: it did not matter
    choice: int | None = None  #: of those with one number one suffices


@dataclass
class Run:
    """A run: its jobs, and whether it needs them."""

    jobs: dict[int, bool]
    state: str = "sealed"
    result: str | None = None


@dataclass(frozen=True)
class End:
    """What is told of an attempt's end."""

    job: int
    attempt: int
    result: str
    worker: str | None = None
    exit_status: int | None = None
    final: bool = False
    lost: bool = False


def _is_one_choice(edge: Edge, other: Edge) -> bool:
    where = (edge.down, edge.choice)
    return edge.choice is not None and (other.down, other.choice) == where


class Oracle:
    """All there is, as it should be. Times are seconds."""

    def __init__(self, delays: Sequence[float], refusal: float) -> None:
        self.delays = delays
        self.refusal = refusal
        self.now = 0.0
        self.jobs: dict[int, Job] = {}
        self.edges: list[Edge] = []
        self.runs: dict[int, Run] = {}
        self.workers: dict[str, int] = {}  #: their slots
        self.capacity: Counter[str] = Counter()
        self.events: Counter[tuple[str, int]] = Counter()

    # -- looking

    def open_edges(self, job: int) -> list[Edge]:
        """What it still waits for."""
        return [e for e in self.edges if e.down == job and e.saw is None]

    def held(self, name: str) -> int:
        """How many jobs at work have the semaphore."""
        return sum(job.is_at_work and name in job.limits for job in self.jobs.values())

    def free(self, worker: str) -> int:
        """Slots of the worker that nobody has."""
        return self.workers[worker] - sum(j.worker == worker for j in self.jobs.values())

    def downstream(self, jobs: Iterable[int]) -> set[int]:
        """All that is behind these, near or far."""
        found: set[int] = set()
        todo = list(jobs)
        while todo:
            one = todo.pop()
            for edge in self.edges:
                if edge.up == one and edge.down not in found:
                    found.add(edge.down)
                    todo.append(edge.down)
        return found

    def refuses(self, worker: str, job: Job) -> bool:
        """Whether the worker is passed over for the job now."""
        return job.refused.get(worker, 0) > self.now

    def _others_could(self, job: Job, worker: str) -> bool:
        return any(w != worker and not self.refuses(w, job) for w in self.workers)

    # -- what comes in

    def add_run(self, number: int, jobs: dict[int, bool]) -> None:
        """A sealed run of jobs that exist."""
        self.runs[number] = Run(jobs)
        self._end_runs([number])

    def add_jobs(self, jobs: Iterable[Job], edges: Iterable[Edge]) -> None:
        """A new graph."""
        new = {job.id: job for job in jobs}
        self.jobs |= new
        self.edges += edges
        self._queue(new)

    def add_edge(self, edge: Edge) -> None:
        """Let a job that waits wait for one more."""
        self.edges.append(edge)
        up = self.jobs[edge.up]
        if edge.stage is not None and edge.stage in up.attempts[-1].passed:
            self._resolve([edge.up], edge.stage)
        elif up.state == "done":
            self._settle_again(edge.up)

    # -- what workers do

    def claim(self, job: int, worker: str) -> None:
        """The queue leased a job to a worker: may it?"""
        one = self.jobs[job]
        if one.state != "ready":
            raise Wrong(f"job {job} is {one.state}, and was claimed")
        if self.refuses(worker, one):
            raise Wrong(f"job {job} went to {worker}, which refuses it")
        if self.free(worker) <= 0:
            raise Wrong(f"{worker} has no room for job {job}")
        for name in set(one.limits):
            if self.held(name) >= self.capacity[name]:
                raise Wrong(f"job {job} took semaphore {name}, which is full")
        one.state, one.worker = "assigned", worker
        self.events["job.assigned", job] += 1

    def accept(self, job: int, attempt: int, worker: str) -> bool:
        """Whether it is the worker's lease."""
        one = self.jobs[job]
        if one.worker != worker or one.number != attempt:
            return False
        if one.state == "assigned":
            one.state = "running"
            self.events["job.running", job] += 1
        return True

    def pass_stage(self, job: int, stage: int) -> None:
        """All of a stage passed."""
        self.jobs[job].attempts[-1].passed.add(stage)
        self._resolve([job], stage)

    def end(self, ends: Sequence[End]) -> dict[tuple[int, int], str]:
        """Attempts ended; what became of each."""
        became: dict[tuple[int, int], str] = {}
        over: list[int] = []
        again: list[int] = []
        for end in ends:
            key = (end.job, end.attempt)
            job = self.jobs[end.job]
            if (
                not job.is_at_work
                or job.number != end.attempt
                or end.worker not in (None, job.worker)
            ):
                became.setdefault(key, "stale")
                continue
            became[key] = self._end(job, end)
            (over if became[key] == "done" else again).append(job.id)
        self._queue(again)
        self._settle(over)
        return became

    def _end(self, job: Job, end: End) -> str:
        result = end.result
        if job.cancelling and result in ("error", "cancelled"):
            result = "cancelled"
        elif result == "cancelled":
            result = "error"
        tries = job.errors + job.failures
        again = False
        if not job.cancelling and result == "error":
            again = (
                not end.final
                and job.errors + 1 < job.error_limit
                and not (end.lost and job.lost + 1 >= LOST_LIMIT)
            )
        elif not job.cancelling and result == "failure":
            again = any(
                exit_status in (None, end.exit_status) and job.failures < limit
                for exit_status, limit in job.retry
            )
        job.errors += result == "error"
        job.failures += result == "failure"
        job.lost += end.lost
        worker, job.worker = job.worker, None
        job.attempts[-1].result = result
        if not again:
            self._done(job, result)
            return "done"
        job.state = "waiting"
        job.not_before = self.now + self.delays[min(tries, len(self.delays) - 1)]
        self._next_attempt(job)
        self.events["job.waiting", job.id] += 1
        assert worker is not None
        if result == "error" and self._others_could(job, worker):
            job.refused[worker] = self.now + self.refusal
        return "again"

    def give_back(self, job: int) -> None:
        """A lease that was never accepted is over."""
        one = self.jobs[job]
        if one.cancelling:
            self.end([End(job, one.number, "cancelled")])
            return
        one.state, one.worker = "waiting", None
        self._queue([job])

    def refuse(self, job: int, worker: str) -> None:
        """The worker would not take it."""
        one = self.jobs[job]
        if one.state != "assigned" or one.worker != worker:
            return
        if one.cancelling or not self._others_could(one, worker):
            self.end([End(job, one.number, "error", worker)])
            return
        one.refused[worker] = self.now + self.refusal
        self.events["job.refused", job] += 1
        self.give_back(job)

    # -- what people do

    def cancel(self, jobs: Iterable[int]) -> None:
        """Stop these."""
        unstarted = []
        for number in sorted(jobs):
            job = self.jobs[number]
            if job.is_at_work:
                if not job.cancelling:
                    job.cancelling = True
                    self.events["job.cancelling", number] += 1
            elif job.state != "done":
                unstarted.append(number)
        for number in unstarted:
            self.jobs[number].attempts[-1].result = "cancelled"
            self._done(self.jobs[number], "cancelled")
        self._settle(unstarted)

    def cancel_run(self, run: int) -> None:
        """Stop what only this run wants."""
        self.cancel(
            job
            for job in self.runs[run].jobs
            if not any(
                job in other.jobs
                for number, other in self.runs.items()
                if number != run and other.state != "done"
            )
        )

    def retry(self, number: int, from_start: bool = False) -> None:
        """Try it again, and all that never ran because of it; or `Refused`."""
        job = self.jobs[number]
        if job.state != "done" or job.root is not None:
            raise Refused
        behind = self.downstream([number])
        hanging = self._hanging(number)
        revived = [number] + [
            j for j in sorted(behind) if self.jobs[j].root == number or j in hanging
        ]
        self._reopen_choices(revived)
        for each in revived:
            self._revive(self.jobs[each], from_start and each == number)
        self.events["job.retried", number] += 1
        for each in revived[1:]:
            self.events["job.waiting", each] += 1
        job.refused.clear()
        self._reopen_runs(revived)
        opened = self._reopen_edges(revived)
        decided = [e for e in opened if self.jobs[e.up].state == "done"]
        for edge in decided:
            up_job = self.jobs[edge.up]
            assert up_job.result is not None
            says = judge(edge.require, up_job.result, up_job.allow_failure)
            if edge.down == number and edge.choice is None and says != "go":
                raise Refused
        for up in sorted({edge.up for edge in decided}):
            self._settle_again(up)
        self._queue([number])

    def _reopen_runs(self, revived: Sequence[int]) -> None:
        for which, run in self.runs.items():
            if run.state == "done" and any(run.jobs.get(each) for each in revived):
                run.state, run.result = "sealed", None
                self.events["run.reopened", which] += 1

    def _reopen_edges(self, revived: Sequence[int]) -> list[Edge]:
        opened = [
            edge
            for edge in self.edges
            if edge.down in revived
            and edge.saw is not None
            and self._is_undone(edge, revived)
        ]
        for edge in opened:
            edge.saw = None
        return opened

    def _reopen_choices(self, revived: Sequence[int]) -> None:
        """Who waits for others of a choice waits for these, too."""
        undecided = {
            (edge.down, edge.choice)
            for edge in self.edges
            if edge.choice is not None and edge.saw is None and edge.down not in revived
        }
        for edge in self.edges:
            is_open = (edge.down, edge.choice) in undecided
            if is_open and edge.up in revived and self.jobs[edge.down].state == "waiting":
                edge.saw = None

    def _hanging(self, number: int) -> set[int]:
        """Those that never ran because of a choice that it is of, and all behind them."""
        found, size = {number}, 0
        while len(found) > size:
            size = len(found)
            for edge in self.edges:
                root = self.jobs[edge.down].root
                if edge.up in found and root is not None and root in self._causes(edge):
                    found.add(edge.down)
        return found - {number}

    def _causes(self, edge: Edge) -> set[int | None]:
        """What may have kept its downstream from running, in its words."""
        alike = [
            other for other in self.edges if other is edge or _is_one_choice(edge, other)
        ]
        return {e.up for e in alike} | {self.jobs[e.up].root for e in alike}

    def _is_undone(self, edge: Edge, revived: Sequence[int]) -> bool:
        up = self.jobs[edge.up]
        let_go = [
            other
            for other in self.edges
            if edge.choice is not None
            and other is not edge
            and (other.down, other.choice) == (edge.down, edge.choice)
            and self._let_go(other)
        ]
        if not edge.saw:
            # Another one of the choice decided: does it still?
            return edge.up in revived and all(other.up in revived for other in let_go)
        saw = up.attempts[edge.saw - 1]
        if edge.stage is not None and edge.stage in saw.passed | up.attempts[-1].passed:
            return False  # a passed stage is never judged again
        return edge.up in revived or not (self._let_go(edge) or let_go)

    def _let_go(self, edge: Edge) -> bool:
        """Whether the attempt that it saw let the other job go."""
        if not edge.saw:
            return False
        up = self.jobs[edge.up]
        result = up.attempts[edge.saw - 1].result
        return result is not None and judge(edge.require, result, up.allow_failure) == "go"

    def _revive(self, job: Job, from_start: bool = False) -> None:
        job.state, job.result, job.root = "waiting", None, None
        job.errors = job.failures = job.lost = 0
        job.cancelling, job.not_before = False, None
        whole = len(job.attempts[-1].passed) == job.stages
        self._next_attempt(job)
        if whole or from_start:
            job.attempts[-1].passed.clear()

    def release(self, number: int) -> bool:
        """Somebody lets it go; whether it waited for that."""
        job = self.jobs[number]
        if not job.has_gate or job.state == "done":
            return False
        job.has_gate = False
        if job.state == "parked":
            job.state = "waiting"
            self._queue([number])
        return True

    def pass_time(self, seconds: float) -> None:
        """What masters do of themselves meanwhile."""
        self.now += seconds
        due = [
            job.id
            for job in self.jobs.values()
            if job.not_before is not None and job.not_before <= self.now
        ]
        self._queue(due)

    def forget_vain_refusals(self, aside: Iterable[int]) -> None:
        """Nobody is passed over for a job that nobody else can take."""
        for job in self.jobs.values():
            if job.state == "ready" and job.id not in aside:
                if all(self.refuses(worker, job) for worker in self.workers):
                    job.refused.clear()

    # -- what follows

    def _next_attempt(self, job: Job) -> None:
        kept: set[int] = set()
        while len(kept) in job.attempts[-1].passed:
            kept.add(len(kept))
        job.attempts.append(Attempt(passed=kept))

    def _queue(self, jobs: Iterable[int]) -> None:
        for number in jobs:
            job = self.jobs[number]
            if job.state != "waiting" or self.open_edges(number):
                continue
            if job.has_gate and (job.not_before is None or job.not_before <= self.now):
                job.state = "parked"
                self.events["job.parked", number] += 1
            elif job.not_before is None or job.not_before <= self.now:
                job.state, job.not_before = "ready", None
                self.events["job.ready", number] += 1

    def _done(self, job: Job, result: str, root: int | None = None) -> None:
        job.state, job.result, job.root = "done", result, root
        job.not_before = None
        job.attempts[-1].result = result
        self.events["job.done", job.id] += 1

    def _settle(self, jobs: Iterable[int]) -> None:
        """Jobs are done; all that follows."""
        wave = list(jobs)
        while wave:
            wave = self._resolve(wave, None)
        self._end_runs(self.runs)

    def _settle_again(self, job: int) -> None:
        self._settle(self._resolve([job], None))

    def _resolve(self, wave: Sequence[int], stage: int | None) -> list[int]:
        """The edges of a wave say all they say at once; the jobs that they ended."""
        said: dict[int, dict[str, list[int]]] = {}
        heard: list[tuple[Edge, str]] = []
        for edge in self.edges:
            if edge.up in wave and edge.saw is None and stage in (None, edge.stage):
                up = self.jobs[edge.up]
                edge.saw = up.number
                says = "go"
                if stage is None:
                    says = judge(edge.require, str(up.result), up.allow_failure)
                heard.append((edge, says))
        for edge, says in heard:
            if edge.choice is not None:
                says = self._chosen(edge, says, heard)
            said.setdefault(edge.down, {}).setdefault(says, []).append(edge.up)
        ended = []
        for down, words in said.items():
            job = self.jobs[down]
            if job.state != "waiting":
                continue
            if "unrun" in words:
                cause = self.jobs[min(words["unrun"])]
                self._done(job, "unrun", cause.root or cause.id)
                ended.append(down)
            elif "skip" in words:
                self._done(job, "skipped")
                ended.append(down)
        self._queue(said)
        return ended

    def _chosen(self, edge: Edge, says: str, heard: Sequence[tuple[Edge, str]]) -> str:
        """What one edge of a choice says, all of them considered."""
        group = (edge.down, edge.choice)
        others = [e for e in self.edges if (e.down, e.choice) == group and e.saw is None]
        if any((e.down, e.choice) == group and word == "go" for e, word in heard):
            for other in others:
                other.saw = 0
            return "go"
        return "go" if others else says

    def _end_runs(self, runs: Iterable[int]) -> None:
        for number in list(runs):
            run = self.runs[number]
            needed = [self.jobs[job] for job, required in run.jobs.items() if required]
            if run.state == "sealed" and all(job.state == "done" for job in needed):
                results = [
                    "success"
                    if job.allow_failure and job.result in BAD
                    else str(job.result)
                    for job in needed
                ] or ["skipped"]
                run.state, run.result = "done", min(results, key=ORDER.index)
                self.events["run.done", number] += 1
