-- Schedules: workflows, pipelines and jobs that begin at times of a calendar.

CREATE TABLE schedule (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$'),
    cron        text NOT NULL,
    zone        text NOT NULL,       -- of the IANA database
    starts      jsonb NOT NULL,      -- {"workflow": ...}, {"run": ...} or {"jobs": ...}
    overlap     text NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'queue', 'replace')),
    catch_up    text NOT NULL DEFAULT 'last' CHECK (catch_up IN ('none', 'last', 'all')),
    catch_up_limit  integer NOT NULL DEFAULT 10 CHECK (catch_up_limit BETWEEN 1 AND 100),
    owner       text NOT NULL,
    made_by     text NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT farm_now(),
    paused      boolean NOT NULL DEFAULT false,
    next_at     timestamptz          -- NULL: it has no time any more
);
CREATE INDEX schedule_due ON schedule (next_at) WHERE NOT paused;

-- One time of a schedule. Its key makes each happen once, however many masters look.
CREATE TABLE firing (
    schedule    bigint NOT NULL REFERENCES schedule ON DELETE CASCADE,
    at          timestamptz NOT NULL,           -- when it was to be
    state       text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'started', 'skipped', 'failed')),
    reason      text NOT NULL DEFAULT '',
    workflow    bigint REFERENCES workflow ON DELETE SET NULL,   -- that it started
    run         bigint REFERENCES run ON DELETE SET NULL,
    decided_at  timestamptz,
    PRIMARY KEY (schedule, at),
    CONSTRAINT waits_or_was_decided CHECK ((state = 'waiting') = (decided_at IS NULL)),
    CONSTRAINT what_does_not_start_says_why CHECK
        (state NOT IN ('skipped', 'failed') OR reason <> '')
);
CREATE INDEX firing_waiting ON firing (schedule, at) WHERE state = 'waiting';
CREATE INDEX firing_started ON firing (schedule, at) WHERE state = 'started';

-- Whether what a schedule started last is still under way.
CREATE FUNCTION is_under_way(f firing) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM workflow AS w WHERE w.id = f.workflow AND w.state <> 'done')
        OR EXISTS (SELECT FROM run AS r WHERE r.id = f.run AND r.state <> 'done')
$$;
