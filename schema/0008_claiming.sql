-- Claims, and the step that a master takes again and again: what ended, what was accepted,
-- and new work for the workers with room, in one call.

-- While an attempt is leased, its worker and times stand in running only; they are written
-- into its own row when it ends. The worker is there: the claim has looked at its session.
ALTER TABLE running
    ADD position bigint,
    DROP CONSTRAINT running_worker_fkey,
    DROP CONSTRAINT running_class_fkey;
ALTER TABLE attempt DROP CONSTRAINT attempt_worker_fkey;
UPDATE attempt SET worker = NULL, assigned_at = NULL, started_at = NULL
    FROM running WHERE running.job = attempt.job AND running.attempt = attempt.number;

-- A worker with room, as its master knows it. Workers of one bunch can run the same classes.
CREATE TYPE hungry_worker AS (
    name     text,
    session  text,      -- nothing is claimed unless it is still the worker's
    bunch    integer,
    slots    integer,   -- free; likewise, NULL where they are not counted:
    cpu      integer,
    memory   integer,
    disk     integer
);
-- A class that a bunch can run, and the position from which its line is read: a hint that
-- spares the way over rows which are gone.
CREATE TYPE wanted_class AS (bunch integer, class integer, "from" bigint);

-- Take all semaphores of a job, or none. NULL: taken; a name: that one is full; '': somebody
-- else is at one of them just now.
CREATE FUNCTION take_semaphores(the_job bigint, names text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    one text;
    places integer;
BEGIN
    FOREACH one IN ARRAY names LOOP
        SELECT capacity INTO places FROM semaphore WHERE name = one FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN '';
        END IF;
        IF (SELECT count(*) FROM semaphore_hold AS h WHERE h.semaphore = one) >= places THEN
            RETURN one;
        END IF;
    END LOOP;
    INSERT INTO semaphore_hold (semaphore, job) SELECT unnest(names), the_job;
    RETURN NULL;
END $$;

-- Lease the most urgent jobs to workers with room. what: 'claim'; 'mark', the position of a
-- class before which nothing is left that this call could see; 'aside', a job that met a full
-- semaphore; 'gone', a worker whose session is over. payload: of a claim of a job that runs
-- natively, what its order needs.
CREATE FUNCTION claim_jobs(workers jsonb, classes jsonb)
RETURNS TABLE (what text, job bigint, attempt integer, worker text, class integer,
               "position" bigint, kind text, payload text)
LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    names text[]; bunches integer[]; slots integer[];
    cpus integer[]; memories integer[]; disks integer[];
    refusing boolean := EXISTS (SELECT FROM refusal);
    bunch_ integer; first_ integer := 1; last_ integer; room integer; more integer;
    pointer integer; tries integer; suited integer; reserved integer;
    full_ text;
    head record;
    taken_job bigint[]; taken_attempt integer[]; taken_worker text[];
    taken_class integer[]; taken_position bigint[];
    aside_job bigint[]; aside_class integer[]; aside_position bigint[]; aside_for text[];
    left_class integer[]; left_position bigint[];
    all_job bigint[] := '{}'; all_attempt integer[] := '{}'; all_worker text[] := '{}';
    all_class integer[] := '{}'; all_position bigint[] := '{}';
BEGIN
    -- The session stays the worker's while we claim: who opens another waits for this lock.
    PERFORM pg_advisory_xact_lock_shared(hashtext('headrace.worker'), hashtext(h.name))
    FROM jsonb_populate_recordset(NULL::hungry_worker, workers) AS h;
    RETURN QUERY
        SELECT 'gone', NULL::bigint, NULL::integer, h.name, NULL::integer, NULL::bigint,
               NULL::text, NULL::text
        FROM jsonb_populate_recordset(NULL::hungry_worker, workers) AS h
        WHERE NOT EXISTS (
            SELECT FROM worker AS w WHERE w.name = h.name AND w.session = h.session);
    IF EXISTS (SELECT FROM queue_hold) THEN
        IF EXISTS (SELECT FROM queue_hold AS q WHERE q.scope = 'farm') THEN
            RETURN;
        END IF;
        SELECT coalesce(jsonb_agg(w), '[]') INTO classes
        FROM jsonb_populate_recordset(NULL::wanted_class, classes) AS w
        JOIN job_class AS c ON c.id = w.class
        WHERE c.architecture NOT IN (
            SELECT q.name FROM queue_hold AS q WHERE q.scope = 'architecture');
    END IF;
    SELECT array_agg(w.name), array_agg(w.bunch), array_agg(w.slots),
           array_agg(w.cpu), array_agg(w.memory), array_agg(w.disk)
    INTO names, bunches, slots, cpus, memories, disks
    FROM (SELECT h.name, h.bunch, h.cpu, h.memory, h.disk,
                 -- Who is in quarantine shows with one job at a time that it is well.
                 CASE WHEN known.quarantined_at IS NULL THEN h.slots
                      WHEN EXISTS (SELECT FROM running AS r WHERE r.worker = h.name) THEN 0
                      ELSE least(h.slots, 1) END AS slots
          FROM jsonb_populate_recordset(NULL::hungry_worker, workers) AS h
          JOIN worker AS known ON known.name = h.name AND known.session = h.session
          WHERE known.duty = 'active'
          ORDER BY h.bunch, h.slots DESC, h.name) AS w;
    WHILE first_ <= coalesce(cardinality(names), 0) LOOP
        bunch_ := bunches[first_];
        last_ := first_;
        room := 0;
        WHILE last_ <= cardinality(names) AND bunches[last_] = bunch_ LOOP
            room := room + slots[last_];
            last_ := last_ + 1;
        END LOOP;
        last_ := last_ - 1;
        taken_job := '{}'; taken_attempt := '{}'; taken_worker := '{}';
        taken_class := '{}'; taken_position := '{}';
        aside_job := '{}'; aside_class := '{}'; aside_position := '{}'; aside_for := '{}';
        left_class := '{}'; left_position := '{}';
        pointer := first_;
        reserved := NULL;
        -- Where jobs differ in size some of the first may not fit.
        more := CASE WHEN EXISTS (
            SELECT FROM jsonb_populate_recordset(NULL::wanted_class, classes) AS w
            JOIN job_class AS c ON c.id = w.class
            WHERE w.bunch = bunch_
              AND (c.slots > 1 OR c.cpu > 0 OR c.memory > 0 OR c.disk > 0))
            THEN 20 ELSE 0 END;
        FOR head IN
            SELECT h.*, c.slots, c.cpu, c.memory, c.disk,
                   CASE WHEN refusing THEN ARRAY(
                       SELECT refusal.worker FROM refusal
                       WHERE refusal.job = h.job AND refusal.until > now_) END AS refused
            FROM (
                SELECT line.* FROM jsonb_populate_recordset(NULL::wanted_class, classes) AS w
                CROSS JOIN LATERAL (
                    SELECT r.class, r.position, r.job, r.attempt, r.limits FROM ready AS r
                    WHERE r.class = w.class AND r.position >= w."from"
                      AND NOT (refusing AND names[first_:last_] <@ ARRAY(
                          SELECT refusal.worker FROM refusal
                          WHERE refusal.job = r.job AND refusal.until > now_))
                    ORDER BY r.position, r.job LIMIT room + more
                    FOR UPDATE OF r SKIP LOCKED
                ) AS line
                WHERE w.bunch = bunch_
                ORDER BY line.position, line.job LIMIT room + more
            ) AS h JOIN job_class AS c ON c.id = h.class
            ORDER BY h.position, h.job
        LOOP
            EXIT WHEN room <= 0;
            -- The next worker in turn that has room for it.
            suited := NULL;
            tries := last_ - first_ + 1;
            WHILE tries > 0 LOOP
                IF slots[pointer] >= head.slots
                   AND (head.cpu = 0 OR coalesce(cpus[pointer] >= head.cpu, true))
                   AND (head.memory = 0 OR coalesce(memories[pointer] >= head.memory, true))
                   AND (head.disk = 0 OR coalesce(disks[pointer] >= head.disk, true))
                   AND (head.refused IS NULL OR names[pointer] <> ALL (head.refused))
                   AND pointer IS DISTINCT FROM reserved THEN
                    suited := pointer;
                END IF;
                pointer := CASE WHEN pointer = last_ THEN first_ ELSE pointer + 1 END;
                EXIT WHEN suited IS NOT NULL;
                tries := tries - 1;
            END LOOP;
            full_ := NULL;
            IF suited IS NOT NULL AND head.limits IS NOT NULL THEN
                full_ := take_semaphores(head.job, head.limits);
            END IF;
            IF suited IS NULL OR full_ = '' THEN
                left_class := left_class || head.class;
                left_position := left_position || head.position;
                -- It is large: the worker with most room is kept for it, or smaller ones
                -- would be put before it for ever.
                IF suited IS NULL AND reserved IS NULL
                   AND coalesce(cardinality(head.refused), 0) = 0 THEN
                    SELECT i INTO reserved FROM generate_series(first_, last_) AS i
                    ORDER BY slots[i] DESC, memories[i] DESC NULLS FIRST, i LIMIT 1;
                    room := room - slots[reserved];
                END IF;
            ELSIF full_ IS NOT NULL THEN
                aside_job := aside_job || head.job;
                aside_class := aside_class || head.class;
                aside_position := aside_position || head.position;
                aside_for := aside_for || full_;
            ELSE
                slots[suited] := slots[suited] - head.slots;
                cpus[suited] := cpus[suited] - head.cpu;
                memories[suited] := memories[suited] - head.memory;
                disks[suited] := disks[suited] - head.disk;
                room := room - head.slots;
                taken_job := taken_job || head.job;
                taken_attempt := taken_attempt || head.attempt;
                taken_worker := taken_worker || names[suited];
                taken_class := taken_class || head.class;
                taken_position := taken_position || head.position;
            END IF;
        END LOOP;
        DELETE FROM ready AS r
        USING unnest(taken_class || aside_class, taken_position || aside_position,
                     taken_job || aside_job) AS t (class, position, job)
        WHERE r.class = t.class AND r.position = t.position AND r.job = t.job;
        IF cardinality(aside_job) > 0 THEN
            INSERT INTO aside (job, semaphore, class, position, attempt)
                SELECT t.job, t.semaphore, t.class, t.position, j.attempt
                FROM unnest(aside_job, aside_for, aside_class, aside_position)
                    AS t (job, semaphore, class, position)
                JOIN job AS j ON j.id = t.job;
            RETURN QUERY
                SELECT 'aside', t.job, NULL::integer, NULL::text, NULL::integer, NULL::bigint,
                       NULL::text, NULL::text
                FROM unnest(aside_job) AS t (job);
        END IF;
        all_job := all_job || taken_job;
        all_attempt := all_attempt || taken_attempt;
        all_worker := all_worker || taken_worker;
        all_class := all_class || taken_class;
        all_position := all_position || taken_position;
        -- The first that was passed over, or the last that was taken.
        RETURN QUERY
            SELECT 'mark', NULL::bigint, NULL::integer, NULL::text, m.class,
                   coalesce(min(m.position) FILTER (WHERE m.is_left), max(m.position)),
                   NULL::text, NULL::text
            FROM (SELECT *, true FROM unnest(left_class, left_position)
                  UNION ALL SELECT *, false FROM unnest(taken_class, taken_position)
                  UNION ALL SELECT *, false FROM unnest(aside_class, aside_position))
                AS m (class, position, is_left)
            GROUP BY m.class;
        first_ := last_ + 1;
    END LOOP;
    IF cardinality(all_job) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO running (job, attempt, worker, class, assigned_at, position)
        SELECT t.job, t.attempt, t.worker, t.class, now_, t.position
        FROM unnest(all_job, all_attempt, all_worker, all_class, all_position)
            AS t (job, attempt, worker, class, position);
    INSERT INTO event (kind, job, worker, payload)
        SELECT 'job.assigned', t.job, t.worker,
               jsonb_build_object('state', 'assigned', 'attempt', t.attempt,
                                  'worker', t.worker)
        FROM unnest(all_job, all_attempt, all_worker) AS t (job, attempt, worker);
    RETURN QUERY
        WITH assigned AS (
            UPDATE job AS j SET state = 'assigned' WHERE j.id = ANY (all_job)
            RETURNING j.id, j.kind, j.run_limit)
        SELECT 'claim', t.job, t.attempt, t.worker, t.class, t.position, a.kind,
               CASE WHEN n.job IS NOT NULL THEN json_build_object(
                   'performs', c.performs, 'arguments', n.arguments,
                   'run', a.run_limit)::text END
        FROM unnest(all_job, all_attempt, all_worker, all_class, all_position)
            AS t (job, attempt, worker, class, position)
        JOIN assigned AS a ON a.id = t.job
        JOIN job_class AS c ON c.id = t.class
        LEFT JOIN native_job AS n ON n.job = t.job;
END $$;

-- Note that workers took attempts. what: 'accepted', or 'forget' where it is not their lease.
CREATE FUNCTION accept_jobs(jobs bigint[], attempts integer[], workers text[])
RETURNS TABLE (what text, job bigint, attempt integer, worker text) LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
BEGIN
    WITH lease AS (
        UPDATE running AS r SET accepted_at = now_, renewals = r.renewals + 1
        FROM unnest(jobs, attempts, workers) AS t (job, attempt, worker)
        WHERE r.job = t.job AND r.attempt = t.attempt AND r.worker = t.worker
          AND r.accepted_at IS NULL
        RETURNING r.job, r.attempt, r.worker
    ), begun AS (
        UPDATE job AS j SET state = 'running', started_at = now_ FROM lease
        WHERE j.id = lease.job AND j.state = 'assigned'
    )
    INSERT INTO event (kind, job, worker, payload)
        SELECT 'job.running', lease.job, lease.worker,
               jsonb_build_object('state', 'running', 'attempt', lease.attempt,
                                  'worker', lease.worker)
        FROM lease ORDER BY lease.job;
    RETURN QUERY
        SELECT CASE WHEN r.job IS NULL THEN 'forget' ELSE 'accepted' END,
               t.job, t.attempt, t.worker
        FROM unnest(jobs, attempts, workers) AS t (job, attempt, worker)
        LEFT JOIN running AS r
          ON r.job = t.job AND r.attempt = t.attempt AND r.worker = t.worker
         AND r.accepted_at IS NOT NULL;
END $$;

-- One step of a master. Rows of what ended ('done', 'again', 'stale'), of what was accepted,
-- and of what was claimed, in this order.
CREATE FUNCTION step(ends jsonb, accepted_jobs bigint[], accepted_attempts integer[],
                     accepted_by text[], workers jsonb, classes jsonb,
                     delays double precision[], refused_for double precision)
RETURNS TABLE (what text, job bigint, attempt integer, worker text, class integer,
               "position" bigint, kind text, payload text)
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_array_length(ends) > 0 THEN
        RETURN QUERY
            SELECT e.became, e.job, e.attempt, NULL::text, NULL::integer, NULL::bigint,
                   NULL::text, NULL::text
            FROM end_attempts(ends, delays, refused_for) AS e;
    END IF;
    IF cardinality(accepted_jobs) > 0 THEN
        RETURN QUERY
            SELECT a.what, a.job, a.attempt, a.worker, NULL::integer, NULL::bigint,
                   NULL::text, NULL::text
            FROM accept_jobs(accepted_jobs, accepted_attempts, accepted_by) AS a;
    END IF;
    IF jsonb_array_length(workers) > 0 THEN
        RETURN QUERY SELECT * FROM claim_jobs(workers, classes);
    END IF;
END $$;

-- Whose turn the next so many jobs of an owner are, among all who wait for an architecture:
-- the first stands at "first", each further one "distance" behind.
--
-- Start-time fair queueing: an owner's jobs stand in a line of their own at a distance that
-- grows with how long they take and shrinks with the owner's weight; who was away begins
-- where the others are now. Nothing is ever sorted again: to wait is to come nearer.
CREATE FUNCTION take_turns(the_owner text, the_architecture text, jobs integer)
RETURNS TABLE (first bigint, distance bigint) LANGUAGE plpgsql AS $$
DECLARE
    now_here bigint;
    cost bigint;
BEGIN
    INSERT INTO pool (architecture) VALUES (the_architecture) ON CONFLICT DO NOTHING;
    -- Pools share workers: one that nobody waited for has not fallen behind.
    IF NOT EXISTS (
        SELECT FROM job_class AS c CROSS JOIN LATERAL (
            SELECT FROM ready AS r WHERE r.class = c.id LIMIT 1) AS line
        WHERE c.architecture = the_architecture) THEN
        SELECT max(p.virtual_time) INTO now_here FROM pool AS p;
    ELSE
        SELECT p.virtual_time INTO now_here FROM pool AS p
        WHERE p.architecture = the_architecture;
    END IF;
    SELECT greatest(1, (1000 / coalesce(o.weight, 1) * coalesce(
               least(10, greatest(0.1, s.mean_seconds / nullif(p.mean_seconds, 0))), 1))::bigint)
    INTO cost
    FROM pool AS p
    LEFT JOIN share AS s ON s.owner = the_owner AND s.architecture = p.architecture
    LEFT JOIN owner AS o ON o.name = the_owner
    WHERE p.architecture = the_architecture;
    RETURN QUERY
        INSERT INTO share AS s (owner, architecture, virtual_finish)
        VALUES (the_owner, the_architecture, now_here + jobs * cost)
        ON CONFLICT ON CONSTRAINT share_pkey DO UPDATE
        SET virtual_finish = greatest(s.virtual_finish, now_here) + jobs * cost
        RETURNING s.virtual_finish - jobs * cost, cost;
END $$;

-- Add what was begun and used to the pools and shares; nothing while somebody else does.
-- begun: [[class, position], ...], the furthest of each class.
CREATE FUNCTION fold_usage(classes integer[], positions bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    weight_of_new constant double precision := 0.2;   -- of what a pool or an owner used last
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('headrace.fold_usage')) THEN
        RETURN;
    END IF;
    UPDATE pool AS p SET virtual_time = begun.turn
    FROM (SELECT c.architecture, max(t.position & ((1::bigint << 43) - 1)) AS turn
          FROM unnest(classes, positions) AS t (class, position)
          JOIN job_class AS c ON c.id = t.class GROUP BY c.architecture) AS begun
    WHERE p.architecture = begun.architecture AND p.virtual_time < begun.turn;
    WITH gone AS (
        DELETE FROM usage_change RETURNING *
    ), used AS MATERIALIZED (
        SELECT gone.owner, c.architecture, sum(gone.seconds) AS seconds, sum(gone.jobs) AS jobs
        FROM gone JOIN job_class AS c ON c.id = gone.class GROUP BY gone.owner, c.architecture
    ), pools AS (
        UPDATE pool AS p
        SET mean_seconds = coalesce(p.mean_seconds * (1 - weight_of_new), 0)
            + u.mean * CASE WHEN p.mean_seconds IS NULL THEN 1 ELSE weight_of_new END
        FROM (SELECT architecture, sum(seconds) / sum(jobs) AS mean FROM used
              GROUP BY architecture) AS u
        WHERE p.architecture = u.architecture
    )
    UPDATE share AS s
    SET mean_seconds = coalesce(s.mean_seconds * (1 - weight_of_new), 0)
        + u.seconds / u.jobs * CASE WHEN s.mean_seconds IS NULL THEN 1 ELSE weight_of_new END
    FROM used AS u WHERE s.owner = u.owner AND s.architecture = u.architecture;
END $$;
