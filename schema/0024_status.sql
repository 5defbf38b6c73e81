-- A run that takes up a job that is done changes what lists show of the job, but not its row.
-- Readers tell by the row whether a document that they have is still the one (xmin), so the
-- row is touched. Jobs that are not done are not remembered by anybody.
CREATE FUNCTION touch_merged_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In the order of ids, as all who lock several jobs do.
    PERFORM FROM job WHERE state = 'done' AND id IN (SELECT job FROM added WHERE merged)
        ORDER BY id FOR NO KEY UPDATE;
    UPDATE job SET refs = refs
        WHERE state = 'done' AND id IN (SELECT job FROM added WHERE merged);
    RETURN NULL;
END $$;
CREATE TRIGGER touch_merged_jobs AFTER INSERT ON run_job
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION touch_merged_jobs();

-- For those who only want the store: views that keep their columns for as long as version 1 is
-- promised (docs/views.rst), and a role that may read them and nothing else.
CREATE SCHEMA status_v1;

CREATE VIEW status_v1.run AS
    SELECT id, state::text AS state, result::text AS result, name, repository, source_digest,
           refs, trust_domain, requester, owner, created_at, finished_at
    FROM public.run;

CREATE VIEW status_v1.job AS
    SELECT j.id, j.kind, j.name, j.cell, j.part, j.state::text AS state,
           j.result::text AS result, j.reason, j.root_cause, j.attempt,
           coalesce(b.architecture, c.architecture) AS architecture,
           c.isolation::text AS isolation, coalesce(b.series, c.series[1], '') AS series,
           nullif(c.performs, '') AS performs, j.repository, j.source_digest, j.refs,
           j.owner, j.requester, coalesce(r.worker, a.worker) AS worker, j.score,
           j.manual_score, j.created_at, j.ready_at, j.started_at, j.finished_at,
           j.superseded_by
    FROM public.job j JOIN public.job_class c ON c.id = j.class
    LEFT JOIN public.build b ON b.job = j.id
    LEFT JOIN public.attempt a ON a.job = j.id AND a.number = j.attempt
    LEFT JOIN public.running r ON r.job = j.id;

CREATE VIEW status_v1.run_job AS
    SELECT run, job, required, merged FROM public.run_job;

-- Seconds between the times are there ready made: how long it stood in the line, and ran.
CREATE VIEW status_v1.attempt AS
    SELECT a.job, a.number, coalesce(a.worker, r.worker) AS worker, a.result::text AS result,
           a.reason, a.exit_status, a.log_length, a.queued_at,
           coalesce(a.assigned_at, r.assigned_at) AS assigned_at,
           coalesce(a.started_at, r.accepted_at) AS started_at, a.finished_at,
           extract(epoch FROM coalesce(a.assigned_at, r.assigned_at) - a.queued_at)::float8
               AS wait_seconds,
           extract(epoch FROM a.finished_at - coalesce(a.started_at, a.assigned_at))::float8
               AS run_seconds
    FROM public.attempt a
    LEFT JOIN public.running r ON r.job = a.job AND r.attempt = a.number;

CREATE VIEW status_v1.pipeline_job AS
    SELECT job, attempt, name, index, stage, place, series, state::text AS state,
           result::text AS result, reason, exit_status, kept_from, started_at, finished_at,
           extract(epoch FROM finished_at - started_at)::float8 AS run_seconds
    FROM public.pipeline_job;

CREATE VIEW status_v1.artifact AS
    SELECT f.job, f.attempt, f.name, f.index, f.path, encode(f.sha256, 'hex') AS sha256, b.size
    FROM public.artifact f JOIN public.blob b USING (sha256);

CREATE VIEW status_v1.edge AS
    SELECT id, up, up_stage, down, require::text AS require, resolved_at FROM public.edge;

CREATE VIEW status_v1.worker AS
    SELECT name, state::text AS state, duty::text AS duty, duty_reason, master, slots, tags,
           quarantined_at, quarantine_reason, software, connected_at, last_heard_at
    FROM public.worker;

CREATE VIEW status_v1.job_count AS
    SELECT c.architecture, t.kind, t.state::text AS state, t.result::text AS result,
           sum(t.jobs)::bigint AS jobs
    FROM public.job_counts t JOIN public.job_class c ON c.id = t.class
    GROUP BY c.architecture, t.kind, t.state, t.result;

-- In the order that followers get: by (transaction, number); those of transactions that have
-- not all ended are not shown.
CREATE VIEW status_v1.event AS
    SELECT transaction::text || '-' || id AS id, transaction, id AS number, at, kind, run, job,
           worker, payload
    FROM public.event WHERE transaction < pg_snapshot_xmin(pg_current_snapshot());

DO $$
BEGIN
    CREATE ROLE headrace_status NOLOGIN;
EXCEPTION
    -- Another farm of this server, maybe at this moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'this account may make no roles: make headrace_status, and see docs/views.rst';
END $$;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'headrace_status') THEN
        GRANT USAGE ON SCHEMA status_v1 TO headrace_status;
        GRANT SELECT ON ALL TABLES IN SCHEMA status_v1 TO headrace_status;
    END IF;
END $$;
