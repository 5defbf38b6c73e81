-- Native jobs beside builds, what jobs take of a worker, fair shares, semaphores, and what
-- operators decide about workers and about the line.

-- The time of the statement, not of the call: PostgreSQL can put that into the statement
-- itself, where a function of its own for each row costs more than the row.
CREATE OR REPLACE FUNCTION farm_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(nullif(current_setting('headrace.now', true), '')::timestamptz,
                    statement_timestamp())
$$;

INSERT INTO job_kind VALUES
    ('native', 'runs a registered callable or command on a worker, without isolation');

-- A requirement set has more sides now. Amounts are of one job.
ALTER TABLE job_class
    ADD performs  text NOT NULL DEFAULT '',     -- the callable or command; '' is a build
    ADD worker    text NOT NULL DEFAULT '',     -- the only worker that may run it; '' is any
    ADD slots     integer NOT NULL DEFAULT 1 CHECK (slots >= 1),
    ADD cpu       integer NOT NULL DEFAULT 0 CHECK (cpu >= 0),     -- hundredths of a core
    ADD memory    integer NOT NULL DEFAULT 0 CHECK (memory >= 0),  -- MiB
    ADD disk      integer NOT NULL DEFAULT 0 CHECK (disk >= 0);    -- MiB
ALTER TABLE job_class DROP CONSTRAINT job_class_architecture_isolation_series_tags_key;
ALTER TABLE job_class ADD CONSTRAINT class_once UNIQUE
    (architecture, isolation, series, tags, performs, worker, slots, cpu, memory, disk);

-- What operators decide about a worker.
CREATE TYPE worker_duty AS ENUM (
    'active',   -- takes work
    'paused',   -- takes nothing new for now
    'draining', -- takes nothing new, and is waited for until nothing runs there
    'retired'   -- drained for good: may not join again
);
ALTER TABLE worker
    ADD performs         text[] NOT NULL DEFAULT '{}',
    ADD restricted_tags  text[] NOT NULL DEFAULT '{}',  -- only for jobs that ask for them
    ADD cpu              integer CHECK (cpu >= 0),      -- hundredths of a core; NULL: not told
    ADD memory           integer CHECK (memory >= 0),   -- MiB
    ADD disk             integer CHECK (disk >= 0),     -- MiB
    ADD duty             worker_duty NOT NULL DEFAULT 'active',
    ADD duty_reason      text NOT NULL DEFAULT '',
    ADD duty_by          text NOT NULL DEFAULT '',
    ADD duty_until       timestamptz,                   -- active again from then on
    ADD quarantined_at   timestamptz,                   -- failed different jobs: one at a time
    ADD quarantine_reason text NOT NULL DEFAULT '',
    ADD CONSTRAINT quarantine_has_a_reason CHECK
        ((quarantined_at IS NULL) = (quarantine_reason = '')),
    ADD CONSTRAINT off_duty_has_a_reason CHECK (duty = 'active' OR duty_reason <> '');

ALTER TABLE run ADD open_jobs integer NOT NULL DEFAULT 0 CHECK (open_jobs >= 0);
UPDATE run SET open_jobs = (
    SELECT count(*) FROM run_job JOIN job ON job.id = run_job.job
    WHERE run_job.run = run.id AND run_job.required AND job.state <> 'done');

ALTER TABLE job
    -- Where it stands among the jobs of all owners: see take_turns.
    ADD virtual_start      bigint NOT NULL DEFAULT 0
        CHECK (virtual_start >= 0 AND virtual_start < 1::bigint << 43),
    ADD limits             text[] CHECK (cardinality(limits) BETWEEN 1 AND 50),
    ADD expected_seconds   double precision CHECK (expected_seconds >= 0),
    ADD queue_limit        double precision CHECK (queue_limit > 0),  -- seconds in the line
    ADD total_limit        double precision CHECK (total_limit > 0),  -- seconds, retries too
    ADD deadline           timestamptz,
    ADD retry              jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(retry) = 'array'),
    ADD failures           integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    ADD lost_workers       integer NOT NULL DEFAULT 0 CHECK (lost_workers >= 0),
    ADD concurrency_group  text,
    ADD interruptible      boolean NOT NULL DEFAULT true,
    ADD superseded_by      bigint REFERENCES job,
    ADD parked_for         text NOT NULL DEFAULT '',     -- why it is held, in a sentence
    ADD CONSTRAINT parked_says_why CHECK (state <> 'parked' OR parked_for <> ''),
    ADD CONSTRAINT parked_is_unblocked CHECK (state <> 'parked' OR blocked_by = 0);
CREATE INDEX job_group ON job (concurrency_group) WHERE concurrency_group IS NOT NULL;

ALTER TABLE attempt
    ADD exit_status  integer,
    ADD output       jsonb;   -- what a native job returned

CREATE TABLE native_job (
    job        bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    arguments  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(arguments) = 'object')
);

-- A row of job changes its state several times. No index may look at the state, so that
-- PostgreSQL can put each new version beside the old one; jobs that wait for a time stand
-- in a narrow table of their own instead.
DROP INDEX job_delayed;
ALTER TABLE job SET (fillfactor = 70);
ALTER TABLE attempt SET (fillfactor = 80);
CREATE TABLE delayed (
    job         bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    not_before  timestamptz NOT NULL
);
CREATE INDEX delayed_due ON delayed (not_before);
INSERT INTO delayed
    SELECT id, not_before FROM job
    WHERE state = 'waiting' AND blocked_by = 0 AND not_before IS NOT NULL;

-- Fair shares. A pool is all that waits for one architecture ('' suits any); within it each
-- owner's jobs stand at a distance of about 1000, which is a job of usual length.
CREATE TABLE owner (
    name    text PRIMARY KEY,
    weight  double precision NOT NULL DEFAULT 1 CHECK (weight > 0)
);
CREATE TABLE pool (
    architecture  text PRIMARY KEY,
    virtual_time  bigint NOT NULL DEFAULT 0,    -- the furthest that was begun
    mean_seconds  double precision CHECK (mean_seconds >= 0)   -- of its jobs, decayed
);
CREATE TABLE share (
    owner           text NOT NULL,
    architecture    text NOT NULL REFERENCES pool,
    virtual_finish  bigint NOT NULL,            -- where the owner's next job stands
    mean_seconds    double precision CHECK (mean_seconds >= 0),
    PRIMARY KEY (owner, architecture)
);

-- What was used since a master last added it to the means; nobody waits for anybody here.
CREATE TABLE usage_change (
    owner    text NOT NULL,
    class    integer NOT NULL,
    jobs     bigint NOT NULL,
    seconds  double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- How many jobs that name it may be at work at a time; a group or an owner's cap is one, too.
CREATE TABLE semaphore (
    name      text PRIMARY KEY,
    capacity  integer NOT NULL DEFAULT 1 CHECK (capacity >= 0)
);
CREATE TABLE semaphore_hold (
    semaphore  text NOT NULL REFERENCES semaphore,
    job        bigint NOT NULL REFERENCES job,
    PRIMARY KEY (semaphore, job)
);
CREATE INDEX semaphore_hold_job ON semaphore_hold (job);
-- Ready jobs that met a full semaphore at the head of the line: they stand here, out of the
-- way of others, until somebody leaves it.
CREATE TABLE aside (
    job        bigint PRIMARY KEY REFERENCES job,
    semaphore  text NOT NULL REFERENCES semaphore,
    class      integer NOT NULL REFERENCES job_class,
    position   bigint NOT NULL,
    attempt    integer NOT NULL
);
CREATE INDEX aside_line ON aside (semaphore, position, job);

-- What operators keep from starting: everything, an architecture, or a project.
CREATE TYPE hold_scope AS ENUM ('farm', 'architecture', 'project');
CREATE TABLE queue_hold (
    scope       hold_scope NOT NULL,
    name        text NOT NULL DEFAULT '',       -- architecture or repository; '' for the farm
    reason      text NOT NULL CHECK (reason <> ''),
    held_by     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT farm_now(),
    until       timestamptz,
    PRIMARY KEY (scope, name),
    CONSTRAINT the_farm_has_no_name CHECK ((scope = 'farm') = (name = ''))
);

-- The line: higher scores first, then whose turn it is, then older jobs.
DROP FUNCTION queue_position(integer, bigint);
CREATE FUNCTION queue_position(score integer, virtual_start bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (1000000 - score)::bigint << 43 | virtual_start
$$;
ALTER TABLE ready DROP CONSTRAINT ready_pkey;
ALTER TABLE ready
    ADD limits text[],
    ADD PRIMARY KEY (class, position, job);
UPDATE ready SET position = queue_position(coalesce(manual_score, score), virtual_start)
    FROM job WHERE job.id = ready.job;
