-- What the documents of the status need: the ways to them, and counts by owner.

-- What ended last, whoever ran it. The end of an attempt writes all its indexes anew anyway.
CREATE INDEX attempt_finished ON attempt (finished_at, job, number)
    WHERE finished_at IS NOT NULL;
-- How jobs of one name went, the newest first; neither column ever changes.
CREATE INDEX job_name ON job (name, id);
-- The newest runs of a repository, and of an owner.
CREATE INDEX run_repository ON run (repository, id);
CREATE INDEX run_owner ON run (owner, id);

-- How many jobs there are of each owner and state: folded from the same rows that the counts
-- by class are folded from, so that a change of jobs writes no more rows of its own than
-- there are owners in it.
CREATE TABLE owner_count (
    owner  text NOT NULL,
    state  job_state NOT NULL,
    jobs   bigint NOT NULL,
    PRIMARY KEY (owner, state)
);
ALTER TABLE job_count_change ADD owner text NOT NULL DEFAULT '';

CREATE VIEW owner_counts AS
    SELECT owner, state, sum(jobs)::bigint AS jobs
    FROM (SELECT * FROM owner_count
          UNION ALL SELECT owner, state, jobs FROM job_count_change) AS counted
    GROUP BY owner, state HAVING sum(jobs) <> 0;
CREATE OR REPLACE VIEW job_counts AS
    SELECT class, kind, state, result, sum(jobs)::bigint AS jobs
    FROM (SELECT * FROM job_count
          UNION ALL SELECT class, kind, state, result, jobs FROM job_count_change) AS counted
    GROUP BY class, kind, state, result HAVING sum(jobs) <> 0;

CREATE OR REPLACE FUNCTION count_new_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change (class, kind, state, result, owner, jobs)
        SELECT class, kind, state, result, owner, count(*) FROM new_rows
        GROUP BY class, kind, state, result, owner;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION count_gone_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change (class, kind, state, result, owner, jobs)
        SELECT class, kind, state, result, owner, -count(*) FROM old_rows
        GROUP BY class, kind, state, result, owner;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION count_changed_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change (class, kind, state, result, owner, jobs)
        SELECT class, kind, state, result, owner, sum(jobs) FROM (
            SELECT class, kind, state, result, owner, count(*) AS jobs FROM new_rows
            GROUP BY class, kind, state, result, owner
            UNION ALL
            SELECT class, kind, state, result, owner, -count(*) FROM old_rows
            GROUP BY class, kind, state, result, owner) AS change
        GROUP BY class, kind, state, result, owner HAVING sum(jobs) <> 0;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION fold_counts() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('headrace.fold_counts')) THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM job_count_change RETURNING *
    ), change AS MATERIALIZED (
        SELECT class, kind, state, result, sum(jobs)::bigint AS jobs FROM gone
        GROUP BY class, kind, state, result HAVING sum(jobs) <> 0
    ), changed AS (
        UPDATE job_count AS c SET jobs = c.jobs + change.jobs FROM change
        WHERE (c.class, c.kind, c.state) = (change.class, change.kind, change.state)
          AND c.result IS NOT DISTINCT FROM change.result
    ), owned AS (
        INSERT INTO owner_count AS o (owner, state, jobs)
            SELECT owner, state, sum(jobs)::bigint FROM gone
            GROUP BY owner, state HAVING sum(jobs) <> 0
        ON CONFLICT (owner, state) DO UPDATE SET jobs = o.jobs + excluded.jobs
    )
    INSERT INTO job_count
        SELECT change.* FROM change
        WHERE NOT EXISTS (
            SELECT FROM job_count AS c
            WHERE (c.class, c.kind, c.state) = (change.class, change.kind, change.state)
              AND c.result IS NOT DISTINCT FROM change.result);
    -- Owners come and go.
    DELETE FROM owner_count WHERE jobs = 0;
END $$;

-- What changed before it was counted by owner is counted whole, from here on.
INSERT INTO job_count
    SELECT class, kind, state, result, 0 FROM job_count_change
    ON CONFLICT DO NOTHING;
UPDATE job_count AS c SET jobs = c.jobs + change.jobs
    FROM (SELECT class, kind, state, result, sum(jobs)::bigint AS jobs FROM job_count_change
          GROUP BY class, kind, state, result) AS change
    WHERE (c.class, c.kind, c.state) = (change.class, change.kind, change.state)
      AND c.result IS NOT DISTINCT FROM change.result;
DELETE FROM job_count_change;
ALTER TABLE job_count_change ALTER owner DROP DEFAULT;
INSERT INTO owner_count SELECT owner, state, count(*) FROM job GROUP BY owner, state;

-- Who steps aside for a semaphore, and who steps back into the line: lists of semaphores and
-- of the line can be followed like all others.
CREATE FUNCTION tell_of_aside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (kind, job, payload)
        VALUES ('job.aside', NEW.job,
                jsonb_build_object('state', 'ready', 'semaphore', NEW.semaphore));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_aside AFTER INSERT ON aside
    FOR EACH ROW EXECUTE FUNCTION tell_of_aside();

CREATE OR REPLACE FUNCTION step_forward(the_semaphore text, places integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    told text[];
BEGIN
    WITH next AS (
        SELECT a.job FROM aside AS a WHERE a.semaphore = the_semaphore
        ORDER BY a.position, a.job LIMIT places FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM aside AS a USING next WHERE a.job = next.job RETURNING a.*
    ), queued AS (
        INSERT INTO ready (class, position, job, attempt, limits)
        SELECT gone.class, gone.position, gone.job, gone.attempt, job.limits
        FROM gone JOIN job ON job.id = gone.job
        RETURNING ready.class, ready.position
    ), said AS (
        INSERT INTO event (kind, job, payload)
        SELECT 'job.in_line', gone.job,
               jsonb_build_object('state', 'ready', 'semaphore', the_semaphore)
        FROM gone ORDER BY gone.job
    )
    SELECT array_agg(queued.class || ':' || queued.position) INTO told FROM queued;
    PERFORM tell_ready(told);
END $$;

-- The auditor looks at the counts by owner, too.
ALTER FUNCTION audit_queue() RENAME TO audit_books;
CREATE FUNCTION audit_queue() RETURNS TABLE (what text, job bigint, run bigint, worker text,
                                             name text, kept text, should_be text)
LANGUAGE sql STABLE AS $$
    SELECT * FROM audit_books()
    UNION ALL
    SELECT 'owner count', NULL, NULL, NULL,
           format('%s, %s', coalesce(c.owner, k.owner), coalesce(c.state, k.state)),
           coalesce(k.jobs, 0)::text, coalesce(c.jobs, 0)::text
    FROM (SELECT j.owner, j.state, count(*) AS jobs FROM job AS j GROUP BY 1, 2) AS c
    FULL JOIN owner_counts AS k ON (c.owner, c.state) = (k.owner, k.state)
    WHERE c.jobs IS DISTINCT FROM k.jobs
$$;
