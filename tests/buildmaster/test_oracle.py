"""The queue against an oracle: random graphs, whatever may happen, in whatever order.

``HEADRACE_GRAPHS`` says how many graphs; ``HEADRACE_SEED`` with which one to begin.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from buildmaster import dependencies, ending, intervention
from buildmaster.dependencies import Require
from buildmaster.recording import record
from buildmaster.requests import Refusal
from buildmaster.store import jobs as job_store
from buildmaster.store import queue
from buildmaster.store import submissions as store
from buildmaster.store.audit import audit
from buildmaster.store.step import AttemptEnd, HungryWorker
from protocol.messages import PipelineJobEnded, Report
from protocol.results import Result
from tests.direct import POLICY, Direct, DirectCursor, NewEdge, NewJob, add_edge
from tests.laws import IS_LONG
from tests.oracle import Edge, End, Job, Oracle, Refused, Wrong, judge
from tests.postgres import fresh_dsn

GRAPHS = int(os.environ.get("HEADRACE_GRAPHS", 10_000 if IS_LONG else 200))
SEED = int(os.environ.get("HEADRACE_SEED", 0))
#: How many graphs share a database.
SHARED = 50
ACTS = 30
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REQUIRES = ("good", "good", "good", "finished", "bad", "always")
RESULTS = (
    *("success",) * 8,
    *("failure",) * 3,
    *("error",) * 3,
    "timeout",
    "malformed",
    "cancelled",
)

_STATE = """
    SELECT json_build_object(
        'jobs', (
            SELECT json_object_agg(job.id, json_build_object(
                'state', job.state, 'result', job.result, 'root', job.root_cause,
                'attempt', job.attempt, 'blocked_by', job.blocked_by,
                'errors', job.errors, 'failures', job.failures, 'lost', job.lost_workers,
                'cancelling', job.state <> 'done' AND job.cancel_asked_at IS NOT NULL,
                'not_before', extract(epoch FROM job.not_before),
                'worker', running.worker,
                'refused', (SELECT json_object_agg(refusal.worker,
                                                   extract(epoch FROM refusal.until))
                            FROM refusal WHERE refusal.job = job.id),
                'result_of_attempt', attempt.result,
                'place', CASE WHEN ready.job IS NOT NULL THEN 'ready'
                              WHEN aside.job IS NOT NULL THEN 'aside' END,
                'position', coalesce(ready.position, aside.position),
                'should_stand', queue_position(job.score, job.virtual_start)))
            FROM job JOIN attempt ON attempt.job = job.id AND attempt.number = job.attempt
            LEFT JOIN running ON running.job = job.id
            LEFT JOIN ready ON ready.job = job.id
            LEFT JOIN aside ON aside.job = job.id
            WHERE job.id = ANY (%(jobs)s)),
        'runs', (
            SELECT json_object_agg(id, json_build_array(state, result, open_jobs))
            FROM run WHERE id = ANY (%(runs)s)),
        'events', (
            SELECT json_agg(json_build_array(kind, coalesce(job, run), count)) FROM (
                SELECT kind, job, run, count(*) FROM event
                WHERE job = ANY (%(jobs)s) OR run = ANY (%(runs)s)
                GROUP BY kind, job, run) AS told),
        'edges', (
            SELECT json_agg(json_build_array(up, down, up_stage, up_attempt))
            FROM edge WHERE down = ANY (%(jobs)s)))
"""


class Game:
    """One graph, and what happens to it, in the database and in the oracle."""

    def __init__(self, books: Direct, seed: int) -> None:
        self.books = books
        self.random = Random(seed)
        self.oracle = Oracle(POLICY.delays, POLICY.refusal)
        self.log: list[Any] = []
        self.reports: Counter[tuple[int, int]] = Counter()
        self.names = (f"s{seed}a", f"s{seed}b")
        self.began = EPOCH + timedelta(days=seed)
        books.set_clock(self.began)
        self._add_workers(seed)
        self._add_graph(seed)

    # -- the beginning

    def _add_workers(self, seed: int) -> None:
        self.performs = f"p{seed}"
        self.line = self.books.job_class(self.performs)
        for number in range(self.random.randint(1, 3)):
            name, slots = f"w{seed}-{number}", self.random.randint(1, 4)
            self.books.add_worker(name, slots, self.performs)
            self.oracle.workers[name] = slots
        for name in self.names:
            capacity = self.random.choice((1, 1, 2))
            self.oracle.capacity[name] = capacity
            self.books.run("INSERT INTO semaphore VALUES (%s, %s)", (name, capacity))

    def _add_graph(self, seed: int) -> None:
        chance = self.random
        count = chance.randint(1, 9)
        specs = [
            NewJob(
                limits=tuple(n for n in self.names if chance.random() < 0.3),
                retry=chance.choice(((), (), ((7, 1),), ((None, 2),), ((7, 1), (8, 2)))),
                error_limit=chance.choice((0, 1, 2, 3, 5)),
                virtual_start=chance.randint(0, 5),
                score=chance.choice((500_000, 500_000, 900_000)),
                stages=chance.choice((0, 0, 1, 2, 3)),
                required=chance.random() < 0.8,
                allow_failure=chance.random() < 0.15,
                has_gate=chance.random() < 0.15,
            )
            for _ in range(count)
        ]
        density = chance.random()
        edges = [
            NewEdge(
                up,
                down,
                chance.choice(REQUIRES),
                None
                if not specs[up].stages or chance.random() < 0.5
                else chance.randrange(specs[up].stages),
            )
            for down in range(count)
            for up in range(down)
            if chance.random() < density
        ]
        edges = [
            NewEdge(
                e.up,
                e.down,
                e.require if e.stage is None else "good",
                e.stage,
                # What asks for a bad end is no choice.
                None
                if e.stage is not None or e.require == "bad" or chance.random() < 0.6
                else chance.choice((1, 1, 2)),
            )
            for e in edges
        ]
        run, ids = self.books.add_graph(self.line, specs, edges)
        self.log.append(("graph", specs, edges))
        self.oracle.add_jobs(
            [
                Job(
                    number,
                    limits=spec.limits,
                    retry=spec.retry,
                    error_limit=spec.error_limit,
                    stages=spec.stages,
                    allow_failure=spec.allow_failure,
                    has_gate=spec.has_gate,
                )
                for spec, number in zip(specs, ids, strict=True)
            ],
            [
                Edge(ids[e.up], ids[e.down], e.require, e.stage, choice=e.choice)
                for e in edges
            ],
        )
        self.oracle.add_run(
            run, {n: spec.required for spec, n in zip(specs, ids, strict=True)}
        )

    # -- the middle

    def play(self) -> None:
        """So many acts, then all that is left; the books are compared after each."""
        self.compare()
        acts: list[Callable[[], None]] = [
            *[self.claim] * 5,
            *[self.end] * 6,
            *[self.accept] * 2,
            *[self.pass_stage] * 3,
            self.let_time_pass,
            self.cancel,
            self.retry,
            self.retry,
            self.release,
            self.give_back,
            self.add_edge,
            self.add_run,
            self.change_capacity,
        ]
        for _ in range(ACTS):
            act = self.random.choice(acts)
            act()
            self.compare()
        self.drain()
        self.compare()

    def drain(self) -> None:
        """Whatever can still be done is done: nothing is forgotten."""
        for _ in range(200):
            if all(job.state == "done" for job in self.oracle.jobs.values()):
                return
            self.let_time_pass()
            for job in list(self.oracle.jobs.values()):
                if job.state == "parked":
                    self._release(job.id)
            self.claim(whole=True)
            at_work = [job for job in self.oracle.jobs.values() if job.is_at_work]
            self._tell([End(job.id, job.number, "success") for job in at_work])
        raise Wrong("something waits for ever")

    def claim(self, whole: bool = False) -> None:
        """Some workers are hungry, and their master may believe what it likes."""
        chance = self.random
        names = [w for w in self.oracle.workers if whole or chance.random() < 0.7]
        free = {name: self.oracle.free(name) for name in names}
        hungry = [
            HungryWorker(
                name,
                f"s-{name}" if whole or chance.random() < 0.95 else "s-stale",
                0,
                free[name] if whole else chance.randint(0, free[name] + 1),
            )
            for name in names
        ]
        self.log.append(("claim", [(w.name, w.session, w.slots) for w in hungry]))
        may_have = {
            w.name: min(w.slots, free[w.name]) for w in hungry if w.session != "s-stale"
        }
        while True:
            stepped = self.books.step(workers=hungry, classes=[self.line])
            self.log.append([(c.job, c.worker) for c in stepped.claims])
            self._check_order(stepped.claims, may_have, bool(stepped.aside))
            for claim in stepped.claims:
                self.oracle.claim(claim.job, claim.worker)
                if may_have.get(claim.worker, 0) <= 0:
                    raise Wrong(f"{claim.worker} has no room for job {claim.job}")
                may_have[claim.worker] -= 1
            hungry = [
                HungryWorker(w.name, w.session, 0, may_have[w.name])
                for w in hungry
                if w.name in may_have
            ]
            if not stepped.aside:
                return

    def _check_order(self, claims: Any, may_have: dict[str, int], more: bool) -> None:
        """Nobody is passed over without a reason, and no room is left while one waits."""
        taken = {claim.job for claim in claims}
        plain = [
            (place, number)
            for number, place in self._line()
            if not self.oracle.jobs[number].limits
            and not any(self.oracle.refuses(w, self.oracle.jobs[number]) for w in may_have)
        ]
        left = [each for each in plain if each[1] not in taken]
        last = max(((c.position, c.job) for c in claims), default=(0, 0))
        if left and left[0] < last:
            raise Wrong(f"job {left[0][1]} was passed over")
        refusing = any(job.refused for job in self.oracle.jobs.values())
        if left and not more and not refusing and len(taken) < sum(may_have.values()):
            raise Wrong(f"job {left[0][1]} waits, and there is room")

    def _line(self) -> list[tuple[int, int]]:
        """Jobs and their positions, the first one first, as they were before the claim."""
        ready = [job.id for job in self.oracle.jobs.values() if job.state == "ready"]
        rows = self.books.rows(
            """
            SELECT id, queue_position(score, virtual_start) AS position FROM job
            WHERE id = ANY (%s) ORDER BY position, id
            """,
            (ready,),
        )
        return [(int(number), int(position)) for number, position in rows]

    def _some(self, *states: str) -> Job | None:
        jobs = [job for job in self.oracle.jobs.values() if job.state in states]
        return self.random.choice(jobs) if jobs else None

    def accept(self) -> None:
        """Acceptances, some of them late or of others."""
        chance = self.random
        told = []
        for job in self.oracle.jobs.values():
            if job.worker is not None and chance.random() < 0.7:
                worker = job.worker if chance.random() < 0.9 else self._another()
                told.append((job.id, job.number, worker))
            elif chance.random() < 0.1:
                told.append((job.id, chance.randint(1, 3), self._another()))
        self.log.append(("accept", told))
        stepped = self.books.step(accepted=told)
        forget = {each[:2] for each in told if not self.oracle.accept(*each)}
        _same("forget", stepped.forget, frozenset(forget))

    def _another(self) -> str:
        """Some worker, that it may have nothing to do with."""
        return self.random.choice(list(self.oracle.workers))

    def end(self) -> None:
        """Ends, some of them late, doubled or of others, in one step."""
        chance = self.random
        ends = []
        alike = chance.choice(RESULTS) if chance.random() < 0.3 else None
        for job in self.oracle.jobs.values():
            if job.is_at_work and chance.random() < 0.6:
                result = alike or chance.choice(RESULTS)
                if result == "success" and len(job.attempts[-1].passed) < job.stages:
                    result = "failure"
                end = End(
                    job.id,
                    job.number,
                    result,
                    chance.choice((None, *[job.worker] * 8, self._another())),
                    chance.choice((None, 7, 8)),
                    final=chance.random() < 0.1,
                    lost=result == "error" and chance.random() < 0.4,
                )
                ends += [end] * chance.choice((1, 1, 1, 2))
            elif chance.random() < 0.1:
                ends.append(
                    End(
                        job.id,
                        chance.randint(1, 3),
                        "success",
                        self._another(),
                    )
                )
        self._tell(ends)

    def _tell(self, ends: list[End]) -> None:
        self.log.append(("end", ends))
        stepped = self.books.step(
            [
                AttemptEnd(
                    end.job,
                    end.attempt,
                    Result(end.result),
                    "" if end.result == "success" else "it broke",
                    end.worker,
                    end.final,
                    end.lost,
                    exit_status=end.exit_status,
                )
                for end in ends
            ]
        )
        once = {(end.job, end.attempt, end.worker): end for end in ends}.values()
        became = self.oracle.end(list(once))
        if len({(e.job, e.attempt) for e in once}) == len(once):
            _same("became", stepped.ended, became)

    def pass_stage(self) -> None:
        """A build reports that its next stage passed."""
        jobs = [
            job
            for job in self.oracle.jobs.values()
            if job.is_at_work and len(job.attempts[-1].passed) < job.stages
        ]
        if not jobs:
            return
        job = self.random.choice(jobs)
        stage = len(job.attempts[-1].passed)
        key = (job.id, job.number)
        self.reports[key] += 1
        body = PipelineJobEnded(name="p", index=stage, at=0.0, result=Result.SUCCESS)
        report = Report(job=job.id, attempt=job.number, number=self.reports[key], body=body)
        worker = str(job.worker)
        self.log.append(("pass stage", job.id, stage))
        self.books.act(lambda cursor: record(cursor, worker, [report], POLICY))
        self.oracle.pass_stage(job.id, stage)

    def let_time_pass(self) -> None:
        """What masters do each second, once."""
        seconds = self.random.choice((1.0, 15.0, 30.0, 200.0))
        self.log.append(("time", seconds))
        self.oracle.pass_time(seconds)
        self.books.pass_time(seconds)

        async def keep(cursor: DirectCursor) -> None:
            await queue.settle_cancels(cursor)
            await queue.fill_semaphores(cursor)

        self.books.act(keep)
        aside = [int(job) for (job,) in self.books.rows("SELECT job FROM aside")]
        self.books.act(queue.forget_vain_refusals)
        self.oracle.forget_vain_refusals(aside)
        for job in self.oracle.jobs.values():
            job.refused = {w: t for w, t in job.refused.items() if t > self.oracle.now}

    def cancel(self) -> None:
        """Somebody stops a job, or a run."""
        if self.random.random() < 0.3:
            run = self.random.choice(list(self.oracle.runs))
            self.log.append(("cancel run", run))
            self.books.act(lambda cursor: intervention.cancel_run(cursor, run, "ann", ""))
            self.oracle.cancel_run(run)
            return
        job = self.random.choice(list(self.oracle.jobs))
        self.log.append(("cancel", job))
        self.books.act(lambda cursor: intervention.cancel_job(cursor, job, "ann", ""))
        self.oracle.cancel([job])

    def retry(self) -> None:
        """Somebody tries a job again."""
        job = self._some("done") or self._some("waiting", "ready", "running")
        if job is None:
            return
        self.log.append(("retry", job.id))
        before = copy.deepcopy(self.oracle)
        number = job.id
        try:
            self.books.act(lambda cursor: intervention.retry_job(cursor, number, "ann"))
            refused = False
        except Refusal:
            refused = True
        try:
            self.oracle.retry(number)
        except Refused:
            self.oracle = before
            _same("refused", refused, True)
        else:
            _same("refused", refused, False)

    def release(self) -> None:
        """Somebody lets a job go, which may wait for nobody."""
        job = self._some("parked") or self._some("waiting", "ready", "done")
        if job is not None:
            self._release(job.id)

    def _release(self, number: int) -> None:
        self.log.append(("release", number))
        (found,) = self.books.rows("SELECT open_gate(%s)", (number,))[0]
        _same("released", found, self.oracle.release(number))

    def give_back(self) -> None:
        """An order never arrived, or the worker would not take it."""
        job = self._some("assigned")
        if job is None:
            return
        number, attempt, worker = job.id, job.number, str(job.worker)
        if self.random.random() < 0.5:
            self.log.append(("give back", number))
            self.books.act(lambda cursor: queue.give_back(cursor, worker, number, attempt))
            self.oracle.give_back(number)
            return
        self.log.append(("refuse", number, worker))
        self.books.act(
            lambda cursor: ending.refused(cursor, worker, number, attempt, "no", POLICY)
        )
        self.oracle.refuse(number, worker)

    def add_edge(self) -> None:
        """A graph grows: a job that waits gets one more to wait for."""
        down = self._some("waiting")
        if down is None or not self.oracle.open_edges(down.id):
            return
        behind = self.oracle.downstream([down.id]) | {down.id}
        ups = [job for job in self.oracle.jobs.values() if job.id not in behind]
        if not ups:
            return
        up = self.random.choice(ups)
        require = self.random.choice(REQUIRES)
        stage = None
        if up.stages and self.random.random() < 0.5:
            require, stage = "good", self.random.randrange(up.stages)
        if any(
            (e.up, e.down, e.stage) == (up.id, down.id, stage) for e in self.oracle.edges
        ):
            return
        self.log.append(("edge", up.id, down.id, require, stage))
        one, other = up.id, down.id

        async def work(cursor: DirectCursor) -> None:
            [locked] = await job_store.lock(cursor, [one])
            await add_edge(cursor, one, other, require, stage)
            if stage is not None and stage in await store.passed_stages(cursor, one):
                await job_store.pass_stage(cursor, one, stage)
            if locked.result is not None:
                await job_store.settle_done(cursor, one)

        self.books.act(work)
        self.oracle.add_edge(Edge(one, other, require, stage))

    def add_run(self) -> None:
        """Somebody asks for some of the same jobs."""
        if len(self.oracle.runs) > 3:
            return
        jobs = {
            job: self.random.random() < 0.8
            for job in self.oracle.jobs
            if self.random.random() < 0.6
        }
        self.log.append(("run", jobs))
        run = self.books.add_run_of(jobs)
        self.oracle.add_run(run, jobs)

    def change_capacity(self) -> None:
        """An operator changes how many may have a semaphore."""
        name = self.random.choice(self.names)
        capacity = self.random.choice((1, 1, 2, 3))
        self.log.append(("capacity", name, capacity))
        self.oracle.capacity[name] = capacity
        self.books.run(
            "UPDATE semaphore SET capacity = %s WHERE name = %s", (capacity, name)
        )

    # -- the comparison

    def compare(self) -> None:
        """The books say what the oracle says."""
        oracle = self.oracle
        found = self.books.value(
            _STATE, {"jobs": list(oracle.jobs), "runs": list(oracle.runs)}
        )
        began = self.began.timestamp()
        for number, job in oracle.jobs.items():
            row = found["jobs"][str(number)]
            not_before = row.pop("not_before")
            if not_before is not None:
                row["not_before"] = round(not_before - began, 3)
            if (place := row.pop("place")) is not None:
                _same(f"place of {number}", row["position"], row["should_stand"])
            _same(f"job {number} stands in line", place is not None, job.state == "ready")
            row.pop("position"), row.pop("should_stand")
            refused = {
                worker: round(until - began, 3)
                for worker, until in (row.pop("refused") or {}).items()
            }
            _same(
                f"refusals of {number}",
                {w: t for w, t in refused.items() if t > oracle.now},
                {w: t for w, t in job.refused.items() if t > oracle.now},
            )
            expected: dict[str, object] = {
                "state": job.state,
                "result": job.result,
                "root": job.root,
                "attempt": job.number,
                "blocked_by": len(oracle.open_edges(number)),
                "errors": job.errors,
                "failures": job.failures,
                "lost": job.lost,
                "cancelling": job.cancelling and job.state != "done",
                "worker": job.worker,
                "result_of_attempt": job.attempts[-1].result,
            }
            if job.not_before is not None:
                expected["not_before"] = round(job.not_before, 3)
            _same(f"job {number}", row, expected)
        for run, entry in oracle.runs.items():
            left = sum(
                required and oracle.jobs[job].state != "done"
                for job, required in entry.jobs.items()
            )
            _same(f"run {run}", found["runs"][str(run)], [entry.state, entry.result, left])
        _same(
            "edges",
            sorted(map(str, found["edges"] or [])),
            sorted(str([e.up, e.down, e.stage, e.saw]) for e in oracle.edges),
        )
        events = {
            (kind, number): count
            for kind, number, count in found["events"] or []
            # To the oracle who stands aside is as ready as others.
            if kind not in ("pipeline-job.done", "job.aside", "job.in_line")
        }
        _same("events", events, dict(oracle.events))

    def compare_counts(self) -> None:
        """The counters say how many there are."""
        rows = self.books.rows(
            "SELECT kind, state::text, result::text, jobs FROM job_counts WHERE class = %s",
            (self.line,),
        )
        real = Counter(
            ("build" if job.stages else "native", job.state, job.result)
            for job in self.oracle.jobs.values()
        )
        _same("counts", {row[:3]: row[3] for row in rows}, dict(real))


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Wrong(f"{what}: the books have {found}, it should be {expected}")


class OracleTests(SynchronousTestCase):
    def test_random_graphs_end_as_they_should(self) -> None:
        for first in range(SEED, SEED + GRAPHS, SHARED):
            books = Direct(fresh_dsn(self))
            try:
                for seed in range(first, min(first + SHARED, SEED + GRAPHS)):
                    self.play(books, seed)
            finally:
                books.close()
                self.doCleanups()

    def play(self, books: Direct, seed: int) -> None:
        game = Game(books, seed)
        try:
            game.play()
            game.compare_counts()
            if (found := books.act(audit)) != []:
                raise Wrong(f"the auditor says: {'; '.join(map(str, found))}")
            if game.random.random() < 0.1:
                books.run("SELECT fold_counts()")
                game.compare_counts()
        except Exception as error:
            log = "\n".join(map(str, game.log))
            raise AssertionError(f"HEADRACE_SEED={seed}: {error!r}\n{log}") from error

    def test_the_table_of_edges_is_the_one_of_the_master(self) -> None:
        for require, result in product(Require, Result):
            said = dependencies.judge(require, result).value
            self.assertEqual(judge(require.value, result.value), said)

    def test_the_oracle_notices(self) -> None:
        """It would be worth nothing otherwise."""
        books = Direct(fresh_dsn(self))
        self.addCleanup(books.close)
        game = Game(books, 3)
        job = min(game.oracle.jobs)
        for damage in (
            "UPDATE job SET errors = 7 WHERE id = %s",
            "UPDATE run_job SET required = NOT required WHERE job = %s",
            "INSERT INTO event (kind, job) VALUES ('job.done', %s)",
        ):
            game.compare()
            books.connection.autocommit = False
            with books.connection.cursor() as cursor:
                cursor.execute(damage, (job,))
                cursor.execute("UPDATE run SET open_jobs = open_jobs + 1")
                found = game.books
                with self.assertRaises(Wrong):
                    _compare_within(game, found)
            books.connection.rollback()


def _compare_within(game: Game, books: Direct) -> None:
    """Compare in the transaction that is open."""
    with books.connection.cursor() as cursor:
        cursor.execute(
            _STATE, {"jobs": list(game.oracle.jobs), "runs": list(game.oracle.runs)}
        )
        [[found]] = cursor.fetchall()
    game.books = _Fixed(found)  # type: ignore[assignment]
    try:
        game.compare()
    finally:
        game.books = books


class _Fixed:
    def __init__(self, found: Any) -> None:
        self._found = found

    def value(self, *_: Any) -> Any:
        return self._found
