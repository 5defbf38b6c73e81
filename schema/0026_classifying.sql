-- Why a failure is no news: a known issue, the infrastructure, or chance; said by people, or
-- by rules that look for a pattern in the logs of what failed.

CREATE TYPE classification AS ENUM ('known_issue', 'infrastructure', 'flaky');

CREATE TABLE failure_rule (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pattern         text NOT NULL CHECK (pattern <> ''),   -- of RE2, for one line
    classification  classification NOT NULL,
    note            text NOT NULL DEFAULT '',
    link            text NOT NULL DEFAULT '',
    project         text CHECK (project <> ''),            -- repositories below it; NULL: all
    name            text CHECK (name <> ''),               -- of the job; NULL: any
    made_by         text NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT farm_now()
);

CREATE TABLE classified (
    job             bigint NOT NULL,
    attempt         integer NOT NULL,
    classification  classification NOT NULL,
    note            text NOT NULL DEFAULT '',
    link            text NOT NULL DEFAULT '',
    classified_by   text NOT NULL,
    classified_at   timestamptz NOT NULL DEFAULT farm_now(),
    rule            bigint REFERENCES failure_rule ON DELETE SET NULL,  -- NULL: by hand
    PRIMARY KEY (job, attempt),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number) ON DELETE CASCADE
);
CREATE INDEX classified_rule ON classified (rule) WHERE rule IS NOT NULL;

-- Failures whose logs no master has looked through yet. One that takes some says until when.
CREATE TABLE unread_failure (
    job          bigint NOT NULL,
    attempt      integer NOT NULL,
    taken_until  timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (job, attempt),
    FOREIGN KEY (job, attempt) REFERENCES attempt (job, number) ON DELETE CASCADE
);

CREATE FUNCTION is_failure(result job_result) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(result IN ('failure', 'error', 'timeout', 'malformed'), false)
$$;
-- Jobs with an attempt that failed: few, and often asked for. Whether it is the current one that
-- failed the job's row says. An index of jobs by their result would do as well, but then every
-- end of a job would write all the indexes of its row anew.
CREATE TABLE failed_job (
    job  bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE
);
INSERT INTO failed_job SELECT DISTINCT job FROM attempt WHERE is_failure(result);

CREATE FUNCTION note_failure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO failed_job VALUES (NEW.job) ON CONFLICT DO NOTHING;
    INSERT INTO unread_failure (job, attempt)
        SELECT NEW.job, NEW.number WHERE EXISTS (SELECT FROM failure_rule)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_failure AFTER UPDATE OF result ON attempt FOR EACH ROW
    WHEN (OLD.result IS NULL
          AND NEW.result IN ('failure', 'error', 'timeout', 'malformed'))
    EXECUTE FUNCTION note_failure();

-- Lists show the class beside the job, and readers tell by the job's row whether what they
-- have of it is still so (as touch_merged_jobs).
CREATE FUNCTION touch_classified_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job SET refs = refs WHERE state = 'done' AND id = coalesce(NEW.job, OLD.job);
    RETURN NULL;
END $$;
CREATE TRIGGER touch_classified_job AFTER INSERT OR UPDATE OR DELETE ON classified
    FOR EACH ROW EXECUTE FUNCTION touch_classified_job();

CREATE VIEW status_v1.classified AS
    SELECT job, attempt, classification::text AS classification, note, link, classified_by,
           classified_at, rule
    FROM public.classified;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'headrace_status') THEN
        GRANT SELECT ON status_v1.classified TO headrace_status;
    END IF;
END $$;
