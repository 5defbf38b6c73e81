-- Whose fault it was: the worker's, the job's, or nobody's here; and limits of time that no
-- worker can watch. The rules are in buildmaster/blame.py.

-- Attempts that the farm could not run, for a day. Nothing is written for others.
CREATE TABLE fault (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    job      bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    attempt  integer NOT NULL,
    worker   text NOT NULL,
    reason   text NOT NULL,
    is_forgiven boolean NOT NULL DEFAULT false   -- an outage's: nobody is to blame
);
CREATE INDEX fault_at ON fault (at);
CREATE INDEX fault_job ON fault (job);
CREATE FUNCTION note_fault() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fault (at, job, attempt, worker, reason)
    VALUES (NEW.finished_at, NEW.job, NEW.number, NEW.worker, NEW.reason);
    RETURN NULL;
END $$;
CREATE TRIGGER note_fault AFTER UPDATE OF result ON attempt FOR EACH ROW
    WHEN (NEW.result = 'error' AND OLD.result IS NULL AND NEW.worker IS NOT NULL)
    EXECUTE FUNCTION note_fault();

-- Something outside of the farm is away: what met it is parked, and tried by one job at a
-- time. "failure" is what their reasons have in common.
CREATE TABLE outage (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    failure     text NOT NULL CHECK (failure <> ''),
    reason      text NOT NULL,                    -- of one of them, for people
    began_at    timestamptz NOT NULL,
    probes      integer NOT NULL DEFAULT 0 CHECK (probes >= 0),
    probe       bigint REFERENCES job ON DELETE SET NULL,    -- the job that tries
    probe_attempt integer,
    next_at     timestamptz NOT NULL,             -- not tried before
    is_over     boolean NOT NULL DEFAULT false,   -- its jobs are being let go
    CONSTRAINT a_probe_is_an_attempt CHECK ((probe IS NULL) = (probe_attempt IS NULL))
);
CREATE UNIQUE INDEX outage_once ON outage (failure) WHERE NOT is_over;
CREATE TABLE outage_job (
    outage  bigint NOT NULL REFERENCES outage ON DELETE CASCADE,
    job     bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    PRIMARY KEY (outage, job)
);

-- Park jobs that met an outage, and take back what it added to their errors; which. The
-- faults are those of the outage that were not taken back yet.
--
-- One that the last of its errors has ended already is to be given another attempt first.
CREATE FUNCTION park_for_outage(the_outage bigint, jobs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    why text := (SELECT 'outage ' || o.id || ': ' || o.reason FROM outage AS o
                 WHERE o.id = the_outage);
    parked bigint[] := park_jobs(jobs, why);
BEGIN
    UPDATE job AS j SET errors = greatest(0, j.errors - f.faults)
    FROM (SELECT job, count(*)::integer AS faults FROM fault
          WHERE job = ANY (parked) AND NOT is_forgiven GROUP BY job) AS f
    WHERE j.id = f.job;
    UPDATE fault SET is_forgiven = true WHERE job = ANY (parked) AND NOT is_forgiven;
    INSERT INTO outage_job (outage, job) SELECT the_outage, unnest(parked)
        ON CONFLICT DO NOTHING;
    RETURN parked;
END $$;

-- When to look at jobs that may take too long to get a worker, or over all.
CREATE TABLE time_limit (
    job    bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    since  timestamptz NOT NULL,     -- when it was asked for, the last time
    at     timestamptz NOT NULL
);
CREATE INDEX time_limit_due ON time_limit (at);

-- What limit of time a job has broken, as a sentence; NULL: none.
CREATE FUNCTION broken_limit(one job, since timestamptz, now_ timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN one.deadline <= now_ THEN
            'its deadline has passed: '
            || to_char(one.deadline AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
        WHEN since + make_interval(secs => one.total_limit) <= now_ THEN
            'it was not done within ' || round(one.total_limit::numeric)
            || ' seconds, waiting and retries included'
        WHEN one.state = 'ready'
             AND one.ready_at + make_interval(secs => one.queue_limit) <= now_ THEN
            'no worker took it within the ' || round(one.queue_limit::numeric)
            || ' seconds for which it may stand in the line'
    END
$$;
-- The first moment at which a job may have broken one.
CREATE FUNCTION next_limit(one job, since timestamptz, now_ timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT least(one.deadline, since + make_interval(secs => one.total_limit),
                 CASE WHEN one.state = 'ready' THEN one.ready_at ELSE now_ END
                 + make_interval(secs => one.queue_limit))
$$;
-- Watch the limits of jobs from now on.
CREATE FUNCTION watch_limits(jobs bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO time_limit (job, since, at)
        SELECT j.id, farm_now(), next_limit(j, farm_now(), farm_now()) FROM job AS j
        WHERE j.id = ANY (jobs) AND (j.deadline IS NOT NULL OR j.total_limit IS NOT NULL
                                     OR j.queue_limit IS NOT NULL)
    ON CONFLICT (job) DO UPDATE SET since = excluded.since, at = excluded.at
$$;
CREATE FUNCTION watch_new_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM watch_limits(ARRAY[NEW.id]);
    RETURN NULL;
END $$;
CREATE TRIGGER watch_new_limits AFTER INSERT ON job FOR EACH ROW
    WHEN (NEW.deadline IS NOT NULL OR NEW.total_limit IS NOT NULL
          OR NEW.queue_limit IS NOT NULL)
    EXECUTE FUNCTION watch_new_limits();
SELECT watch_limits(ARRAY(
    SELECT id FROM job WHERE state <> 'done' AND (deadline IS NOT NULL
        OR total_limit IS NOT NULL OR queue_limit IS NOT NULL)));

-- End the jobs without a worker that have broken a limit, and tell of those with one, which
-- end as attempts do. Looks at so many at most.
CREATE FUNCTION end_overdue(most integer)
RETURNS TABLE (job bigint, attempt integer, why text) LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    due bigint[];
    mine bigint[];
    late record;
BEGIN
    SELECT array_agg(d.job) INTO due FROM (
        SELECT t.job FROM time_limit AS t WHERE t.at <= now_
        ORDER BY t.at LIMIT most FOR UPDATE SKIP LOCKED) AS d;
    IF due IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT j.id, r.attempt, broken_limit(j, t.since, now_)
        FROM time_limit AS t JOIN job AS j ON j.id = t.job JOIN running AS r ON r.job = j.id
        WHERE t.job = ANY (due) AND broken_limit(j, t.since, now_) IS NOT NULL;
    mine := lock_line(due);
    FOR late IN
        SELECT j.id, broken_limit(j, t.since, now_) AS why
        FROM time_limit AS t JOIN job AS j ON j.id = t.job
        WHERE t.job = ANY (due)
          AND (j.state IN ('waiting', 'parked') OR (j.state = 'ready' AND j.id = ANY (mine)))
          AND broken_limit(j, t.since, now_) IS NOT NULL
        ORDER BY j.id
    LOOP
        PERFORM leave_line(ARRAY[late.id]);
        PERFORM end_unstarted(ARRAY[late.id], 'timeout', late.why);
    END LOOP;
    DELETE FROM time_limit AS t USING job AS j
    WHERE t.job = ANY (due) AND j.id = t.job AND j.state = 'done';
    -- Of what is late and could not be ended now it is seen soon whether it has.
    UPDATE time_limit AS t SET at = greatest(next_limit(j, t.since, now_), now_ + interval '1 s')
    FROM job AS j WHERE t.job = ANY (due) AND j.id = t.job;
END $$;
