"""Workflows and schedules as they look on a busy day, written straight into the tables."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

CAUSE = """\
Traceback (most recent call last):
  File "/srv/headrace/handler.py", line 41, in run
    await ctx.wait_condition(lambda: self.ended["srpm"], name="srpm built")
  File "/srv/headrace/handler.py", line 41, in <lambda>
    await ctx.wait_condition(lambda: self.ended["srpm"], name="srpm built")
KeyError: 'srpm'
"""


class WorkflowScene:
    """What was written: ids that tests ask for, by a word."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}


def furnish_workflows(
    dsn: str, job: int | None = None, run: int | None = None
) -> WorkflowScene:
    """Write the rows; what they are. ``job`` and ``run`` are what one of them started."""
    scene = WorkflowScene()
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        writer = _Writer(cursor, scene)
        writer.waiting(job, run)
        writer.parked()
        writer.over()
        writer.long()
        writer.schedules(run)
        connection.commit()
    return scene


class _Writer:
    def __init__(self, cursor: Any, scene: WorkflowScene) -> None:
        self.cursor = cursor
        self.scene = scene
        self.now = datetime.now(UTC)

    def ago(self, **span: float) -> datetime:
        return self.now - timedelta(**span)

    def workflow(self, word: str, name: str, class_: str, **columns: Any) -> int:
        columns = {"requester": "person ada", "owner": "core", **columns}
        names = ", ".join(columns)
        self.cursor.execute(
            f"""INSERT INTO workflow (name, class, version, {names})
                VALUES (%s, %s, 1, {", ".join(["%s"] * len(columns))}) RETURNING id""",
            (name, class_, *columns.values()),
        )
        [found] = self.cursor.fetchone()
        self.scene.ids[word] = found
        return int(found)

    def event(
        self,
        workflow: int,
        n: int,
        at: datetime,
        type: str,
        *,
        seq: int | None = None,
        name: str | None = None,
        payload: Any = None,
        by: str | None = None,
    ) -> None:
        self.cursor.execute(
            """INSERT INTO workflow_event (workflow, generation, n, at, type, seq, name,
                                           payload, by, dedupe_key)
               VALUES (%s, 1, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)""",
            (
                *(workflow, n, at, type, seq, name),
                *(None if payload is None else json.dumps(payload), by, f"event {n}"),
            ),
        )

    def command(
        self,
        workflow: int,
        seq: int,
        event: int,
        at: datetime,
        kind: str,
        name: str,
        **more: Any,
    ) -> None:
        due = more.pop("due", None)
        options = {} if due is None else {"due": int(due.timestamp() * 1e6)}
        self.cursor.execute(
            """INSERT INTO workflow_command (workflow, generation, seq, event, kind, name,
                   arguments, options, job, run, child, given_at)
               VALUES (%s, 1, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s, %s, %s)""",
            (
                *(workflow, seq, event, kind, name, json.dumps(more.get("arguments"))),
                *(json.dumps(options), more.get("job"), more.get("run")),
                *(more.get("child"), at),
            ),
        )

    def waiting(self, job: int | None, run: int | None) -> None:
        """One that has come half of its way, with a parent and a child."""
        micros = [
            int(self.ago(minutes=each).timestamp() * 1e6) for each in (38, 12, 11, -49)
        ]
        parent = self.workflow(
            *("parent", "release-2026.11", "Release"),
            position=1,
            created_at=self.ago(hours=2),
            waits=json.dumps(
                [{"what": "child", "name": "BuildHandler", "since": micros[0], "seq": 0}]
            ),
        )
        self.event(parent, 0, self.ago(hours=2), "started", by="person ada")
        waits = [
            {"what": "condition", "name": "binaries built", "since": micros[1], "seq": 3}
            | {"until": micros[3]},
            {"what": "job", "name": "smoke test", "since": micros[2], "seq": 4},
            {"what": "child", "name": "Notify", "since": micros[2], "seq": 5},
        ]
        one = self.workflow(
            *("waiting", "build-launch-control-4711", "BuildHandler"),
            position=6,
            commands=6,
            parent=parent,
            parent_generation=1,
            parent_seq=0,
            requester="workflow release-2026.11",
            created_at=self.ago(minutes=40),
            changed_at=self.ago(minutes=11),
            deadline=self.ago(hours=-20),
            arguments=json.dumps(["launch-control", "6f1c0d2a", ["f42", "el9"]]),
            waits=json.dumps(waits),
        )
        child = self.workflow(
            *("child", "build-launch-control-4711/1.5", "Notify"),
            parent=one,
            parent_generation=1,
            parent_seq=5,
            position=1,
            created_at=self.ago(minutes=11),
            waits=json.dumps([{"what": "sleep", "name": "a day", "since": micros[2]}]),
        )
        self.event(child, 0, self.ago(minutes=11), "started")
        self.command(parent, 0, 0, self.ago(minutes=40), "child", "BuildHandler", child=one)
        self.event(one, 0, self.ago(minutes=40), "started", by="workflow release-2026.11")
        self.command(
            *(one, 0, 0, self.ago(minutes=40), "local", "submit_source"),
            arguments=["launch-control", "6f1c0d2a"],
        )
        self.event(one, 1, self.ago(minutes=39), "completed", seq=0, payload=17)
        self.command(
            *(one, 1, 1, self.ago(minutes=39), "timer", "srpm built"),
            due=self.ago(minutes=-21),
        )
        self.command(
            *(one, 2, 1, self.ago(minutes=39), "build", "check"),
            run=run,
        )
        self.event(
            *(one, 2, self.ago(minutes=24), "signal"),
            name="build_ended",
            payload={"chroot": "srpm", "ok": True, "log": "x" * 300},
            by="webhook copr",
        )
        self.event(
            *(one, 3, self.ago(minutes=18), "completed"),
            seq=2,
            payload={"run": run, "result": "failure"},
        )
        self.command(
            *(one, 3, 3, self.ago(minutes=12), "timer", "binaries built"),
            due=self.ago(minutes=-49),
        )
        self.event(
            *(one, 4, self.ago(minutes=12), "signal"),
            name="build_ended",
            payload=["f42", True],
            by="webhook copr",
        )
        self.command(one, 4, 4, self.ago(minutes=11), "job", "smoke test", job=job)
        self.command(one, 5, 4, self.ago(minutes=11), "child", "Notify", child=child)
        self.event(
            *(one, 5, self.ago(minutes=11), "signal"),
            name="note",
            payload=["it goes well"],
            by="person ada",
        )

    def parked(self) -> None:
        one = self.workflow(
            *("parked", "build-storefront-12", "BuildHandler"),
            state="parked",
            reason="its code raised KeyError: 'srpm'",
            cause=CAUSE,
            tries=4,
            next_try=self.ago(minutes=-3),
            position=1,
            created_at=self.ago(hours=5),
            changed_at=self.ago(minutes=2),
            waits=json.dumps(
                [
                    {
                        "what": "local",
                        "name": "submit_source",
                        "since": int(self.ago(hours=5).timestamp() * 1e6),
                        "seq": 0,
                    }
                ]
            ),
        )
        self.event(one, 0, self.ago(hours=5), "started", by="token ci")
        self.command(one, 0, 0, self.ago(hours=5), "local", "submit_source")

    def over(self) -> None:
        for number, (result, reason) in enumerate(
            (
                ("success", ""),
                ("failure", "the source package did not build"),
                ("cancelled", "cancelled by person grace: not needed"),
                ("timeout", "its time of 24 h was over"),
            )
        ):
            one = self.workflow(
                *(result, f"build-query-planner-{number}", "BuildHandler"),
                state="done",
                result=result,
                reason=reason,
                value=json.dumps({"told": "built"}) if not reason else None,
                position=2,
                created_at=self.ago(hours=26 + number),
                changed_at=self.ago(hours=25 + number),
                finished_at=self.ago(hours=25 + number),
            )
            self.event(one, 0, self.ago(hours=26 + number), "started", by="token ci")
            self.command(one, 0, 0, self.ago(hours=26 + number), "local", "submit_source")
            self.event(
                *(one, 1, self.ago(hours=25, minutes=9), "completed"), seq=0, payload=17
            )

    def long(self) -> None:
        """One of 450 events."""
        one = self.workflow(
            *("long", "watch-the-mirrors", "Watch"),
            position=450,
            created_at=self.ago(days=9),
            waits=json.dumps(
                [
                    {
                        "what": "sleep",
                        "name": "an hour",
                        "since": int(self.now.timestamp() * 1e6),
                        "seq": 449,
                    }
                ]
            ),
        )
        for n in range(450):
            at = self.ago(days=9) + timedelta(minutes=28.8 * n)
            if n == 0:
                self.event(one, 0, at, "started", by="schedule mirrors")
            else:
                self.event(one, n, at, "fired", seq=n - 1)
            self.command(
                *(one, n, n, at, "timer", "an hour"), due=at + timedelta(minutes=28.8)
            )

    def schedules(self, run: int | None) -> None:
        source = {"kind": "git", "repository": "https://g.example/a.git"}
        planned: list[tuple[str, str, str, bool, str, str, dict[str, Any]]] = [
            (
                *("nightly", "30 2 * * mon-fri", "Europe/Berlin", False, "skip", "last"),
                {"run": {"source": source}},
            ),
            (
                *("report", "@daily", "America/New_York", False, "queue", "all"),
                {"workflow": {"class": "Report", "arguments": []}},
            ),
            (
                *("tidy", "*/10 * * * *", "UTC", True, "replace", "none"),
                {"jobs": {"jobs": [{"performs": "tidy"}]}},
            ),
        ]
        for name, cron, zone, paused, overlap, catch_up, starts in planned:
            self.cursor.execute(
                """INSERT INTO schedule (name, cron, zone, starts, overlap, catch_up, owner,
                       made_by, paused, next_at)
                   VALUES (%s, %s, %s, %s, %s, %s, 'core', 'person ada', %s, %s)""",
                (
                    *(name, cron, zone, json.dumps(starts), overlap, catch_up, paused),
                    None if paused else self.ago(hours=-5),
                ),
            )
        fates = ("started", "started", "skipped", "failed", "started")
        for number, state in enumerate(fates):
            self.cursor.execute(
                """INSERT INTO firing (schedule, at, state, reason, run, decided_at)
                   SELECT id, %s, %s, %s, %s, farm_now() FROM schedule
                   WHERE name = 'nightly'""",
                (
                    *(self.ago(days=number, hours=3), state),
                    {
                        "skipped": "what was started before is still under way",
                        "failed": "the repository does not answer",
                    }.get(state, ""),
                    run if state == "started" else None,
                ),
            )
        self.cursor.execute(
            """INSERT INTO firing (schedule, at, state, workflow, decided_at)
               SELECT id, %s, 'started', %s, farm_now() FROM schedule
               WHERE name = 'report'""",
            (self.ago(hours=3), self.scene.ids["success"]),
        )
