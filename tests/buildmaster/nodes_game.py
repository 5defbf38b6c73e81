"""One random file in a real queue and in the oracle: what happens to its runs, compared."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

from buildmaster import intervention
from buildmaster.matching import TAKES_HANDED_FILES
from buildmaster.orders import OrderMaker
from buildmaster.recording import record
from buildmaster.requests import Refusal, RerunRequest
from buildmaster.rerunning import rerun
from buildmaster.reruns import RerunScope
from buildmaster.settling import Settled
from buildmaster.store import queue
from buildmaster.store.step import AttemptEnd, Claim, HungryWorker
from protocol.messages import FileMade, PipelineJobEnded, Report
from protocol.order import Order
from protocol.results import Result
from tests.buildmaster.nodes_source import Commit, submit
from tests.buildmaster.nodes_state import compare, same
from tests.direct import POLICY, Direct, DirectCursor
from tests.oracle import End, Job, Refused, Wrong
from tests.oracle_expansion import Expansion, Node, WrongFile, cell_text
from tests.oracle_files import TRIGGERS, File, changed
from tests.oracle_reuse import Origin
from tests.oracle_submission import Asked, NodeOracle

WORKERS = ("ant", "bee")
SLOTS = 12
#: What files may hold; the database knows each as a blob.
CONTENTS = [hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]
RESULTS = (*("success",) * 12, *("failure",) * 3, *("error",) * 2, "timeout", "malformed")
_ORDERS = OrderMaker("http://farm/files", lambda job, attempt: "token", 1.0)


def prepare(books: Direct) -> None:
    """Workers and blobs, in a new database."""
    for name in WORKERS:
        books.add_worker(name, SLOTS)
    offers = [
        {"isolation": "chroot", "architecture": one, "series": ["*"]}
        for one in ("amd64", "arm64")
    ]
    books.run(
        "UPDATE worker SET offers = %s::jsonb, performs = '{}', tags = %s::text[]",
        (json.dumps(offers), [TAKES_HANDED_FILES]),
    )
    books.run(
        "INSERT INTO blob (sha256, size) SELECT decode(unnest(%s::text[]), 'hex'), 1",
        (CONTENTS,),
    )


class Game:
    """A file, its submissions, and what becomes of them, in the database and beside it."""

    def __init__(
        self, books: Direct, number: int, began: datetime, file: File, seed: int
    ) -> None:
        self.books = books
        self.number = number  #: no other game of this database has it
        self.file = file
        self.random = Random(seed)
        self.oracle = NodeOracle(POLICY.delays, POLICY.refusal)
        self.oracle.workers = dict.fromkeys(WORKERS, SLOTS)
        self.log: list[Any] = []
        self.reports: Counter[tuple[int, int]] = Counter()
        self.makes: dict[str, str] | None = None  #: what all jobs make; None: this and that
        self.commits: dict[str, Commit] = {}
        self.content = {"": 0, "a": 0, "b": 0, "c": 0, "d": 0, "shared": 0, "docs": 0}
        self.words = dict.fromkeys([*file["jobs"]], 0)
        self.last: tuple[str, File] | None = None
        books.set_clock(began)
        # It goes on in the same way whatever was played before it in the same books.
        books.run("DELETE FROM share")
        books.run(
            """
            SELECT setval(name, (last / 100 + 1) * 100 + 80)
            FROM pg_get_serial_sequence('job', 'id') AS name,
                 LATERAL (SELECT coalesce(max(id), 0) AS last FROM job) AS given
            """
        )

    # -- submissions

    def submit(self, is_first: bool = False) -> bool:
        """Ask for a commit, perhaps the same one again; whether it was accepted."""
        chance = self.random
        if is_first or self.last is None or chance.random() < 0.65:
            if not is_first:
                self._change()
            self.last = f"{self.number:08x}{len(self.commits):032x}", self.file
        commit, file = self.last
        domain = chance.choice(("trusted",) * 8 + ("stranger",))
        repository = chance.choice(("p",) * 10 + ("fork",))
        return self.ask(
            Origin(f"https://git.example/{repository}-{self.number}", commit, domain),
            file,
            chance.choice((None, *TRIGGERS)),
            force=chance.random() < 0.15,
        )

    def _change(self) -> None:
        """What another commit has that the last one had not."""
        chance = self.random
        for path in self.content:
            if path and chance.random() < 0.15:
                self.content[path] = chance.choice((self.content[path] + 1, 0))
        for job in self.words:
            if chance.random() < 0.05:
                self.words[job] += 1
        self.file = changed(self.file, chance)

    def ask(
        self, origin: Origin, file: File, trigger: str | None = None, force: bool = False
    ) -> bool:
        """Submit a commit, as it was when it was first submitted; whether it was taken."""
        commit = self.commits.setdefault(origin.commit, self._commit(file))
        self.log.append(("submit", origin, trigger, "force" if force else "", commit))
        expansion = Expansion(commit.file, trigger)
        try:
            run = submit(self.books, origin, commit, trigger, force)
        except Refusal as refusal:
            self.log.append(("refused", str(refusal), refusal.problems))
            run = None
        asked = Asked(origin, expansion, commit.words, commit.content, force)
        before = copy.deepcopy(self.oracle)
        try:
            nodes = {(one.name, cell_text(one.cell)): one for one in expansion.nodes()}
            expansion.needs()
            if run is not None:
                asked.ids = self._ids(run, nodes)
            else:
                # The numbers that it would have had, of those that are new.
                asked.ids = {
                    node: before.known.get((origin, node), -place)
                    for place, node in enumerate(nodes.values(), 1)
                }
            self.oracle.submit(run or -1, asked)
        except (WrongFile, Refused) as error:
            self.oracle = before
            same(f"refused, for {error}", run is None, True)
            return False
        same("refused", run is None, False)
        named = {
            f"{node.name} {cell_text(node.cell)}": job for node, job in asked.ids.items()
        }
        self.log.append(("jobs", named))
        return True

    def _commit(self, file: File) -> Commit:
        words = {name: f"{self.number} {word}" for name, word in self.words.items()}
        file = copy.deepcopy(file)
        for name, job in file["jobs"].items():
            if "run" in job:
                job["run"] = words[name]
        content = {path: f"{self.number} {path} {v}" for path, v in self.content.items()}
        content[""] = str(sorted(content.items()))
        return Commit(file, words, content)

    def _ids(self, run: int, nodes: dict[tuple[str, str], Node]) -> dict[Node, int]:
        rows = self.books.rows(
            """
            SELECT job.name, job.cell, job.part, job.id
            FROM run_job JOIN job ON job.id = run_job.job WHERE run_job.run = %s
            ORDER BY job.id
            """,
            (run,),
        )
        same(
            "nodes",
            sorted((name, cell, part) for name, cell, part, _ in rows),
            sorted((*key, 0) for key in nodes),
        )
        return {nodes[name, cell]: job for name, cell, _, job in rows}

    # -- the middle

    def play(self) -> None:
        """A few submissions, and acts between; the books are compared after each."""
        if not self.submit(is_first=True):
            return
        self.compare()
        for _ in range(self.random.choice((1, 2, 2, 3))):
            for _ in range(self.random.randint(4, 16)):
                self.act()
            if self.random.random() < 0.6:
                self.drain(*["success"] * 6, "failure")
            self.submit()
            self.compare()
        for _ in range(10):
            self.act()
        self.drain()
        self.compare()

    def compare(self) -> None:
        """The books say what the oracle says."""
        compare(self.books, self.oracle)

    def act(self) -> None:
        """Something happens."""
        acts: list[Callable[[], None]] = [
            *[self.claim] * 5,
            *[self.end] * 7,
            self.let_time_pass,
            self.cancel,
            self.retry,
            self.release,
            *[self.rerun] * 2,
        ]
        self.random.choice(acts)()
        self.compare()

    def _later(self, seconds: float) -> None:
        self.oracle.pass_time(seconds)
        self.books.pass_time(seconds)

    def drain(self, *results: str) -> None:
        """Whatever can still be done is done, and ends as one of ``results``."""
        for _ in range(60):
            jobs = self.oracle.jobs.values()
            if all(job.state == "done" for job in jobs):
                return
            self.let_time_pass()
            for job in list(jobs):
                if job.state == "parked":
                    self._release(job.id)
            self.claim(whole=True)
            for job in [job for job in jobs if job.is_at_work]:
                self.end_one(job, self.random.choice(results or ("success",)))
            self.compare()
        raise Wrong("something waits for ever")

    # -- what workers do

    def claim(self, whole: bool = False) -> None:
        """Some worker is hungry; what need not run ends as soon as it is claimed."""
        chance = self.random
        names = [name for name in WORKERS if whole or chance.random() < 0.7]
        hungry = [
            HungryWorker(
                name,
                f"s-{name}",
                0,
                min(self.oracle.free(name), 99 if whole else chance.randint(1, 4)),
            )
            for name in names
        ]
        classes = self.books.rows("SELECT id FROM job_class ORDER BY id")
        stepped = self.books.step(workers=hungry, classes=[one for (one,) in classes])
        claims = sorted(stepped.claims, key=lambda claim: claim.job)
        self.log.append(("claim", [(claim.job, claim.worker) for claim in claims]))
        for claim in claims:
            self.oracle.claim(claim.job, claim.worker)
        for claim in claims:
            self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        job = claim.job
        instead = self.oracle.begin(job)
        order = self.books.act(lambda cursor: self._order(cursor, job, claim.attempt))
        found = order.result.value if isinstance(order, Settled) else None
        same(f"how job {job} ends instead of running", found, instead)
        if isinstance(order, Settled):
            self.log.append(("settled", job, found))
            end = AttemptEnd(job, claim.attempt, order.result, str(order), claim.worker)
            self.books.step([end])
            self.oracle.end_instead(job, str(found), claim.worker)
            return
        facts = self.oracle.facts[job]
        packages = order.variables.get("CI_PACKAGES")
        same(f"packages of {job}", packages, " ".join(facts.changed) or None)
        same(
            f"files that job {job} gets",
            {
                one.job: {file.path: file.sha256 for file in one.files}
                for one in order.handed
            },
            self.oracle.handed(job),
        )
        self.books.step(accepted=[(job, claim.attempt, claim.worker)])
        self.oracle.accept(job, claim.attempt, claim.worker)

    @staticmethod
    async def _order(cursor: DirectCursor, job: int, attempt: int) -> Order | Settled:
        try:
            return await _ORDERS.make(cursor, job, attempt, settling=True)
        except Settled as settled:
            return settled

    def end(self) -> None:
        """A job ends, well or not, or gets one stage further."""
        job = self._some("running")
        if job is not None:
            self.end_one(job, self.random.choice(RESULTS))

    def end_one(self, job: Job, result: str) -> None:
        """A job that runs ends so."""
        chance = self.random
        left = job.stages - len(job.attempts[-1].passed)
        for _ in range(
            left if result == "success" else chance.randint(0, max(0, left - 1))
        ):
            self._pass_stage(job)
        if self.oracle.facts[job.id].scope == "component":
            # Which of several went out last must be known.
            self._later(1.0)
        exit_status = chance.choice((None, 7, 8)) if result == "failure" else None
        worker = str(job.worker)
        end = End(job.id, job.number, result, worker, exit_status)
        self.log.append(("end", end))
        told = AttemptEnd(
            job.id,
            job.number,
            Result(result),
            "" if result == "success" else "it broke",
            worker,
            exit_status=exit_status,
        )
        stepped = self.books.step([told])
        same("became", stepped.ended, self.oracle.end([end]))

    def _pass_stage(self, job: Job) -> None:
        stage = len(job.attempts[-1].passed)
        key = (job.id, job.number)
        self.reports[key] += 1
        files = self.makes if self.makes is not None else self._files()
        body = PipelineJobEnded(
            name=self.oracle.facts[job.id].stages[stage],
            index=0,
            at=0.0,
            result=Result.SUCCESS,
            files=tuple(
                FileMade(path=path, sha256=sha256, size=1) for path, sha256 in files.items()
            ),
        )
        report = Report(job=job.id, attempt=job.number, number=self.reports[key], body=body)
        worker = str(job.worker)
        self.log.append(("pass stage", job.id, stage, files))
        self.books.act(lambda cursor: record(cursor, worker, [report], POLICY))
        self.oracle.make(job.id, stage, files)
        self.oracle.pass_stage(job.id, stage)

    def _files(self) -> dict[str, str]:
        """What a pipeline job makes: often the same, whatever it is made of."""
        usual, *others = CONTENTS
        if self.random.random() < 0.7:
            return {"p.deb": usual}
        return {
            path: self.random.choice(others)
            for path in ("p.deb", "p.log")
            if self.random.random() < 0.7
        }

    def let_time_pass(self) -> None:
        """What masters do each second, once."""
        seconds = self.random.choice((1.0, 15.0, 30.0, 200.0))
        self.log.append(("time", seconds))
        self._later(seconds)
        self.books.act(queue.settle_cancels)
        self.books.act(queue.forget_vain_refusals)
        self.oracle.forget_vain_refusals(())

    # -- what people do

    def _some(self, *states: str) -> Job | None:
        jobs = [job for job in self.oracle.jobs.values() if job.state in states]
        return self.random.choice(jobs) if jobs else None

    def cancel(self) -> None:
        """Somebody stops a job, or a run."""
        if self.random.random() < 0.2:
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
        number = job.id
        self.log.append(("retry", number))
        self._both(
            lambda cursor: intervention.retry_job(cursor, number, "ann"),
            lambda: self.oracle.retry(number),
        )

    def rerun(self) -> None:
        """Somebody runs several jobs of a run again, perhaps none."""
        chance = self.random
        run = chance.choice(list(self.oracle.runs))
        scopes: tuple[RerunScope, ...] = ("failed", "from-here", "from-here", "node")
        scope = chance.choice(scopes)
        some = self.oracle.facts[chance.choice(list(self.oracle.runs[run].jobs))].node
        job = some.job if scope != "failed" or chance.random() < 0.2 else None
        package = some.package if chance.random() < 0.3 else None
        cell = cell_text(some.cell[:1]) if chance.random() < 0.2 else ""
        self.rerun_some(run, scope, job, package, cell)

    def rerun_some(
        self,
        run: int,
        scope: RerunScope,
        job: str | None,
        package: str | None = None,
        cell: str = "",
    ) -> None:
        """Somebody runs these again."""
        self.log.append(("rerun", run, scope, job, package, cell))
        asked = RerunRequest(scope=scope, job=job, package=package, cell=cell or None)

        async def really(cursor: DirectCursor) -> list[int]:
            return list((await rerun(cursor, run, asked, "ann")).jobs)

        self._both(really, lambda: self.oracle.rerun(run, scope, job, package, cell))

    def _both(self, really: Any, ideally: Callable[[], Any]) -> None:
        before = copy.deepcopy(self.oracle)
        try:
            found, why = self.books.act(really), ""
        except Refusal as refusal:
            found, why = None, str(refusal)
        try:
            expected = ideally()
        except Refused:
            self.oracle = before
            same("refused", found, None)
            return
        if why:
            raise Wrong(f"refused: {why}")
        if expected is not None:
            same("jobs", found, expected)

    def release(self) -> None:
        """Somebody lets a job go, which may wait for nobody."""
        job = self._some("parked") or self._some("waiting", "ready", "done")
        if job is not None:
            self._release(job.id)

    def _release(self, number: int) -> None:
        self.log.append(("release", number))
        (found,) = self.books.rows("SELECT open_gate(%s)", (number,))[0]
        same("released", found, self.oracle.release(number))
