"""Forecasts that were told, and how many of them came true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildmaster.database import Cursor, Database
from buildmaster.forecast import Estimate
from buildmaster.status.questions import LARGEST_LIMIT
from buildmaster.store.documents.pages import Listing
from buildmaster.store.events import CURSOR

#: Forecasts that wait to be compared, at most: others are told and not remembered.
PENDING_LIMIT = 2000
#: Events that one round reads for the sketches of durations.
EVENTS = 5000


@dataclass(frozen=True)
class Told:
    """An interval that somebody was told; ``made_at`` in seconds since 1970."""

    job: int
    attempt: int
    class_id: int
    made_at: float
    played: Estimate
    told: Estimate


async def remember(cursor: Cursor, told: Sequence[Told]) -> None:
    """Keep the first forecast of each attempt, as long as there is room."""
    await cursor.run(
        """
        INSERT INTO forecast (job, attempt, class, made_at, played, low, high)
        SELECT t.job, t.attempt, t.class, to_timestamp(t.made_at),
               ARRAY[t.first, t.middle, t.last], t.low, t.high
        FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::double precision[],
                    %s::double precision[], %s::double precision[], %s::double precision[],
                    %s::double precision[], %s::double precision[])
             AS t (job, attempt, class, made_at, first, middle, last, low, high)
        JOIN job ON job.id = t.job AND job.attempt = t.attempt
        WHERE (SELECT count(*) FROM forecast) < %s
        ON CONFLICT DO NOTHING
        """,
        (
            [each.job for each in told],
            [each.attempt for each in told],
            [each.class_id for each in told],
            [each.made_at for each in told],
            [each.played.low for each in told],
            [each.played.middle for each in told],
            [each.played.high for each in told],
            [each.told.low for each in told],
            [each.told.high for each in told],
            PENDING_LIMIT,
        ),
    )


async def learn(cursor: Cursor) -> None:
    """Add to the sketches what ended, and compare forecasts with what came."""
    await cursor.run("SELECT fold_durations(%s)", (EVENTS,))
    await cursor.run("SELECT fold_forecasts()")


async def forget(cursor: Cursor, jobs: Sequence[int]) -> None:
    """Somebody moved these jobs: what was foretold of them says nothing any more."""
    await cursor.run("DELETE FROM forecast WHERE job = ANY (%s::bigint[])", (list(jobs),))


async def score_list(
    database: Database, *, after: int = 0, limit: int = LARGEST_LIMIT
) -> Listing:
    """By class, how many forecasts came true; those of all classes first (class null)."""
    items, last, is_more, cursor = await database.one(
        f"""
        WITH page AS MATERIALIZED (
            SELECT s.class, sum(early) AS early, sum(within) AS within, sum(late) AS late
            FROM forecast_score AS s WHERE s.class > %(after)s
            GROUP BY s.class ORDER BY s.class LIMIT %(limit)s + 1
        ), shown AS (
            SELECT * FROM page ORDER BY class LIMIT %(limit)s
        ), told AS (
            SELECT 0 AS place, NULL::integer AS class, sum(early) AS early,
                   sum(within) AS within, sum(late) AS late
            FROM forecast_score WHERE %(after)s = 0 HAVING count(*) > 0
            UNION ALL SELECT class, shown.* FROM shown
        )
        SELECT (SELECT coalesce(json_agg(json_build_object(
                    'id', coalesce(t.class, 0), 'kind', 'forecast', 'class', t.class,
                    'architecture', c.architecture, 'isolation', c.isolation,
                    'performs', c.performs, 'forecasts', t.early + t.within + t.late,
                    'early', t.early, 'within', t.within, 'late', t.late,
                    'share', round(t.within / (t.early + t.within + t.late), 3),
                    'nominal', 0.8) ORDER BY t.place), '[]')
                FROM told AS t LEFT JOIN job_class AS c ON c.id = t.class)::text,
               (SELECT max(class) FROM shown),
               (SELECT count(*) > %(limit)s FROM page), {CURSOR}
        """,
        {"after": after, "limit": limit},
    )
    return Listing(items, str(last) if is_more else None, cursor)
