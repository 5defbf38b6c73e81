-- The waiting line and the claims: narrow tables of their own, so that they stay small
-- and vacuum fast however many jobs are remembered.

CREATE TYPE worker_state AS ENUM (
    'connected',    -- has a session
    'unreachable',  -- silent or cut off; may come back and resume
    'offline'       -- gone, and nothing runs there as far as we know
);

CREATE TABLE worker (
    name            text PRIMARY KEY,
    state           worker_state NOT NULL DEFAULT 'offline',
    token_sha256    bytea CHECK (length(token_sha256) = 32),
    session         text,
    master          text,                     -- which master holds the session
    boot            text,
    software        text NOT NULL DEFAULT '',
    offers          jsonb NOT NULL DEFAULT '[]',
    tags            text[] NOT NULL DEFAULT '{}',
    slots           integer NOT NULL DEFAULT 0 CHECK (slots >= 0),
    created_at      timestamptz NOT NULL DEFAULT farm_now(),
    connected_at    timestamptz,
    last_heard_at   timestamptz,
    CONSTRAINT connected_means_session CHECK
        ((state = 'connected') = (session IS NOT NULL AND master IS NOT NULL))
);

-- One try of a job. (job, number) is the fencing token of every report.
CREATE TABLE attempt (
    job          bigint NOT NULL REFERENCES job,
    number       integer NOT NULL CHECK (number >= 1),
    worker       text REFERENCES worker,
    result       job_result,
    reason       text NOT NULL DEFAULT '',
    reports      bigint NOT NULL DEFAULT 0 CHECK (reports >= 0),     -- recorded up to here
    log_length   bigint NOT NULL DEFAULT 0 CHECK (log_length >= 0),  -- uncompressed bytes
    queued_at    timestamptz NOT NULL DEFAULT farm_now(),
    assigned_at  timestamptz,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (job, number),
    CONSTRAINT ended_has_a_result CHECK ((result IS NULL) = (finished_at IS NULL)),
    CONSTRAINT assigned_to_somebody CHECK ((worker IS NULL) = (assigned_at IS NULL))
);
CREATE UNIQUE INDEX attempt_one_open ON attempt (job) WHERE finished_at IS NULL;
CREATE INDEX attempt_worker ON attempt (worker, assigned_at);

-- Higher scores first, then older jobs. Fits a bigint for ids up to 2^40.
CREATE FUNCTION queue_position(score integer, job bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (1000000 - score)::bigint << 40 | job
$$;

CREATE TABLE ready (
    class     integer NOT NULL REFERENCES job_class,
    position  bigint NOT NULL,
    job       bigint NOT NULL,
    attempt   integer NOT NULL,
    PRIMARY KEY (class, position),
    CONSTRAINT queued_once UNIQUE (job),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE running (
    job          bigint PRIMARY KEY,
    attempt      integer NOT NULL,
    worker       text NOT NULL REFERENCES worker,
    class        integer NOT NULL REFERENCES job_class,
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number),
    assigned_at  timestamptz NOT NULL DEFAULT farm_now(),
    accepted_at  timestamptz,
    renewals     bigint NOT NULL DEFAULT 0    -- a lease is broken when this stands still
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX running_worker ON running (worker);

-- Workers that could not take an attempt, or lost it: the next try goes elsewhere.
CREATE TABLE refusal (
    job        bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    worker     text NOT NULL REFERENCES worker,
    reason     text NOT NULL,
    until      timestamptz NOT NULL,
    PRIMARY KEY (job, worker)
);
