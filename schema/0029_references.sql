-- Jobs that refer to jobs: the nodes of a .headrace.yaml are builds of one pipeline job each
-- (or of an included pipeline), with edges between them.

ALTER TABLE job
    ADD allow_failure  boolean NOT NULL DEFAULT false,   -- a bad end counts as a good one
    ADD gate           text NOT NULL DEFAULT '';         -- why it is parked before it is queued
ALTER TABLE edge
    ADD choice  integer,    -- of the edges of a job with this number one suffices
    ADD handed  jsonb CHECK (jsonb_typeof(handed) = 'array'),
                            -- which files of its upstream the job gets, and where
    ADD label   text;       -- what the key of the job calls its upstream; NULL: it does not count

-- What only nodes have.
CREATE TABLE node (
    job             bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE,
    job_name        text NOT NULL,               -- its identifier in the file
    package         text,                        -- or a component of packages
    covers          text[] NOT NULL,             -- packages whose changes are its own
    scope           text NOT NULL CHECK (scope IN ('each', 'top', 'component', 'run')),
    reuse           text NOT NULL CHECK (reuse IN ('never', 'inputs', 'outputs')),
    base            bytea NOT NULL CHECK (length(base) = 32),    -- what it is, without its upstreams
    inputs          bytea NOT NULL CHECK (length(inputs) = 32),  -- with theirs
    is_late         boolean NOT NULL,            -- its key depends on what upstreams make
    key             bytea CHECK (length(key) = 32),              -- known when they have ended
    environment     text NOT NULL,               -- isolation/architecture/series
    reused_from     bigint REFERENCES job,       -- whose result stands for its own
    reused_attempt  integer,
    verifies        bigint REFERENCES job,       -- whose result it could have had; made anew to compare
    skipped         text NOT NULL DEFAULT '',    -- why it never runs: not_top, unchanged
    content         jsonb,                       -- of a component: a key for each package
    CONSTRAINT reused_is_whole CHECK ((reused_from IS NULL) = (reused_attempt IS NULL)),
    CONSTRAINT not_from_itself CHECK (reused_from <> job AND verifies <> job)
);
CREATE INDEX node_inputs ON node (inputs);
CREATE INDEX node_key ON node (key) WHERE key IS NOT NULL;
CREATE INDEX node_component ON node (job_name, package, job) WHERE scope = 'component';
CREATE INDEX node_environment ON node (environment, job);

-- A result as it counts for the run, and for those who wait.
CREATE FUNCTION counted(result job_result, allow_failure boolean) RETURNS job_result
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN allow_failure
                     AND result IN ('failure', 'error', 'timeout', 'malformed')
                THEN 'success'::job_result ELSE result END
$$;

-- As before; but jobs with a gate are parked before they are queued.
CREATE OR REPLACE FUNCTION make_ready(jobs bigint[]) RETURNS TABLE (job bigint, attempt integer)
LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    moved boolean;
BEGIN
    PERFORM FROM job AS j WHERE j.id = ANY (jobs) ORDER BY j.id FOR NO KEY UPDATE;
    INSERT INTO delayed AS d
        SELECT j.id, j.not_before FROM job AS j
        WHERE j.id = ANY (jobs) AND j.state = 'waiting' AND j.blocked_by = 0
          AND j.not_before > now_
        ON CONFLICT ON CONSTRAINT delayed_pkey DO UPDATE SET not_before = excluded.not_before;
    IF EXISTS (SELECT FROM queue_hold WHERE scope = 'project') THEN
        WITH parked AS (
            UPDATE job AS j
            SET state = 'parked', parked_for = 'project ' || hold.name || ' is held: '
                                               || hold.reason
            FROM queue_hold AS hold
            WHERE j.id = ANY (jobs) AND j.state = 'waiting' AND j.blocked_by = 0
              AND (j.not_before IS NULL OR j.not_before <= now_)
              AND hold.scope = 'project' AND hold.name = j.repository
            RETURNING j.id, j.parked_for)
        INSERT INTO event (kind, job, payload)
            SELECT 'job.parked', parked.id,
                   jsonb_build_object('state', 'parked', 'reason', parked.parked_for)
            FROM parked ORDER BY parked.id;
    END IF;
    IF EXISTS (SELECT FROM job AS j WHERE j.id = ANY (jobs) AND j.gate <> '') THEN
        WITH parked AS (
            UPDATE job AS j SET state = 'parked', parked_for = j.gate
            WHERE j.id = ANY (jobs) AND j.state = 'waiting' AND j.blocked_by = 0
              AND j.gate <> '' AND (j.not_before IS NULL OR j.not_before <= now_)
            RETURNING j.id, j.parked_for)
        INSERT INTO event (kind, job, payload)
            SELECT 'job.parked', parked.id,
                   jsonb_build_object('state', 'parked', 'reason', parked.parked_for)
            FROM parked ORDER BY parked.id;
    END IF;
    RETURN QUERY
    WITH unblocked AS (
        UPDATE job AS j SET state = 'ready', ready_at = now_, not_before = NULL
        WHERE j.id = ANY (jobs) AND j.state = 'waiting' AND j.blocked_by = 0
          AND (j.not_before IS NULL OR j.not_before <= now_)
        RETURNING j.id, j.attempt, j.class, j.limits,
                  queue_position(coalesce(j.manual_score, j.score), j.virtual_start) AS position
    ), queued AS (
        INSERT INTO ready (class, position, job, attempt, limits)
        SELECT u.class, u.position, u.id, u.attempt, u.limits FROM unblocked AS u
    ), told AS (
        INSERT INTO event (kind, job, payload)
        SELECT 'job.ready', u.id, jsonb_build_object('state', 'ready', 'attempt', u.attempt)
        FROM unblocked AS u ORDER BY u.id
    ), woken AS MATERIALIZED (
        SELECT tell_ready(array_agg(DISTINCT head.place)) FROM (
            SELECT u.class || ':' || min(u.position) AS place FROM unblocked AS u
            GROUP BY u.class) AS head
    )
    SELECT u.id, u.attempt FROM unblocked AS u, woken ORDER BY u.id;
END $$;

-- As before; but a bad end that is allowed counts as a good one.
CREATE OR REPLACE FUNCTION settle_done(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wave bigint[] := jobs;
    ended bigint[] := jobs;
    now_ timestamptz := farm_now();
BEGIN
    -- What ends downstream ends more, whose ids may be smaller: all of it is locked first.
    IF EXISTS (SELECT FROM edge AS e JOIN job AS up ON up.id = e.up
               WHERE e.up = ANY (jobs) AND e.resolved_at IS NULL
                 AND judge(e.require, counted(up.result, up.allow_failure)) <> 'go') THEN
        PERFORM lock_downstream(jobs);
    END IF;
    WHILE EXISTS (SELECT FROM edge WHERE up = ANY (wave) AND resolved_at IS NULL) LOOP
        wave := resolve_edges(wave, NULL, now_);
        ended := ended || wave;
    END LOOP;
    PERFORM settle_runs(ended, now_);
END $$;

-- As before, with choices, with bad ends that are allowed, and with gates.
CREATE OR REPLACE FUNCTION resolve_edges(wave bigint[], stage integer, now_ timestamptz)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    held boolean := EXISTS (SELECT FROM queue_hold WHERE scope = 'project');
    freed bigint[];    -- wait for nothing, but may not be queued without a closer look
    decided bigint[];
    places text[];
BEGIN
    PERFORM FROM job WHERE id IN (
        SELECT e.down FROM edge AS e
        WHERE e.up = ANY (wave) AND e.resolved_at IS NULL
          AND (stage IS NULL OR e.up_stage = stage))
    ORDER BY id FOR NO KEY UPDATE;
    WITH resolved AS (
        UPDATE edge AS e SET resolved_at = now_, up_attempt = up.attempt
        FROM job AS up
        WHERE e.up = ANY (wave) AND up.id = e.up AND e.resolved_at IS NULL
          AND (stage IS NULL OR e.up_stage = stage)
        RETURNING e.up, e.down, e.choice,
                  CASE WHEN stage IS NULL
                       THEN judge(e.require, counted(up.result, up.allow_failure))
                       ELSE 'go' END AS says
    ), chosen AS (
        -- One edge of a choice that says go decides for the others, which see nothing.
        UPDATE edge AS e SET resolved_at = now_, up_attempt = 0
        FROM (SELECT DISTINCT r.down, r.choice FROM resolved AS r
              WHERE r.choice IS NOT NULL AND r.says = 'go') AS won
        WHERE e.down = won.down AND e.choice = won.choice AND e.resolved_at IS NULL
          AND NOT (e.up = ANY (wave) AND (stage IS NULL OR e.up_stage = stage))
        RETURNING e.down
    ), told AS MATERIALIZED (
        SELECT r.up, r.down,
               CASE WHEN r.choice IS NULL OR r.says = 'go' THEN r.says
                    -- Another one of the choice may yet say go, or has.
                    WHEN EXISTS (SELECT FROM resolved AS other
                                 WHERE other.down = r.down AND other.choice = r.choice
                                   AND other.says = 'go') THEN 'go'
                    WHEN EXISTS (SELECT FROM edge AS e
                                 WHERE e.down = r.down AND e.choice = r.choice
                                   AND e.resolved_at IS NULL
                                   AND NOT (e.up = ANY (wave)
                                            AND (stage IS NULL OR e.up_stage = stage)))
                        THEN 'go'
                    ELSE r.says END AS says
        FROM resolved AS r
    ), verdict AS (
        SELECT t.down, count(*)::integer + coalesce((
                   SELECT count(*) FROM chosen WHERE chosen.down = t.down), 0)::integer
                   AS edges,
               min(t.up) FILTER (WHERE t.says = 'unrun') AS unrun_by,
               min(t.up) FILTER (WHERE t.says = 'skip') AS skipped_by
        FROM told AS t GROUP BY t.down
    ), outcome AS (
        SELECT j.id, v.edges,
               CASE WHEN j.state <> 'waiting' THEN NULL
                    WHEN v.unrun_by IS NOT NULL THEN 'unrun'
                    WHEN v.skipped_by IS NOT NULL THEN 'skip'
                    WHEN j.blocked_by > v.edges THEN NULL
                    WHEN held OR j.not_before > now_ OR j.gate <> '' THEN 'look'
                    ELSE 'ready' END AS then,
               coalesce(cause.root_cause, cause.id) AS root,
               left(CASE WHEN v.unrun_by IS NULL THEN
                        'it is only for a bad end of '
                        || job_title(cause.id, cause.name, cause.cell) || ', which passed'
                    WHEN cause.root_cause IS NOT NULL THEN cause.reason
                    ELSE 'it needs ' || job_title(cause.id, cause.name, cause.cell) || ': '
                         || cause.reason END, 4000) AS why
        FROM verdict AS v JOIN job AS j ON j.id = v.down
        LEFT JOIN job AS cause ON cause.id = coalesce(v.unrun_by, v.skipped_by)
    ), changed AS (
        UPDATE job AS j
        SET blocked_by = j.blocked_by - o.edges,
            state = CASE o.then WHEN 'ready' THEN 'ready'::job_state
                                WHEN 'unrun' THEN 'done' WHEN 'skip' THEN 'done'
                                ELSE j.state END,
            ready_at = CASE o.then WHEN 'ready' THEN now_ ELSE j.ready_at END,
            not_before = CASE o.then WHEN 'ready' THEN NULL ELSE j.not_before END,
            result = CASE o.then WHEN 'unrun' THEN 'unrun'::job_result
                                 WHEN 'skip' THEN 'skipped' ELSE j.result END,
            root_cause = CASE o.then WHEN 'unrun' THEN o.root ELSE j.root_cause END,
            reason = CASE WHEN o.then IN ('unrun', 'skip') THEN o.why ELSE j.reason END,
            finished_at = CASE WHEN o.then IN ('unrun', 'skip') THEN now_
                               ELSE j.finished_at END
        FROM outcome AS o WHERE j.id = o.id
        RETURNING j.id, o.then, j.attempt, j.class, j.limits, j.result, j.reason,
                  queue_position(coalesce(j.manual_score, j.score), j.virtual_start) AS position
    ), queued AS (
        INSERT INTO ready (class, position, job, attempt, limits)
        SELECT c.class, c.position, c.id, c.attempt, c.limits FROM changed AS c
        WHERE c.then = 'ready'
    ), ended AS (
        UPDATE attempt AS a SET result = c.result, reason = c.reason, finished_at = now_
        FROM changed AS c
        WHERE c.then IN ('unrun', 'skip') AND a.job = c.id AND a.number = c.attempt
          AND a.finished_at IS NULL
    ), unrun AS (
        UPDATE pipeline_job AS p
        SET state = 'done', result = 'unrun', reason = c.reason, finished_at = now_
        FROM changed AS c
        WHERE c.then IN ('unrun', 'skip') AND p.job = c.id AND p.attempt = c.attempt
          AND p.state <> 'done'
    ), noted AS (
        INSERT INTO event (kind, job, payload)
        SELECT CASE c.then WHEN 'ready' THEN 'job.ready' ELSE 'job.done' END, c.id,
               CASE c.then WHEN 'ready'
                   THEN jsonb_build_object('state', 'ready', 'attempt', c.attempt)
                   ELSE jsonb_build_object('state', 'done', 'attempt', c.attempt,
                                           'result', c.result, 'reason', c.reason) END
        FROM changed AS c WHERE c.then IN ('ready', 'unrun', 'skip') ORDER BY c.id
    ), heads AS (
        SELECT c.class || ':' || min(c.position) AS place FROM changed AS c
        WHERE c.then = 'ready' GROUP BY c.class
    )
    SELECT array_agg(c.id ORDER BY c.id) FILTER (WHERE c.then IN ('unrun', 'skip')),
           array_agg(c.id) FILTER (WHERE c.then = 'look'),
           (SELECT array_agg(place) FROM heads)
    INTO decided, freed, places FROM changed AS c;
    PERFORM tell_ready(places);
    IF freed IS NOT NULL THEN
        PERFORM make_ready(freed);
    END IF;
    RETURN coalesce(decided, '{}');
END $$;

-- As before; but a bad end that is allowed counts as a good one.
CREATE OR REPLACE FUNCTION end_runs(runs bigint[], now_ timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH over AS (
        UPDATE run SET state = 'done', finished_at = now_, result = (
            SELECT worst_result(array_agg(DISTINCT counted(job.result, job.allow_failure)))
            FROM run_job AS rj JOIN job ON job.id = rj.job
            WHERE rj.run = run.id AND rj.required)
        WHERE run.id = ANY (runs) AND run.state = 'sealed' AND run.open_jobs = 0
        RETURNING run.id, run.result)
    INSERT INTO event (kind, run, payload)
    SELECT 'run.done', over.id, jsonb_build_object('state', 'done', 'result', over.result)
    FROM over ORDER BY over.id;
END $$;

-- Let a gated job go, now or as soon as it waits for nothing else; false if it has no gate.
CREATE FUNCTION open_gate(the_job bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found job;
BEGIN
    SELECT * INTO found FROM job WHERE id = the_job FOR NO KEY UPDATE;
    IF found.gate IS NULL OR found.gate = '' OR found.state = 'done' THEN
        RETURN false;
    END IF;
    UPDATE job SET gate = '' WHERE id = the_job;
    IF found.state = 'parked' AND found.parked_for = found.gate THEN
        PERFORM let_go(ARRAY[the_job]);
    END IF;
    RETURN true;
END $$;

-- End jobs that were just written, each in its own way, then all that follows. All of them
-- end before any edge is resolved, so that none is queued.
CREATE FUNCTION end_new_jobs(jobs bigint[], ends job_result[], whys text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
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
    PERFORM settle_done(jobs);
END $$;

-- Collections: files of several repositories that somebody needs together.
ALTER TABLE node ADD provides text, ADD member text,
    ADD CONSTRAINT provides_as_somebody CHECK ((provides IS NULL) = (member IS NULL));
-- Who is in one: the last job of each member and cell that passed.
CREATE TABLE collection_member (
    collection    text NOT NULL,
    trust_domain  text NOT NULL,
    member        text NOT NULL,
    cell          jsonb NOT NULL,
    job           bigint NOT NULL REFERENCES job,
    since         timestamptz NOT NULL DEFAULT farm_now(),
    PRIMARY KEY (collection, trust_domain, member, cell)
);
-- Who waits for one.
CREATE TABLE collection_wait (
    job           bigint NOT NULL REFERENCES job ON DELETE CASCADE,
    collection    text NOT NULL,
    trust_domain  text NOT NULL,
    contains      text[] NOT NULL CHECK (cardinality(contains) > 0),
    axis          text,            -- on which members must agree with the job
    value         text,
    since         timestamptz NOT NULL DEFAULT farm_now(),
    PRIMARY KEY (job, collection),
    CONSTRAINT agrees_on_something CHECK ((axis IS NULL) = (value IS NULL))
);
CREATE INDEX collection_wait_for ON collection_wait (collection, trust_domain);

-- Look at what jobs wait for: those whose collections are complete are let go, with edges on
-- the members, whose files they get; the gates of others say who is missing.
CREATE FUNCTION look_at_collections(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one bigint;
    missing text;
BEGIN
    FOREACH one IN ARRAY jobs LOOP
        PERFORM FROM job WHERE id = one AND state <> 'done' FOR NO KEY UPDATE;
        CONTINUE WHEN NOT FOUND;
        SELECT string_agg(format('%s is missing from the collection %s since %s', m.member,
                                 w.collection, to_char(w.since AT TIME ZONE 'UTC',
                                                       'YYYY-MM-DD HH24:MI UTC')),
                          '; ' ORDER BY w.collection, m.member)
        INTO missing
        FROM collection_wait AS w CROSS JOIN LATERAL unnest(w.contains) AS m (member)
        WHERE w.job = one AND NOT EXISTS (
            SELECT FROM collection_member AS c
            WHERE c.collection = w.collection AND c.trust_domain = w.trust_domain
              AND c.member = m.member
              AND (w.axis IS NULL OR c.cell ->> w.axis IS NOT DISTINCT FROM w.value));
        IF missing IS NOT NULL THEN
            UPDATE job SET gate = left(missing, 4000),
                   parked_for = CASE WHEN state = 'parked' AND parked_for = gate
                                     THEN left(missing, 4000) ELSE parked_for END
            WHERE id = one;
            CONTINUE;
        END IF;
        INSERT INTO edge (up, down, handed, resolved_at, up_attempt)
            SELECT DISTINCT ON (c.job) c.job, one,
                   jsonb_build_array(jsonb_build_object('job', w.collection,
                                                        'folder', c.member)),
                   farm_now(), j.attempt
            FROM collection_wait AS w
            JOIN collection_member AS c ON c.collection = w.collection
             AND c.trust_domain = w.trust_domain AND c.member = ANY (w.contains)
             AND (w.axis IS NULL OR c.cell ->> w.axis IS NOT DISTINCT FROM w.value)
            JOIN job AS j ON j.id = c.job
            WHERE w.job = one AND c.job <> one
            -- It may need that job by itself, too.
            ON CONFLICT (down, up, coalesce(up_stage, -1)) DO UPDATE
            SET handed = coalesce(edge.handed, '[]') || excluded.handed;
        DELETE FROM collection_wait WHERE job = one;
        PERFORM open_gate(one);
    END LOOP;
END $$;

CREATE FUNCTION note_member() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    INSERT INTO collection_member AS m (collection, trust_domain, member, cell, job)
        SELECT n.provides, NEW.trust_domain, n.member,
               jsonb_build_object('arch', b.architecture, 'series', b.series) || coalesce((
                   SELECT jsonb_object_agg(split_part(pair, '=', 1), split_part(pair, '=', 2))
                   FROM unnest(string_to_array(nullif(NEW.cell, ''), ',')) AS pair), '{}'),
               NEW.id
        FROM node AS n JOIN build AS b ON b.job = n.job
        WHERE n.job = NEW.id AND n.provides IS NOT NULL
        ON CONFLICT (collection, trust_domain, member, cell)
            DO UPDATE SET job = excluded.job, since = farm_now()
        RETURNING m.collection INTO name;
    IF FOUND THEN
        PERFORM look_at_collections(ARRAY(
            SELECT w.job FROM collection_wait AS w
            WHERE w.collection = name AND w.trust_domain = NEW.trust_domain ORDER BY w.job));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_member AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.state = 'done' AND OLD.state <> 'done' AND NEW.kind = 'build'
          AND NEW.result IN ('success', 'reused'))
    EXECUTE FUNCTION note_member();
