-- How long jobs took, how many stand before one, and how good forecasts were.

-- Equal to buildmaster.durations.bucket.
CREATE FUNCTION duration_bucket(seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN seconds > 2.0 ^ -10
                THEN least(119, floor((ln(seconds) / ln(2.0) + 10) * 4))::integer
                ELSE 0 END
$$;

-- Add to a sketch what was counted since; the older of a full one fades.
CREATE FUNCTION add_to_sketch(old real[], new real[]) RETURNS real[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg((coalesce(each.old, 0) * CASE WHEN whole.jobs > 200 THEN 0.5 ELSE 1 END
                      + coalesce(each.new, 0))::real ORDER BY each.place)
    FROM unnest(old, new) WITH ORDINALITY AS each (old, new, place)
    CROSS JOIN (SELECT sum(u) AS jobs FROM unnest(old) AS u) AS whole
$$;
CREATE FUNCTION sketch_of(buckets integer[]) RETURNS real[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(coalesce(c.jobs, 0)::real ORDER BY n)
    FROM generate_series(0, 119) AS n
    LEFT JOIN (SELECT bucket, count(*) AS jobs FROM unnest(buckets) AS bucket
               GROUP BY bucket) AS c ON c.bucket = n
$$;

-- How often durations fell into each bucket, the older ones fading: of a kind, name and
-- class of jobs, and (name '', class 0) of all jobs of a kind.
CREATE TABLE duration_sketch (
    kind     text NOT NULL,
    name     text NOT NULL,
    class    integer NOT NULL,
    counts   real[] NOT NULL CHECK (cardinality(counts) = 120),
    seen_at  timestamptz NOT NULL DEFAULT farm_now(),
    PRIMARY KEY (kind, name, class)
);
CREATE INDEX duration_sketch_seen ON duration_sketch (seen_at);

-- Up to where the event log was read for the sketches.
CREATE TABLE duration_mark (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    transaction  xid8 NOT NULL,
    id           bigint NOT NULL
);
INSERT INTO duration_mark (transaction, id)
    SELECT place.transaction, place.id FROM (
        (SELECT transaction, id FROM event ORDER BY transaction DESC, id DESC
         OFFSET 5000 LIMIT 1)
        UNION ALL SELECT '0'::xid8, 0) AS place
    ORDER BY place.transaction DESC LIMIT 1;

-- Add what ended since the last time to the sketches. Looks at so many events at most, and
-- passes over the rest: the sketches are samples. Nothing while somebody else does.
CREATE FUNCTION fold_durations(most integer, rows_kept integer DEFAULT 10000) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    seen duration_mark;
    newest record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('headrace.fold_durations')) THEN
        RETURN;
    END IF;
    SELECT * INTO seen FROM duration_mark;
    SELECT e.transaction, e.id INTO newest FROM event AS e
    WHERE e.transaction < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY e.transaction DESC, e.id DESC LIMIT 1;
    IF newest IS NULL OR (newest.transaction, newest.id) <= (seen.transaction, seen.id) THEN
        RETURN;
    END IF;
    WITH news AS MATERIALIZED (
        SELECT e.kind, e.job, e.payload FROM event AS e
        WHERE (e.transaction, e.id) > (seen.transaction, seen.id)
          AND e.transaction < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY e.transaction, e.id LIMIT most
    ), took AS (
        SELECT j.kind, j.name, j.class, duration_bucket(
                   extract(epoch FROM a.finished_at - a.assigned_at)::double precision)
                   AS bucket
        FROM news AS n
        JOIN attempt AS a ON a.job = n.job AND a.number = (n.payload ->> 'attempt')::integer
        JOIN job AS j ON j.id = n.job
        WHERE n.kind = 'job.done' AND a.assigned_at IS NOT NULL
          AND a.result IS DISTINCT FROM 'cancelled'
    )
    INSERT INTO duration_sketch AS old (kind, name, class, counts)
        SELECT kind, keys.name, keys.class, sketch_of(array_agg(bucket))
        FROM took CROSS JOIN LATERAL (
            VALUES ('', 0), (took.name, took.class)) AS keys (name, class)
        GROUP BY kind, keys.name, keys.class
        ON CONFLICT ON CONSTRAINT duration_sketch_pkey DO UPDATE
        SET seen_at = excluded.seen_at, counts = add_to_sketch(old.counts, excluded.counts);
    UPDATE duration_mark SET transaction = newest.transaction, id = newest.id;
    DELETE FROM duration_sketch AS s USING (
        SELECT kind, name, class FROM duration_sketch
        ORDER BY seen_at DESC OFFSET rows_kept) AS past
    WHERE (s.kind, s.name, s.class) = (past.kind, past.name, past.class);
END $$;

-- How many jobs of these classes stand before a place in the line: exact below "most".
CREATE FUNCTION count_before(classes integer[], place bigint, the_job bigint, most integer)
RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM (
        SELECT FROM unnest(classes) AS c (id)
        CROSS JOIN LATERAL (
            SELECT FROM ready AS r
            WHERE r.class = c.id AND (r.position, r.job) < (place, the_job)
            LIMIT most) AS line
        LIMIT most) AS counted
$$;

-- About how many of two groups of classes, from some pages of the line taken by chance.
CREATE FUNCTION sample_before(own_classes integer[], all_classes integer[], place bigint)
RETURNS TABLE (own double precision, whole double precision) LANGUAGE plpgsql STABLE AS $$
DECLARE
    pages bigint := greatest(1, pg_relation_size('ready') / 8192);
    ready_jobs double precision := (
        SELECT coalesce(sum(jobs), 0) FROM job_counts WHERE state = 'ready');
BEGIN
    RETURN QUERY
        SELECT ready_jobs * s.own / greatest(1, s.rows), ready_jobs * s.whole / greatest(1, s.rows)
        FROM (SELECT count(*) FILTER (WHERE r.class = ANY (own_classes)
                                        AND r.position < place) AS own,
                     count(*) FILTER (WHERE r.class = ANY (all_classes)
                                        AND r.position < place) AS whole,
                     count(*) AS rows
              FROM ready AS r TABLESAMPLE SYSTEM (least(100.0, 100.0 * 50 / pages))) AS s;
END $$;

-- Forecasts whose time has not come: the first that was told of each attempt. Seconds
-- after it was made.
CREATE TABLE forecast (
    job      bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    attempt  integer NOT NULL,
    class    integer NOT NULL,
    made_at  timestamptz NOT NULL,
    played   double precision[] NOT NULL,   -- low, middle, high; before it was mended
    low      double precision NOT NULL,     -- what was told
    high     double precision NOT NULL,
    PRIMARY KEY (job, attempt),
    CONSTRAINT three_were_played CHECK (cardinality(played) = 3),
    CONSTRAINT an_interval CHECK (0 <= low AND low <= high)
);

-- How many came true.
CREATE TABLE forecast_score (
    class   integer NOT NULL,
    day     date NOT NULL,
    early   bigint NOT NULL CHECK (early >= 0),    -- started before the interval
    within  bigint NOT NULL CHECK (within >= 0),
    late    bigint NOT NULL CHECK (late >= 0),
    PRIMARY KEY (class, day)
);

-- How true starts compare with what was played: sketches of ratios, of each class and
-- (class 0) of all. See buildmaster/calibration.py.
CREATE TABLE forecast_error (
    class   integer PRIMARY KEY,
    low     real[] NOT NULL CHECK (cardinality(low) = 120),
    middle  real[] NOT NULL CHECK (cardinality(middle) = 120),
    high    real[] NOT NULL CHECK (cardinality(high) = 120)
);

-- Compare forecasts with what came. Those of jobs that ended without a start say nothing.
CREATE FUNCTION fold_forecasts(days_kept integer DEFAULT 90) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('headrace.fold_forecasts')) THEN
        RETURN;
    END IF;
    WITH over AS (
        SELECT f.job, f.attempt, coalesce(r.assigned_at, a.assigned_at) AS started_at
        FROM forecast AS f JOIN job AS j ON j.id = f.job
        LEFT JOIN running AS r ON r.job = f.job AND r.attempt = f.attempt
        LEFT JOIN attempt AS a ON a.job = f.job AND a.number = f.attempt
        WHERE j.state IN ('assigned', 'running', 'done', 'parked') OR j.attempt > f.attempt
    ), gone AS (
        DELETE FROM forecast AS f USING over
        WHERE f.job = over.job AND f.attempt = over.attempt
        RETURNING f.*, over.started_at
    ), began AS MATERIALIZED (
        SELECT gone.*, greatest(0, extract(epoch FROM started_at - made_at))
                       ::double precision AS waited
        FROM gone WHERE started_at IS NOT NULL
    ), scored AS (
        INSERT INTO forecast_score AS s (class, day, early, within, late)
        SELECT class, (started_at AT TIME ZONE 'UTC')::date,
               count(*) FILTER (WHERE waited < low),
               count(*) FILTER (WHERE waited BETWEEN low AND high),
               count(*) FILTER (WHERE waited > high)
        FROM began GROUP BY 1, 2
        ON CONFLICT ON CONSTRAINT forecast_score_pkey DO UPDATE
        SET early = s.early + excluded.early, within = s.within + excluded.within,
            late = s.late + excluded.late
    )
    INSERT INTO forecast_error AS e (class, low, middle, high)
        SELECT keys.class,
               sketch_of(array_agg(duration_bucket((t.waited + 1) / (t.played[1] + 1)))),
               sketch_of(array_agg(duration_bucket((t.waited + 1) / (t.played[2] + 1)))),
               sketch_of(array_agg(duration_bucket((t.waited + 1) / (t.played[3] + 1))))
        FROM began AS t CROSS JOIN LATERAL (VALUES (0), (t.class)) AS keys (class)
        GROUP BY keys.class
        ON CONFLICT ON CONSTRAINT forecast_error_pkey DO UPDATE
        SET low = add_to_sketch(e.low, excluded.low),
            middle = add_to_sketch(e.middle, excluded.middle),
            high = add_to_sketch(e.high, excluded.high);
    DELETE FROM forecast_score
    WHERE day < (farm_now() AT TIME ZONE 'UTC')::date - days_kept;
END $$;
