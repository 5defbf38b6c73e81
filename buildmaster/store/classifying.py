"""Classes of failures, the rules that find them, and failures that are still to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.classification import MOST_RULES, Classification, FailureRule
from buildmaster.database import Cursor
from buildmaster.store.event_log import Event, write_events

#: Seconds for which a failure that a master reads is its own.
LEASE = 120.0
#: Failures that a new rule looks at, the newest first.
MOST_EARLIER = 10_000


@dataclass(frozen=True)
class UnreadFailure:
    """A failure whose log is to be looked through."""

    job: int
    attempt: int
    name: str
    repository: str | None
    reason: str
    taken_until: str  #: whose it is, as long as that stands there


@dataclass(frozen=True)
class Word:
    """What a failure is, who says so, and where more is told."""

    classification: Classification
    note: str
    link: str
    by: str
    rule: int | None = None


async def take_unread(cursor: Cursor, most: int) -> list[UnreadFailure]:
    """Some failures that nobody reads, for this master to read now."""
    rows = await cursor.rows(
        """
        WITH taken AS (
            UPDATE unread_failure AS u
            SET taken_until = farm_now() + make_interval(secs => %s)
            FROM (SELECT job, attempt FROM unread_failure WHERE taken_until < farm_now()
                  ORDER BY job DESC, attempt LIMIT %s FOR UPDATE SKIP LOCKED) AS due
            WHERE (u.job, u.attempt) = (due.job, due.attempt)
            RETURNING u.job, u.attempt, u.taken_until)
        SELECT t.job, t.attempt, j.name, j.repository, a.reason, t.taken_until::text
        FROM taken AS t JOIN job AS j ON j.id = t.job
        JOIN attempt AS a ON a.job = t.job AND a.number = t.attempt
        ORDER BY t.job, t.attempt
        """,
        (LEASE, most),
    )
    return [UnreadFailure(*row) for row in rows]


async def rules(cursor: Cursor) -> list[FailureRule]:
    """All rules."""
    rows = await cursor.rows(
        """
        SELECT id, pattern, classification::text, note, link, project, name
        FROM failure_rule ORDER BY id
        """
    )
    return [
        FailureRule(one, pattern, Classification(kind), note, link, project, name)
        for one, pattern, kind, note, link, project, name in rows
    ]


async def settle(cursor: Cursor, failure: UnreadFailure, word: Word | None) -> None:
    """A failure was read; it is what ``word`` says, unless somebody has said another.

    It stays unread if a rule that came meanwhile wants it to be read.
    """
    await cursor.run(
        """
        DELETE FROM unread_failure
        WHERE job = %s AND attempt = %s AND taken_until = %s::timestamptz
        """,
        (failure.job, failure.attempt, failure.taken_until),
    )
    if word is None:
        return
    # The rule may have been removed meanwhile, and its word with it.
    written = await cursor.run(
        """
        INSERT INTO classified
            (job, attempt, classification, note, link, classified_by, rule)
        SELECT %s, %s, %s::classification, %s, %s, %s, id FROM failure_rule WHERE id = %s
        ON CONFLICT DO NOTHING
        """,
        (
            failure.job,
            failure.attempt,
            word.classification.value,
            word.note,
            word.link,
            word.by,
            word.rule,
        ),
    )
    if written:
        await _tell(cursor, failure.job, failure.attempt, word)


async def classify(cursor: Cursor, job: int, word: Word) -> bool:
    """The job's current attempt, which has failed, is what ``word`` says.

    False: the job ended without an attempt.
    """
    row = await cursor.row(
        """
        INSERT INTO classified (job, attempt, classification, note, link, classified_by)
        SELECT job, number, %s::classification, %s, %s, %s FROM attempt
        WHERE (job, number) = (SELECT id, attempt FROM job WHERE id = %s)
        ON CONFLICT (job, attempt) DO UPDATE
        SET classification = excluded.classification, note = excluded.note,
            link = excluded.link, classified_by = excluded.classified_by,
            classified_at = farm_now(), rule = NULL
        RETURNING attempt
        """,
        (word.classification.value, word.note, word.link, word.by, job),
    )
    if row is None:
        return False
    await _tell(cursor, job, row[0], word)
    return True


async def unclassify(cursor: Cursor, job: int, by: str) -> bool:
    """Take back what the job's current attempt is said to be; False: nothing was said."""
    row = await cursor.row(
        """
        DELETE FROM classified AS c USING job AS j
        WHERE j.id = %s AND (c.job, c.attempt) = (j.id, j.attempt) RETURNING c.attempt
        """,
        (job,),
    )
    if row is None:
        return False
    payload = {"attempt": row[0], "classification": None, "by": by}
    await write_events(cursor, [Event("job.classified", job=job, payload=payload)])
    return True


async def add_rule(cursor: Cursor, rule: FailureRule, by: str, days: float) -> int | None:
    """The number of a new rule, which looks at failures of the last ``days``, too.

    None: there are `MOST_RULES` already.
    """
    await cursor.run("SELECT pg_advisory_xact_lock(hashtext('headrace.rules'))")
    row = await cursor.row(
        """
        INSERT INTO failure_rule
            (pattern, classification, note, link, project, name, made_by)
        SELECT %s, %s::classification, %s, %s, %s, %s, %s
        WHERE (SELECT count(*) FROM failure_rule) < %s
        RETURNING id
        """,
        (
            rule.pattern,
            rule.classification.value,
            rule.note,
            rule.link,
            rule.project,
            rule.name,
            by,
            MOST_RULES,
        ),
    )
    if row is None:
        return None
    await cursor.run(
        """
        INSERT INTO unread_failure (job, attempt)
        SELECT j.id, j.attempt FROM failed_job AS f JOIN job AS j ON j.id = f.job
        JOIN attempt AS a ON a.job = j.id AND a.number = j.attempt
        WHERE is_failure(j.result)
          AND j.finished_at > farm_now() - make_interval(secs => %s * 86400.0)
          AND (%s::text IS NULL OR j.name = %s)
          AND NOT EXISTS (SELECT FROM classified AS c
                          WHERE (c.job, c.attempt) = (j.id, j.attempt))
        ORDER BY j.id DESC LIMIT %s
        -- Whoever reads it at this moment does not know the rule.
        ON CONFLICT (job, attempt) DO UPDATE SET taken_until = '-infinity'
        """,
        (days, rule.name, rule.name, MOST_EARLIER),
    )
    return int(row[0])


async def remove_rule(cursor: Cursor, rule: int, by: str, *, forget: bool) -> int | None:
    """Remove a rule, with ``forget`` also what it said of failures: of how many.

    None: there is no such rule.
    """
    await cursor.run("SELECT pg_advisory_xact_lock(hashtext('headrace.rules'))")
    found = await cursor.row("SELECT FROM failure_rule WHERE id = %s FOR UPDATE", (rule,))
    if found is None:
        return None
    taken_back: Sequence[tuple[int, int]] = ()
    if forget:
        # In the order of ids, as all who lock several jobs do.
        await cursor.run(
            """
            SELECT FROM job WHERE id IN (SELECT job FROM classified WHERE rule = %s)
            ORDER BY id FOR NO KEY UPDATE
            """,
            (rule,),
        )
        rows = await cursor.rows(
            "DELETE FROM classified WHERE rule = %s RETURNING job, attempt", (rule,)
        )
        taken_back = [(int(job), int(attempt)) for job, attempt in rows]
        await write_events(
            cursor,
            [
                Event(
                    "job.classified",
                    job=job,
                    payload={"attempt": attempt, "classification": None, "by": by},
                )
                for job, attempt in sorted(taken_back)
            ],
        )
    await cursor.run("DELETE FROM failure_rule WHERE id = %s", (rule,))
    return len(taken_back)


async def _tell(cursor: Cursor, job: int, attempt: int, word: Word) -> None:
    payload = {
        "attempt": attempt,
        "classification": word.classification.value,
        "note": word.note,
        "link": word.link,
        "by": word.by,
        "rule": word.rule,
    }
    await write_events(cursor, [Event("job.classified", job=job, payload=payload)])
