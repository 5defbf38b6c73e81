-- What attempts leave behind: results per pipeline job, logs, files.

CREATE TYPE pipeline_job_state AS ENUM ('waiting', 'running', 'done');

-- One row for each name:index of a build's stage list and attempt, made up front.
CREATE TABLE pipeline_job (
    job          bigint NOT NULL,
    attempt      integer NOT NULL,
    name         text NOT NULL,
    index        integer NOT NULL CHECK (index >= 0),
    stage        integer NOT NULL CHECK (stage >= 0),   -- place in this build's stage list
    place        integer NOT NULL CHECK (place >= 0),   -- place within the stage
    series       text NOT NULL,
    state        pipeline_job_state NOT NULL DEFAULT 'waiting',
    result       job_result,
    reason       text NOT NULL DEFAULT '',
    exit_status  integer,
    properties   jsonb,
    kept_from    integer,                               -- the earlier attempt that passed it
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (job, attempt, name, index),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number) ON DELETE CASCADE,
    CONSTRAINT in_one_place UNIQUE (job, attempt, stage, place),
    CONSTRAINT done_means_result CHECK ((state = 'done') = (result IS NOT NULL)),
    CONSTRAINT bad_ends_give_a_reason CHECK
        (result IS NULL OR result IN ('success', 'reused', 'skipped') OR reason <> '')
);

-- Logs: numbered chunks, compressed by the worker (zstandard), stored as they came.
CREATE TABLE log_chunk (
    job        bigint NOT NULL,
    attempt    integer NOT NULL,
    start      bigint NOT NULL CHECK (start >= 0),  -- first uncompressed byte
    length     integer NOT NULL CHECK (length > 0), -- uncompressed bytes
    name       text,                                -- of the pipeline job, or NULL: preparation
    index      integer CHECK (index >= 0),
    stored_at  timestamptz NOT NULL DEFAULT farm_now(),
    data       bytea NOT NULL,
    PRIMARY KEY (job, attempt, start),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number) ON DELETE CASCADE,
    CONSTRAINT of_a_whole_name CHECK ((name IS NULL) = (index IS NULL))
);
ALTER TABLE log_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- Contents, by hash; the bytes lie in the masters' blob folder.
CREATE TABLE blob (
    sha256     bytea PRIMARY KEY CHECK (length(sha256) = 32),
    size       bigint NOT NULL CHECK (size >= 0),
    stored_at  timestamptz NOT NULL DEFAULT farm_now()
);

-- Files that pipeline jobs made.
CREATE TABLE artifact (
    job      bigint NOT NULL,
    attempt  integer NOT NULL,
    name     text NOT NULL,
    index    integer NOT NULL,
    path     text NOT NULL CHECK (path <> '' AND path !~ '(^|/)\.\.(/|$)' AND path !~ '^/'),
    sha256   bytea NOT NULL REFERENCES blob,
    PRIMARY KEY (job, attempt, name, index, path),
    FOREIGN KEY (job, attempt, name, index) REFERENCES pipeline_job ON DELETE CASCADE
);
CREATE INDEX artifact_blob ON artifact (sha256);
