-- Kinds of jobs that come as plug-ins: their own SQL files, and what follows when one of
-- their jobs has ended. And keys: what is asked for twice while it is under way is one job.

-- The files of each plug-in that were applied; as schema_version for those of this folder.
CREATE TABLE kind_schema_version (
    kind        text NOT NULL,
    number      integer NOT NULL CHECK (number >= 1),
    name        text NOT NULL,
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),
    applied_at  timestamptz NOT NULL DEFAULT farm_now(),
    PRIMARY KEY (kind, number)
);

-- Whether the kind's plug-in wants to hear when a job ends.
ALTER TABLE job_kind ADD hears_ends boolean NOT NULL DEFAULT false;

-- Jobs that ended and whose kind has not yet been heard about it. Written in the transaction
-- that ends the job, removed in the one that writes what follows: nothing is missed, and
-- what follows is written once.
CREATE TABLE kind_end (
    job        bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    attempt    integer NOT NULL,
    tries      integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try   timestamptz NOT NULL DEFAULT farm_now(),   -- nobody is at it before
    PRIMARY KEY (job, attempt)
);
CREATE INDEX kind_end_due ON kind_end (next_try);

CREATE FUNCTION note_kind_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kind_end (job, attempt)
        SELECT NEW.id, NEW.attempt FROM job_kind AS k
        WHERE k.name = NEW.kind AND k.hears_ends
        ON CONFLICT DO NOTHING;
    IF FOUND THEN
        NOTIFY headrace_kind_ends;
    END IF;
    RETURN NULL;
END $$;
-- Jobs of our own kinds never get as far as the function: only the condition is looked at.
CREATE TRIGGER note_kind_end AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.state = 'done' AND OLD.state <> 'done'
          AND NEW.kind <> 'native' AND NEW.kind <> 'build')
    EXECUTE FUNCTION note_kind_end();

-- The newest job of each key: while it has not ended, who asks for the key gets that job.
CREATE TABLE job_key (
    kind  text NOT NULL REFERENCES job_kind,
    key   text NOT NULL,
    job   bigint REFERENCES job,
    PRIMARY KEY (kind, key)
);
