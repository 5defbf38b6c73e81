-- How many jobs there are of each class, kind, state and result, without counting them.
--
-- Every statement that changes jobs adds what it changed as rows of its own: no two
-- transactions ever wait for a counter, and no counter gets a chain of old versions. A
-- master folds them together from time to time.
CREATE TABLE job_count (
    class   integer NOT NULL,
    kind    text NOT NULL,
    state   job_state NOT NULL,
    result  job_result,
    jobs    bigint NOT NULL,
    CONSTRAINT counted_once UNIQUE (class, kind, state, result)
);
CREATE UNIQUE INDEX job_count_unfinished ON job_count (class, kind, state)
    WHERE result IS NULL;
CREATE TABLE job_count_change (
    class   integer NOT NULL,
    kind    text NOT NULL,
    state   job_state NOT NULL,
    result  job_result,
    jobs    bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

CREATE VIEW job_counts AS
    SELECT class, kind, state, result, sum(jobs)::bigint AS jobs
    FROM (SELECT * FROM job_count UNION ALL SELECT * FROM job_count_change) AS counted
    GROUP BY class, kind, state, result HAVING sum(jobs) <> 0;

CREATE FUNCTION count_new_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change
        SELECT class, kind, state, result, count(*) FROM new_rows
        GROUP BY class, kind, state, result;
    RETURN NULL;
END $$;
CREATE FUNCTION count_gone_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change
        SELECT class, kind, state, result, -count(*) FROM old_rows
        GROUP BY class, kind, state, result;
    RETURN NULL;
END $$;
CREATE FUNCTION count_changed_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_count_change
        SELECT class, kind, state, result, sum(jobs) FROM (
            SELECT class, kind, state, result, count(*) AS jobs FROM new_rows
            GROUP BY class, kind, state, result
            UNION ALL
            SELECT class, kind, state, result, -count(*) FROM old_rows
            GROUP BY class, kind, state, result) AS change
        GROUP BY class, kind, state, result HAVING sum(jobs) <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER count_new AFTER INSERT ON job
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_new_jobs();
CREATE TRIGGER count_gone AFTER DELETE ON job
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_gone_jobs();
CREATE TRIGGER count_changed AFTER UPDATE ON job
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_changed_jobs();

INSERT INTO job_count
    SELECT class, kind, state, result, count(*) FROM job
    GROUP BY class, kind, state, result;

-- Fold what has changed into the counts; nothing happens while somebody else does.
CREATE FUNCTION fold_counts() RETURNS void LANGUAGE plpgsql AS $$
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
    )
    INSERT INTO job_count
        SELECT change.* FROM change
        WHERE NOT EXISTS (
            SELECT FROM job_count AS c
            WHERE (c.class, c.kind, c.state) = (change.class, change.kind, change.state)
              AND c.result IS NOT DISTINCT FROM change.result);
END $$;
