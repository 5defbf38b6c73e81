"""A farm as it looks on a busy day, written straight into the tables.

Some hundred runs of several projects on five architectures, failures of all sorts, long
names, workers with different duties, jobs that run and jobs that wait.
"""

from __future__ import annotations

import hashlib
import json
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import zstandard
from psycopg2.extras import execute_values

ARCHITECTURES = ("amd64", "arm64", "ppc64el", "riscv64", "s390x")
PROJECTS = {
    "https://git.example.com/core/launch-control.git": (
        "build",
        "unit-tests",
        "integration",
    ),
    "https://git.example.com/core/query-planner.git": ("build", "test"),
    "https://git.example.com/web/storefront.git": ("lint", "build", "browser-tests"),
    "https://git.example.com/infra/image-factory.git": ("image",),
    "https://git.example.com/a-group/with-a-name-that-goes-on-for-a-while"
    "/and-a-project-that-needs-most-of-a-line-for-itself.git": ("build", "test"),
}
OWNERS = ("core", "web", "infra", "nightly", "ada", "grace")
REASONS = {
    "failure": "unit-tests:1 failed: exit status 1",
    "error": "the worker mill-3 lost the attempt: its disk is full",
    "timeout": "integration:0 took longer than 30 min",
    "malformed": "the pipeline names a job 'tset' that it does not define",
}
_CONFIGURATION = b"pipeline: []"


class Scene:
    """What was written: ids that tests ask for."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.failed: list[int] = []
        self.running: list[int] = []
        self.ready: list[int] = []
        self.logged = 0  #: a failed build with a log, files and two attempts


def furnish(dsn: str, runs: int = 220, seed: int = 7, *, quiet: bool = False) -> Scene:
    """Write the rows; what they are. On a ``quiet`` farm nothing runs and nobody waits."""
    scene = Scene()
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        _Writer(cursor, random.Random(seed), scene, quiet).write(runs)
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
    return scene


class _Writer:
    def __init__(
        self, cursor: Any, chance: random.Random, scene: Scene, quiet: bool
    ) -> None:
        self.quiet = quiet
        self.cursor = cursor
        self.chance = chance
        self.scene = scene
        self.now = datetime.now(UTC)

    def one(self, sql: str, *parameters: Any) -> Any:
        self.cursor.execute(sql, parameters)
        return self.cursor.fetchone()[0]

    def write(self, runs: int) -> None:
        self.configuration = hashlib.sha256(_CONFIGURATION).digest()
        self.cursor.execute(
            "INSERT INTO configuration VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (self.configuration, _CONFIGURATION.decode()),
        )
        self.classes = {
            each: self.one(
                """INSERT INTO job_class (architecture, isolation, series, tags)
                   VALUES (%s, 'chroot', '{noble}', '{}') RETURNING id""",
                each,
            )
            for each in ARCHITECTURES
        }
        self.workers()
        for number in range(runs):
            self.run(number, runs)
        self.log_of_a_failure()
        self.rest()

    def workers(self) -> None:
        rows = []
        for number in range(14):
            architecture = ARCHITECTURES[number % 5]
            offers = [
                {"isolation": "chroot", "architecture": architecture, "series": ["*"]}
            ]
            gone = self.quiet or number in (8, 13)
            rows.append(
                (
                    f"mill-{number + 1}"
                    if number != 11
                    else "a-worker-in-the-third-rack-on"
                    "-the-left-side-with-a-name-that-somebody-found-useful",
                    "offline" if gone else "connected",
                    None if gone else f"session-{number}",
                    None if gone else "m1",
                    "headrace 0.1.0, Linux 6.12",
                    json.dumps(offers),
                    ["big"] if number % 4 == 0 else [],
                    4 if number % 3 == 0 else 2,
                    self.now - timedelta(hours=30 + number),
                    self.now - timedelta(hours=5 * gone, seconds=number),
                )
            )
        execute_values(
            self.cursor,
            """INSERT INTO worker (name, state, session, master, software, offers, tags,
                                   slots, connected_at, last_heard_at) VALUES %s""",
            rows,
        )
        self.cursor.execute(
            """UPDATE worker SET duty = 'draining', duty_reason = 'a new disk',
                   duty_by = 'ada' WHERE name = 'mill-4';
               UPDATE worker SET duty = 'paused', duty_reason = 'the driver crashes',
                   duty_by = 'grace' WHERE name = 'mill-6'"""
        )

    def run(self, number: int, runs: int) -> None:
        chance = self.chance
        repository = chance.choice(list(PROJECTS))
        created = self.now - timedelta(minutes=(runs - number) * 7 - chance.random() * 5)
        is_new = number > runs - 8 and not self.quiet
        owner = chance.choice(OWNERS)
        digest = hashlib.sha1(f"{number} {repository}".encode()).hexdigest()
        run = self.one(
            """INSERT INTO run (repository, source_digest, configuration, requester, owner,
                   refs, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id""",
            repository,
            digest,
            self.configuration,
            chance.choice(("ada", "grace", "edsger", "a-bot-with-a-long-name")),
            owner,
            ["refs/heads/main"] if chance.random() < 0.6 else ["refs/heads/fix-the-mill"],
            created,
        )
        self.scene.runs.append(run)
        broken = chance.random() < 0.12
        made: list[tuple[int, str]] = []
        bad = False
        open_jobs = 0
        for name in PROJECTS[repository]:
            for architecture in ARCHITECTURES[: chance.choice((2, 3, 5))]:
                state, result = self.fate(is_new, broken, number)
                bad = bad or result in REASONS
                open_jobs += state != "done"
                job = self.job(
                    run,
                    repository,
                    digest,
                    name,
                    architecture,
                    owner,
                    created,
                    state,
                    result,
                )
                made.append((job, architecture))
        for place, (job, architecture) in enumerate(made):
            up = next((j for j, a in made[:place][::-1] if a == architecture), None)
            if up is not None:
                self.cursor.execute(
                    """INSERT INTO edge (up, down, up_stage, resolved_at, up_attempt)
                       VALUES (%s, %s, %s, farm_now(), 1)""",
                    (up, job, 0 if place % 3 == 0 else None),
                )
        if open_jobs:
            self.cursor.execute(
                "UPDATE run SET state = 'sealed', open_jobs = %s WHERE id = %s",
                (open_jobs, run),
            )
        else:
            self.cursor.execute(
                """UPDATE run SET state = 'done', result = %s, finished_at = %s
                   WHERE id = %s""",
                (
                    "failure" if bad else "success",
                    created + timedelta(minutes=chance.random() * 20 + 3),
                    run,
                ),
            )

    def fate(self, is_new: bool, broken: bool, number: int) -> tuple[str, str | None]:
        chance = self.chance
        if is_new and chance.random() < 0.6:
            return chance.choice(("running", "ready", "ready")), None
        if broken and chance.random() < 0.6:
            return "done", chance.choice(("failure", "failure", "error", "timeout"))
        if chance.random() < 0.02:
            return "done", chance.choice((*REASONS, "cancelled"))
        return "done", "reused" if chance.random() < 0.03 else "success"

    def job(
        self,
        run: int,
        repository: str,
        digest: str,
        name: str,
        architecture: str,
        owner: str,
        created: datetime,
        state: str,
        result: str | None,
    ) -> int:
        chance = self.chance
        waited = timedelta(seconds=chance.expovariate(1 / 40))
        ran = timedelta(seconds=30 + chance.expovariate(1 / 200))
        started = created + waited
        finished = started + ran
        if state == "running":
            started = self.now - timedelta(seconds=chance.random() * 400)
        reason = REASONS.get(
            result or "", "grace asked for it" if result == "cancelled" else ""
        )
        attempt = 2 if result == "error" else 1
        job = self.one(
            """INSERT INTO job (kind, state, result, reason, repository, source_digest,
                   name, cell, requester, owner, class, created_at, ready_at, started_at,
                   finished_at, attempt)
               VALUES ('build', %s, %s, %s, %s, %s,
                       %s, %s, 'ada', %s, %s, %s, %s, %s, %s, %s)
               RETURNING id""",
            *(
                state,
                result,
                reason,
                repository,
                digest,
                name,
                f"arch={architecture},series=noble",
                owner,
            ),
            *(self.classes[architecture], created, created),
            *(None if state == "ready" else started, finished if state == "done" else None),
            attempt,
        )
        self.cursor.execute("INSERT INTO run_job VALUES (%s, %s)", (run, job))
        stages = [[["lint", 0]], [["unit-tests", 0], ["unit-tests", 1]], [["package", 0]]]
        self.cursor.execute(
            "INSERT INTO build VALUES (%s, %s, 'noble', %s, '{0,1,2}', %s, %s)",
            (job, architecture, json.dumps(stages), self.configuration, '{"kind": "git"}'),
        )
        worker = self.worker_of(architecture)
        if attempt == 2:
            self.attempt(
                job, 1, worker, "error", reason, created, started, started + ran / 3
            )
        if state == "done":
            self.attempt(job, attempt, worker, result, reason, created, started, finished)
        else:
            self.cursor.execute(
                "INSERT INTO attempt (job, number, queued_at) VALUES (%s, 1, %s)",
                (job, created),
            )
        self.pipeline_jobs(job, attempt, state, result, reason, started, ran)
        if state == "running":
            self.scene.running.append(job)
            self.cursor.execute(
                """INSERT INTO running (job, attempt, worker, class, assigned_at,
                                        accepted_at)
                   VALUES (%s, 1, %s, %s, %s, %s)""",
                (job, worker, self.classes[architecture], started, started),
            )
        elif state == "ready":
            self.scene.ready.append(job)
            self.cursor.execute(
                "INSERT INTO ready VALUES (%s, queue_position(500000, %s), %s, 1)",
                (self.classes[architecture], job, job),
            )
        elif result in REASONS:
            self.scene.failed.append(job)
            if chance.random() < 0.45:
                self.cursor.execute(
                    """INSERT INTO classified (job, attempt, classification, note, link,
                           classified_by) VALUES (%s, %s, %s, %s, %s, 'ada')""",
                    (
                        *(job, attempt),
                        chance.choice(("known_issue", "infrastructure", "flaky")),
                        "the mirror gives half a file now and then",
                        "https://issues.example.com/4711",
                    ),
                )
        return int(job)

    def worker_of(self, architecture: str) -> str:
        place = ARCHITECTURES.index(architecture) + 5 * self.chance.choice((0, 0, 1))
        return f"mill-{place + 1}"

    def attempt(
        self,
        job: int,
        number: int,
        worker: str,
        result: str | None,
        reason: str,
        queued: datetime,
        started: datetime,
        finished: datetime,
    ) -> None:
        self.cursor.execute(
            """INSERT INTO attempt (job, number, worker, result, reason, queued_at,
                   assigned_at, started_at, finished_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            (job, number, worker, result, reason, queued, started, started, finished),
        )

    def pipeline_jobs(
        self,
        job: int,
        attempt: int,
        state: str,
        result: str | None,
        reason: str,
        started: datetime,
        ran: timedelta,
    ) -> None:
        if state == "ready":
            return
        places = (("lint", 0, 0, 0), ("unit-tests", 0, 1, 0), ("unit-tests", 1, 1, 1))
        for step, (name, index, stage, place) in enumerate((*places, ("package", 0, 2, 0))):
            begun = started + ran * (0.22 * step)
            ended = started + ran * (0.22 * step + 0.3)
            own, told = "done", "success"
            if state == "running":
                own = ("done", "running", "waiting", "waiting")[step]
            elif result in REASONS and step == 2:
                told = "failure"
            elif result in REASONS and step == 3:
                told = "unrun"
            over = own == "done"
            self.cursor.execute(
                """INSERT INTO pipeline_job (job, attempt, name, index, stage, place,
                       series, state, result, reason, started_at, finished_at)
                   VALUES (%s, %s, %s, %s, %s, %s, 'noble', %s, %s, %s, %s, %s)""",
                (
                    *(job, attempt, name, index, stage, place, own),
                    *(told if over else None, reason or "x" if told != "success" else ""),
                    None if own == "waiting" or told == "unrun" else begun,
                    ended if over and told != "unrun" else None,
                ),
            )

    def log_of_a_failure(self) -> None:
        job = self.one(
            """SELECT max(job) FROM pipeline_job JOIN job ON job.id = job
               WHERE job.state = 'done'"""
        )
        job = next(reversed(self.scene.failed), job)
        attempt = self.one("SELECT attempt FROM job WHERE id = %s", job)
        self.scene.logged = job
        lines = ["==> on worker mill-2", "fetching 6f1c0d2a from git.example.com"]
        for title in ("lint:0", "unit-tests:0", "unit-tests:1"):
            lines.append(f"== {title}: noble, amd64, chroot, stage 1")
            lines.append(f"-- run: make {title.partition(':')[0]}")
            for number in range(160):
                colour = (
                    f"\x1b[32mok\x1b[0m {number:4} "
                    if number % 9
                    else "\x1b[33mslow\x1b[0m "
                )
                lines.append(
                    f"{colour}test_{title.replace(':', '_')}_{number} (suite.Case) ... "
                    f"{number * 13 % 97} ms"
                )
            lines.append("downloading   0%\rdownloading  50%\rdownloading 100%")
        lines += [
            "\x1b[1;31mFAIL\x1b[0m: test_the_wheel_turns (mill.tests.Wheel)",
            "  \x1b[4mexpected\x1b[0m \x1b[38;5;208m12\x1b[0m, "
            "got \x1b[38;2;120;200;255m11\x1b[0m",
            "== unit-tests:1: failed after 71.3 s: exit status 1",
        ]
        text = ("\n".join(lines) + "\n").encode()
        self.cursor.execute(
            """INSERT INTO log_chunk (job, attempt, start, length, data)
               VALUES (%s, %s, 0, %s, %s)""",
            (job, attempt, len(text), zstandard.compress(text)),
        )
        self.cursor.execute(
            "UPDATE attempt SET log_length = %s WHERE job = %s AND number = %s",
            (len(text), job, attempt),
        )
        for path in (
            "dist/mill_1.2_amd64.deb",
            "reports/coverage.xml",
            "reports/junit.xml",
        ):
            digest = hashlib.sha256(path.encode()).digest()
            self.cursor.execute(
                "INSERT INTO blob VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (digest, 1000 * len(path) ** 2),
            )
            self.cursor.execute(
                "INSERT INTO artifact VALUES (%s, %s, 'lint', 0, %s, %s)",
                (job, attempt, path, digest),
            )

    def rest(self) -> None:
        self.cursor.execute(
            """INSERT INTO semaphore (name, capacity) VALUES ('licence', 2),
                   ('cap:nightly/s390x', 1);
               INSERT INTO queue_hold (scope, name, reason, held_by, until)
                   VALUES ('architecture', 's390x', 'the mainframe is serviced', 'ada',
                           farm_now() + interval '3 h');
               INSERT INTO failure_rule (pattern, classification, note, link, made_by)
                   VALUES ('Could not resolve .*mirror', 'infrastructure', 'the mirror',
                           'https://issues.example.com/12', 'ada'),
                          ('test_the_wheel_turns', 'flaky', 'it slips', '', 'grace')"""
        )
        if self.scene.running:
            self.cursor.execute(
                "INSERT INTO semaphore_hold VALUES ('licence', %s)",
                (self.scene.running[0],),
            )


def bring_workers_back(dsn: str) -> None:
    """A master that starts knows no session of before; here they go on."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """UPDATE worker SET state = 'connected', session = 's-' || name, master = 'm1'
               WHERE state = 'unreachable' OR state = 'offline'
                     AND last_heard_at > farm_now() - interval '1 h';
               UPDATE worker SET quarantined_at = farm_now(),
                   quarantine_reason = 'three different jobs ended as error on it'
               WHERE name = 'mill-3'"""
        )
        connection.commit()
