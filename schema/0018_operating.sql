-- What operators do to workers, to the line and to many jobs at a time. Everything here
-- works in batches that the caller bounds, and never waits for a claim: the rows of the line
-- are taken first, as a claim does, and only those that nobody else has.

-- Parked jobs by project. The text is set and emptied with the parking, so that no other
-- change of a job touches this index.
CREATE INDEX job_parked ON job (repository, id) WHERE parked_for <> '';

-- A held project: its jobs in the line are parked batch by batch, up to "parked_to". Which
-- jobs were queued by transactions that did not yet see the hold is known only when those
-- older than it have ended.
ALTER TABLE queue_hold
    ADD held_from    text NOT NULL DEFAULT '',   -- the address from which it was asked
    ADD transaction  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD parked_to    bigint NOT NULL DEFAULT 0 CHECK (parked_to >= 0),
    ADD is_parked    boolean NOT NULL DEFAULT false;

-- Projects that were let go, whose parked jobs still have to be.
CREATE TABLE hold_release (
    name  text PRIMARY KEY
);

-- Take the rows of jobs in the line, or beside it, that nobody else has; whose.
CREATE FUNCTION lock_line(jobs bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    in_line bigint[];
    beside bigint[];
BEGIN
    SELECT array_agg(l.job) INTO in_line FROM (
        SELECT r.job FROM ready AS r WHERE r.job = ANY (jobs)
        ORDER BY r.job FOR UPDATE SKIP LOCKED) AS l;
    SELECT array_agg(l.job) INTO beside FROM (
        SELECT a.job FROM aside AS a WHERE a.job = ANY (jobs)
        ORDER BY a.job FOR UPDATE SKIP LOCKED) AS l;
    RETURN coalesce(in_line, '{}') || coalesce(beside, '{}');
END $$;

-- Take jobs out of the line whose rows there are the caller's.
CREATE FUNCTION leave_line(jobs bigint[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM ready WHERE job = ANY (jobs);
    DELETE FROM aside WHERE job = ANY (jobs);
$$;

-- Park jobs that stand in the line, or wait for nothing but a time; those that were.
CREATE FUNCTION park_jobs(jobs bigint[], why text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[] := lock_line(jobs);
    parked bigint[];
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
    WITH changed AS (
        UPDATE job AS j SET state = 'parked', parked_for = left(why, 4000)
        WHERE j.id = ANY (jobs) AND j.blocked_by = 0
          AND (j.state = 'waiting' OR (j.state = 'ready' AND j.id = ANY (mine)))
        RETURNING j.id
    ), told AS (
        INSERT INTO event (kind, job, payload)
        SELECT 'job.parked', c.id, jsonb_build_object('state', 'parked', 'reason', why)
        FROM changed AS c ORDER BY c.id
    )
    SELECT array_agg(c.id ORDER BY c.id) INTO parked FROM changed AS c;
    PERFORM leave_line(parked);
    DELETE FROM delayed WHERE job = ANY (parked);
    RETURN coalesce(parked, '{}');
END $$;

-- Let parked jobs go: they are queued, unless something else holds them.
CREATE FUNCTION let_go(jobs bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    gone bigint[];
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
    WITH changed AS (
        UPDATE job AS j SET state = 'waiting', parked_for = ''
        WHERE j.id = ANY (jobs) AND j.state = 'parked' RETURNING j.id
    )
    SELECT array_agg(c.id ORDER BY c.id) INTO gone FROM changed AS c;
    PERFORM make_ready(gone);
    RETURN coalesce(gone, '{}');
END $$;

-- One batch for a held or released project; how many jobs it changed, and whether that was
-- all. Nothing is known of all of them while transactions run that are older than the hold.
CREATE FUNCTION park_project(project text, most integer)
RETURNS TABLE (jobs integer, is_over boolean) LANGUAGE plpgsql AS $$
DECLARE
    hold queue_hold;
    batch bigint[];
    changed bigint[];
BEGIN
    SELECT * INTO hold FROM queue_hold AS h
    WHERE h.scope = 'project' AND h.name = project AND NOT h.is_parked FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR (hold.parked_to = 0
                     AND hold.transaction >= pg_snapshot_xmin(pg_current_snapshot())) THEN
        RETURN QUERY SELECT 0, true;
        RETURN;
    END IF;
    SELECT array_agg(found.job ORDER BY found.job) INTO batch FROM (
        SELECT line.job
        FROM (SELECT r.job FROM ready AS r UNION ALL SELECT a.job FROM aside AS a) AS line
        JOIN job AS j ON j.id = line.job
        WHERE line.job > hold.parked_to AND j.repository = project
        ORDER BY line.job LIMIT most) AS found;
    changed := park_jobs(batch, 'project ' || project || ' is held: ' || hold.reason);
    UPDATE queue_hold AS h
    SET parked_to = coalesce(batch[cardinality(batch)], h.parked_to),
        is_parked = coalesce(cardinality(batch), 0) < most
    WHERE h.scope = 'project' AND h.name = project;
    RETURN QUERY SELECT coalesce(cardinality(changed), 0), coalesce(cardinality(batch), 0) < most;
END $$;
CREATE FUNCTION release_project(project text, most integer)
RETURNS TABLE (jobs integer, is_over boolean) LANGUAGE plpgsql AS $$
DECLARE
    batch bigint[];
BEGIN
    PERFORM FROM hold_release AS h WHERE h.name = project FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 0, true;
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM queue_hold AS h WHERE h.scope = 'project' AND h.name = project)
    THEN
        SELECT array_agg(found.id) INTO batch FROM (
            SELECT j.id FROM job AS j
            WHERE j.parked_for <> '' AND j.repository = project AND j.state = 'parked'
              AND starts_with(j.parked_for, 'project ' || project || ' is held: ')
            ORDER BY j.id LIMIT most) AS found;
        PERFORM let_go(batch);
    END IF;
    IF coalesce(cardinality(batch), 0) < most THEN
        DELETE FROM hold_release AS h WHERE h.name = project;
    END IF;
    RETURN QUERY SELECT coalesce(cardinality(batch), 0), coalesce(cardinality(batch), 0) < most;
END $$;

-- End what was to last until a time that has come; how much.
CREATE FUNCTION end_due() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    ended integer;
BEGIN
    WITH back AS (
        UPDATE worker AS w
        SET duty = 'active', duty_reason = '', duty_by = '', duty_until = NULL
        WHERE w.duty_until <= farm_now() RETURNING w.name
    ), released AS (
        DELETE FROM queue_hold AS h WHERE h.until <= farm_now() RETURNING h.scope, h.name
    ), projects AS (
        INSERT INTO hold_release (name) SELECT r.name FROM released AS r
        WHERE r.scope = 'project' ON CONFLICT DO NOTHING
    ), told AS (
        INSERT INTO event (kind, worker, payload)
        SELECT 'worker.duty', back.name, jsonb_build_object(
                   'duty', 'active', 'by', 'the farm', 'why', 'its time was over')
        FROM back
        UNION ALL
        SELECT 'queue.released', NULL, jsonb_build_object(
                   'scope', r.scope, 'name', r.name, 'by', 'the farm',
                   'why', 'its time was over')
        FROM released AS r
    )
    SELECT (SELECT count(*) FROM back) + (SELECT count(*) FROM released) INTO ended;
    IF ended > 0 THEN
        PERFORM pg_notify('headrace_ready', '');
    END IF;
    RETURN ended;
END $$;

-- Give jobs another score, or with NULL their own again; those that were changed.
CREATE FUNCTION rescore_jobs(jobs bigint[], new_score integer) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[] := lock_line(jobs);
    changed bigint[];
    places text[];
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
    WITH rescored AS (
        UPDATE job AS j SET manual_score = new_score
        WHERE j.id = ANY (jobs) AND j.state <> 'done' RETURNING j.id
    )
    SELECT array_agg(r.id ORDER BY r.id) INTO changed FROM rescored AS r;
    UPDATE aside AS a
    SET position = queue_position(coalesce(j.manual_score, j.score), j.virtual_start)
    FROM job AS j WHERE j.id = a.job AND a.job = ANY (mine);
    WITH moved AS (
        UPDATE ready AS r
        SET position = queue_position(coalesce(j.manual_score, j.score), j.virtual_start)
        FROM job AS j WHERE j.id = r.job AND r.job = ANY (mine)
        RETURNING r.class, r.position
    ), heads AS (
        SELECT m.class || ':' || min(m.position) AS place FROM moved AS m GROUP BY m.class
    )
    SELECT array_agg(place) INTO places FROM heads;
    PERFORM tell_ready(places);
    DELETE FROM forecast WHERE job = ANY (changed);
    RETURN coalesce(changed, '{}');
END $$;

-- Put a job into another class; its state if that cannot be, else NULL.
CREATE FUNCTION reclass_job(the_job bigint, new_class integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    mine boolean := the_job = ANY (lock_line(ARRAY[the_job]));
    found job;
    told text[];
BEGIN
    SELECT * INTO found FROM job WHERE id = the_job FOR NO KEY UPDATE;
    IF found.state NOT IN ('waiting', 'ready', 'parked') THEN
        RETURN found.state;
    ELSIF found.state = 'ready' AND NOT mine THEN
        RETURN 'assigned';
    END IF;
    UPDATE job SET class = new_class WHERE id = the_job;
    UPDATE aside SET class = new_class WHERE job = the_job;
    WITH moved AS (
        UPDATE ready SET class = new_class WHERE job = the_job RETURNING class, position)
    SELECT array_agg(moved.class || ':' || moved.position) INTO told FROM moved;
    PERFORM tell_ready(told);
    DELETE FROM forecast WHERE job = the_job;
    RETURN NULL;
END $$;
