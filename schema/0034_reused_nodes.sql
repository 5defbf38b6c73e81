-- Looking for a result to reuse takes as long however often it was reused before.

-- A node that runs itself, or is to. False: another's result stands for its own, or it was
-- skipped; until somebody wants another attempt.
ALTER TABLE node ADD runs boolean NOT NULL DEFAULT true;
UPDATE node SET runs = false FROM job
    WHERE job.id = node.job AND job.result IN ('reused', 'skipped');

-- Only those can have passed. Each run of a large graph adds thousands that cannot.
DROP INDEX node_inputs;
CREATE INDEX node_inputs ON node (inputs, job) WHERE runs;
DROP INDEX node_key;
CREATE INDEX node_key ON node (key, job) WHERE runs AND key IS NOT NULL;
DROP INDEX node_environment;
CREATE INDEX node_environment ON node (environment, job) WHERE runs;

-- As before, but that it notes this, and leaves it to settle_done what follows: what these
-- wait for is written only after them.
CREATE OR REPLACE FUNCTION end_new_jobs(jobs bigint[], ends job_result[], whys text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
    UPDATE node SET runs = false WHERE job = ANY (jobs) AND runs;
    WITH given AS (
        SELECT * FROM unnest(jobs, ends, whys) AS one (job, ended, why)
    ), changed AS (
        UPDATE job AS j
        SET state = 'done', result = g.ended, reason = g.why, finished_at = now_
        FROM given AS g WHERE j.id = g.job AND j.state = 'waiting'
        RETURNING j.id, j.attempt, j.result, j.reason
    ), ended AS (
        UPDATE attempt AS a SET result = c.result, reason = c.reason, finished_at = now_
        FROM changed AS c WHERE a.job = c.id AND a.number = c.attempt
    ), over AS (
        UPDATE pipeline_job AS p
        SET state = 'done', result = c.result, reason = c.reason, finished_at = now_
        FROM changed AS c WHERE p.job = c.id AND p.attempt = c.attempt
    )
    INSERT INTO event (kind, job, payload)
    SELECT 'job.done', c.id,
           jsonb_build_object('state', 'done', 'result', c.result, 'reason', c.reason,
                              'attempt', c.attempt)
    FROM changed AS c ORDER BY c.id;
END $$;

-- As before, but with what it was still waiting for: a member of a collection, say.
CREATE OR REPLACE FUNCTION broken_limit(one job, since timestamptz, now_ timestamptz)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN one.deadline <= now_ THEN
            'its deadline has passed: '
            || to_char(one.deadline AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
            || CASE WHEN one.gate = '' THEN '' ELSE '; ' || left(one.gate, 1000) END
        WHEN since + make_interval(secs => one.total_limit) <= now_ THEN
            'it was not done within ' || round(one.total_limit::numeric)
            || ' seconds, waiting and retries included'
        WHEN one.state = 'ready'
             AND one.ready_at + make_interval(secs => one.queue_limit) <= now_ THEN
            'no worker took it within the ' || round(one.queue_limit::numeric)
            || ' seconds for which it may stand in the line'
    END
$$;
