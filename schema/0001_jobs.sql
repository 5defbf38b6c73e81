-- The unified model: one permanent row in job for everything the farm must do.
-- A kind of job keeps what is not generally relevant in a table of its own that
-- references job (build is the first). Finished rows stay.

-- Every stored time comes from here, so that tests can set the clock:
--   SET headrace.now = '2026-01-01 12:00+00'
CREATE FUNCTION farm_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(nullif(current_setting('headrace.now', true), '')::timestamptz,
                    clock_timestamp())
$$;

-- Life of a job; the rules are TRANSITIONS in buildmaster/lifecycle.py.
CREATE TYPE job_state AS ENUM (
    'waiting',   -- something must happen first: an edge, a time
    'ready',     -- in the queue; has a row in ready
    'assigned',  -- claimed for a worker that has not yet accepted it; has a row in running
    'running',   -- accepted by a worker; has a row in running
    'parked',    -- held until somebody or something lets it go
    'done'       -- over; result says how
);

-- How it ended. GOOD: success reused skipped. BAD: failure error timeout malformed.
-- VOID: unrun cancelled. Equal to protocol.results.Result.
CREATE TYPE job_result AS ENUM (
    'success', 'reused', 'skipped',
    'failure', 'error', 'timeout', 'malformed',
    'unrun', 'cancelled'
);

-- What an edge asks of its upstream. Equal to buildmaster.dependencies.Require.
CREATE TYPE edge_require AS ENUM ('good', 'finished', 'bad', 'always');

-- Equal to the isolations of protocol.messages.Offer.
CREATE TYPE isolation AS ENUM ('native', 'chroot', 'vm');

-- A run takes jobs while open; a sealed one is done when its last job is.
CREATE TYPE run_state AS ENUM ('open', 'sealed', 'done');

CREATE TYPE cross_architecture AS ENUM ('orchestrate', 'refuse', 'barrier');

-- Kinds of job. A plug-in's own SQL file adds its row.
CREATE TABLE job_kind (
    name         text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]*$'),
    description  text NOT NULL
);
INSERT INTO job_kind VALUES
    ('build', 'runs a stage list of a pipeline in environments on a worker');

-- Configuration texts, each once, frozen when first submitted.
CREATE TABLE configuration (
    sha256  bytea PRIMARY KEY CHECK (length(sha256) = 32),
    text    text NOT NULL CHECK (octet_length(text) <= 524288)
);

-- All jobs of one submission. A job asked for by two runs belongs to both.
CREATE TABLE run (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state               run_state NOT NULL DEFAULT 'open',
    result              job_result,
    repository          text NOT NULL,       -- URL, or the private name of a sent work tree
    source_digest       text NOT NULL        -- commit, or sha256: and the hash of the tree
        CHECK (source_digest ~ '^([0-9a-f]{40}|[0-9a-f]{64}|sha256:[0-9a-f]{64})$'),
    refs                text[] NOT NULL DEFAULT '{}',
    trust_domain        text NOT NULL DEFAULT 'trusted',
    configuration       bytea NOT NULL REFERENCES configuration,
    cross_architecture  cross_architecture NOT NULL DEFAULT 'orchestrate',
    requester           text NOT NULL,       -- who asked
    owner               text NOT NULL,       -- whose share of the farm it uses
    notes               jsonb NOT NULL DEFAULT '[]',  -- what was skipped or merged, and why
    created_at          timestamptz NOT NULL DEFAULT farm_now(),
    finished_at         timestamptz,
    CONSTRAINT done_run_has_an_end CHECK
        ((state = 'done') = (result IS NOT NULL) AND (state = 'done') = (finished_at IS NOT NULL))
);
CREATE INDEX run_source ON run (repository, source_digest);

-- A distinct requirement set. Claims are ordered scans of ready per class.
CREATE TABLE job_class (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    architecture  text NOT NULL,             -- '' suits any
    isolation     isolation NOT NULL,
    series        text[] NOT NULL,           -- all of them are needed; sorted
    tags          text[] NOT NULL,           -- all of them are needed; sorted
    UNIQUE (architecture, isolation, series, tags)
);

CREATE TABLE job (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL REFERENCES job_kind,
    state           job_state NOT NULL DEFAULT 'waiting',
    result          job_result,
    reason          text NOT NULL DEFAULT '',   -- a sentence: whose fault, what to do
    root_cause      bigint REFERENCES job,      -- of an unrun job: the job that made it so
    -- Identity: who asks for the same thing again gets this row. NULL repository: no identity.
    repository      text,
    source_digest   text,
    trust_domain    text NOT NULL DEFAULT 'trusted',
    name            text NOT NULL,
    cell            text NOT NULL DEFAULT '',   -- axis=value,axis=value; axes sorted
    part            integer NOT NULL DEFAULT 0 CHECK (part >= 0),
    refs            text[] NOT NULL DEFAULT '{}',
    requester       text NOT NULL,
    owner           text NOT NULL,
    class           integer NOT NULL REFERENCES job_class,
    attempt         integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),  -- the current one
    errors          integer NOT NULL DEFAULT 0 CHECK (errors >= 0),   -- since it was last asked for
    error_limit     integer NOT NULL DEFAULT 3 CHECK (error_limit >= 0),
    blocked_by      integer NOT NULL DEFAULT 0 CHECK (blocked_by >= 0),  -- unresolved edges
    not_before      timestamptz,
    score           integer NOT NULL DEFAULT 500000 CHECK (score BETWEEN 0 AND 1000000),
    manual_score    integer CHECK (manual_score BETWEEN 0 AND 1000000),
    run_limit       double precision CHECK (run_limit > 0),    -- seconds of one attempt
    idle_limit      double precision CHECK (idle_limit > 0),   -- seconds without output
    cancel_asked_at timestamptz,
    cancel_reason   text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT farm_now(),
    ready_at        timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz,
    CONSTRAINT job_identity UNIQUE
        (repository, source_digest, trust_domain, name, cell, part),
    CONSTRAINT done_means_result CHECK ((state = 'done') = (result IS NOT NULL)),
    CONSTRAINT done_means_finished CHECK ((state = 'done') = (finished_at IS NOT NULL)),
    CONSTRAINT unrun_names_its_root_cause CHECK
        ((result IS NOT DISTINCT FROM 'unrun') = (root_cause IS NOT NULL)),
    CONSTRAINT queued_means_unblocked CHECK
        (state NOT IN ('ready', 'assigned', 'running') OR blocked_by = 0),
    CONSTRAINT bad_ends_give_a_reason CHECK
        (result IS NULL OR result IN ('success', 'reused', 'skipped') OR reason <> ''),
    CONSTRAINT source_is_whole CHECK ((repository IS NULL) = (source_digest IS NULL)),
    CONSTRAINT digest_is_one CHECK
        (source_digest ~ '^([0-9a-f]{40}|[0-9a-f]{64}|sha256:[0-9a-f]{64})$')
);
CREATE INDEX job_delayed ON job (not_before) WHERE state = 'waiting' AND blocked_by = 0;

CREATE TABLE run_job (
    run       bigint NOT NULL REFERENCES run ON DELETE CASCADE,
    job       bigint NOT NULL REFERENCES job,
    required  boolean NOT NULL DEFAULT true,
    merged    boolean NOT NULL DEFAULT false,   -- the job existed before this run asked for it
    PRIMARY KEY (run, job)
);
CREATE INDEX run_job_job ON run_job (job);

-- The job kind that runs a filtered stage list: only what other kinds do not have.
CREATE TABLE build (
    job            bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    architecture   text NOT NULL,
    series         text NOT NULL,            -- newest of its own pipeline jobs' series
    stages         jsonb NOT NULL,           -- [[["name", index], ...], ...]
    stage_numbers  integer[] NOT NULL,       -- of each stage, its index in the file's pipeline
    configuration  bytea NOT NULL REFERENCES configuration,
    source         jsonb NOT NULL,           -- {"kind": "git"|"tree", ...} as in protocol.order
    CONSTRAINT has_stages CHECK (jsonb_typeof(stages) = 'array' AND jsonb_array_length(stages) > 0),
    CONSTRAINT numbers_every_stage CHECK (cardinality(stage_numbers) = jsonb_array_length(stages))
);

-- Dependencies. up_stage: the edge waits for that stage of the upstream build only.
CREATE TABLE edge (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    up           bigint NOT NULL REFERENCES job,
    up_stage     integer CHECK (up_stage >= 0),
    down         bigint NOT NULL REFERENCES job,
    require      edge_require NOT NULL DEFAULT 'good',
    weak         boolean NOT NULL DEFAULT false,
    resolved_at  timestamptz,
    up_attempt   integer,                    -- the attempt it saw when it was resolved
    CONSTRAINT not_on_itself CHECK (up <> down),
    CONSTRAINT resolved_saw_an_attempt CHECK ((resolved_at IS NULL) = (up_attempt IS NULL))
);
CREATE UNIQUE INDEX edge_once ON edge (down, up, coalesce(up_stage, -1));
CREATE INDEX edge_open ON edge (up) WHERE resolved_at IS NULL;
CREATE INDEX edge_up ON edge (up);  -- who waited, told after it was resolved, too
