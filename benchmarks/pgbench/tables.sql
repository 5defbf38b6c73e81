-- What the scripts beside this file work on: the least that a queue can be.

CREATE TABLE single (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text);

-- Variant "state": one table, and a column that says how far a job is.
CREATE TABLE state_job (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state    text NOT NULL DEFAULT 'ready',
    payload  text NOT NULL
);
CREATE INDEX state_job_ready ON state_job (id) WHERE state = 'ready';

-- Variant "moved": a job is a row of one of three tables.
CREATE TABLE moved_ready (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload  text NOT NULL
);
CREATE TABLE moved_running (id bigint PRIMARY KEY, payload text NOT NULL);
CREATE TABLE moved_done (id bigint PRIMARY KEY, payload text NOT NULL);

-- Variant "deleted": a claim removes the job for good, and nothing is ever completed.
CREATE TABLE deleted_ready (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload  text NOT NULL
);
-- Its claims are all that was inserted less what is left.
CREATE VIEW deleted_count AS
    SELECT CASE WHEN sequence.is_called THEN sequence.last_value ELSE 0 END
           - (SELECT count(*) FROM deleted_ready) AS completed
    FROM deleted_ready_id_seq AS sequence;

CREATE FUNCTION forget_jobs() RETURNS void LANGUAGE sql AS $$
    TRUNCATE state_job, moved_ready, moved_running, moved_done, deleted_ready
        RESTART IDENTITY
$$;
