-- What was found wrong with the queue, put right.

-- Jobs that somebody asked to stop while they stood in the line, and whose row of it was not
-- free: perhaps they were claimed just then, perhaps not. See settle_cancels.
CREATE TABLE cancel_wish (
    job  bigint PRIMARY KEY REFERENCES job ON DELETE CASCADE
);

-- Lease the most urgent jobs to workers with room. what: 'claim'; 'mark', the position of a
-- class before which nothing is left that this call could see; 'aside', a job that met a full
-- semaphore; 'gone', a worker whose session is over. payload: of a claim of a job that runs
-- natively, what its order needs.
CREATE FUNCTION claim_jobs(workers jsonb, classes jsonb)
RETURNS TABLE (what text, job bigint, attempt integer, worker text, class integer,
               "position" bigint, kind text, payload text, lease bigint)
LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    locked text[];
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
    lease_job bigint[]; lease_number bigint[];
BEGIN
    -- Whoever else is at a worker just now, to claim for it or to open a session, has it
    -- until the end of its transaction; nobody waits for that.
    SELECT array_agg(h.name) INTO locked
    FROM jsonb_populate_recordset(NULL::hungry_worker, workers) AS h
    WHERE pg_try_advisory_xact_lock(hashtext('headrace.worker'), hashtext(h.name));
    RETURN QUERY
        SELECT 'gone', NULL::bigint, NULL::integer, h.name, NULL::integer, NULL::bigint,
               NULL::text, NULL::text, NULL::bigint
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
    FROM (SELECT h.name, h.bunch,
                 -- Who is in quarantine shows with one job at a time that it is well.
                 CASE WHEN known.quarantined_at IS NULL
                      THEN greatest(0, least(h.slots, known.slots - coalesce(has.slots, 0)))
                      WHEN has.slots > 0 THEN 0
                      ELSE least(h.slots, known.slots, 1) END AS slots,
                 least(h.cpu, known.cpu - coalesce(has.cpu, 0)) AS cpu,
                 least(h.memory, known.memory - coalesce(has.memory, 0)) AS memory,
                 least(h.disk, known.disk - coalesce(has.disk, 0)) AS disk
          FROM jsonb_populate_recordset(NULL::hungry_worker, workers) AS h
          JOIN worker AS known ON known.name = h.name AND known.session = h.session
          -- The master may not have heard of what it was leased itself: the books decide.
          LEFT JOIN LATERAL (
                     SELECT sum(c.slots)::integer AS slots,
                            sum(c.cpu)::integer AS cpu, sum(c.memory)::integer AS memory,
                            sum(c.disk)::integer AS disk
                     FROM running AS r JOIN job_class AS c ON c.id = r.class
                     WHERE r.worker = h.name AND r.lease >= coalesce(h.since, 0)) AS has
            ON true
          WHERE known.duty = 'active' AND h.name = ANY (locked)
          ORDER BY h.bunch, slots DESC, h.name) AS w;
    WHILE first_ <= coalesce(cardinality(names), 0) LOOP
        bunch_ := bunches[first_];
        last_ := first_;
        room := 0;
        WHILE last_ <= cardinality(names) AND bunches[last_] = bunch_ LOOP
            room := room + slots[last_];
            last_ := last_ + 1;
        END LOOP;
        last_ := last_ - 1;
        IF room <= 0 THEN
            first_ := last_ + 1;
            CONTINUE;
        END IF;
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
                -- It is large: the worker that lacks least of what it takes is kept for it,
                -- or smaller ones would be put before it for ever.
                IF suited IS NULL AND reserved IS NULL
                   AND coalesce(cardinality(head.refused), 0) = 0 THEN
                    SELECT i INTO reserved FROM generate_series(first_, last_) AS i
                    ORDER BY least(1, slots[i]::float / head.slots,
                                   cpus[i]::float / nullif(head.cpu, 0),
                                   memories[i]::float / nullif(head.memory, 0),
                                   disks[i]::float / nullif(head.disk, 0)) DESC,
                             slots[i] DESC, i LIMIT 1;
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
                       NULL::text, NULL::text, NULL::bigint
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
                   NULL::text, NULL::text, NULL::bigint
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
    WITH leased AS (
        INSERT INTO running AS r (job, attempt, worker, class, assigned_at, position)
        SELECT t.job, t.attempt, t.worker, t.class, now_, t.position
        FROM unnest(all_job, all_attempt, all_worker, all_class, all_position)
            AS t (job, attempt, worker, class, position)
        RETURNING r.job, r.lease)
    SELECT array_agg(leased.job), array_agg(leased.lease) INTO lease_job, lease_number
    FROM leased;
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
                   'run', a.run_limit)::text END,
               l.lease
        FROM unnest(all_job, all_attempt, all_worker, all_class, all_position)
            AS t (job, attempt, worker, class, position)
        JOIN unnest(lease_job, lease_number) AS l (job, lease) ON l.job = t.job
        JOIN assigned AS a ON a.id = t.job
        JOIN job_class AS c ON c.id = t.class
        LEFT JOIN native_job AS n ON n.job = t.job;
END $$;

-- Take all semaphores of a job, or none. NULL: taken; a name: that one is full; '': somebody
-- else is at one of them just now. One that nobody has made yet has room for one job.
CREATE FUNCTION take_semaphores(the_job bigint, names text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    one text;
    places integer;
BEGIN
    FOREACH one IN ARRAY names LOOP
        SELECT capacity INTO places FROM semaphore WHERE name = one FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            INSERT INTO semaphore (name) VALUES (one) ON CONFLICT DO NOTHING
            RETURNING capacity INTO places;
            IF NOT FOUND THEN
                RETURN '';
            END IF;
        END IF;
        IF (SELECT count(*) FROM semaphore_hold AS h
            WHERE h.semaphore = one AND h.job <> the_job) >= places THEN
            RETURN one;
        END IF;
    END LOOP;
    INSERT INTO semaphore_hold (semaphore, job) SELECT unnest(names), the_job
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- Put jobs that stand aside for semaphores with free places back into the line; NULL is for
-- all semaphores. Who was put back before may have been cancelled, or stand aside for
-- another one, so this is looked at again and again.
CREATE FUNCTION fill_semaphores(names text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    free record;
BEGIN
    FOR free IN
        SELECT s.name FROM semaphore AS s
        WHERE (names IS NULL OR s.name = ANY (names))
          AND EXISTS (SELECT FROM aside AS a WHERE a.semaphore = s.name)
        ORDER BY s.name FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM step_forward(s.name, (s.capacity - s.held)::integer)
        FROM (SELECT one.name, one.capacity, (
                  SELECT count(*) FROM semaphore_hold AS h WHERE h.semaphore = one.name) AS held
              FROM semaphore AS one WHERE one.name = free.name) AS s
        WHERE s.capacity > s.held;
    END LOOP;
END $$;

-- Let go of the semaphores of jobs; who stands aside for one gets its place in the line back,
-- as many as there are free places: there may be fewer or more of them than before.
CREATE OR REPLACE FUNCTION release_semaphores(jobs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    freed record;
BEGIN
    FOR freed IN
        WITH gone AS (
            DELETE FROM semaphore_hold AS h WHERE h.job = ANY (jobs) RETURNING h.semaphore)
        SELECT semaphore.name, semaphore.capacity
        FROM semaphore
        JOIN (SELECT DISTINCT gone.semaphore FROM gone) AS gone
          ON gone.semaphore = semaphore.name
        ORDER BY semaphore.name FOR UPDATE OF semaphore
    LOOP
        PERFORM step_forward(freed.name, free.places)
        FROM (SELECT freed.capacity - count(*)::integer AS places FROM semaphore_hold AS h
              WHERE h.semaphore = freed.name) AS free
        WHERE free.places > 0;
    END LOOP;
END $$;

-- Take one job out of the line, wherever it stands there; false if it is being claimed just
-- now. Never waits: who claims has the row and may wait for the job, which the caller has.
CREATE OR REPLACE FUNCTION leave_queue(the_job bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    named text[];
BEGIN
    DELETE FROM ready AS r
    WHERE r.job = (SELECT q.job FROM ready AS q WHERE q.job = the_job FOR UPDATE SKIP LOCKED)
    RETURNING r.limits INTO named;
    IF FOUND THEN
        IF named IS NOT NULL THEN
            PERFORM fill_semaphores(named);   -- a place may have been meant for it
        END IF;
        RETURN true;
    END IF;
    DELETE FROM aside AS a
    WHERE a.job = (SELECT q.job FROM aside AS q WHERE q.job = the_job FOR UPDATE SKIP LOCKED)
    RETURNING ARRAY(SELECT unnest(j.limits) FROM job AS j WHERE j.id = a.job) INTO named;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM fill_semaphores(named);
    RETURN true;
END $$;

-- End jobs that were to stop and that no worker has: those that could not be taken out of
-- the line when they were asked to, or that are back in it. What a worker has is asked there.
CREATE FUNCTION settle_cancels() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wish record;
BEGIN
    FOR wish IN
        SELECT j.id, j.state, j.cancel_asked_at, j.cancel_reason
        FROM job AS j JOIN cancel_wish AS w ON w.job = j.id
        ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED
    LOOP
        IF wish.cancel_asked_at IS NOT NULL AND wish.state IN ('ready', 'waiting', 'parked') THEN
            CONTINUE WHEN wish.state = 'ready' AND NOT leave_queue(wish.id);
            PERFORM end_unstarted(ARRAY[wish.id], 'cancelled', wish.cancel_reason);
        END IF;
        DELETE FROM cancel_wish WHERE job = wish.id;
    END LOOP;
END $$;

-- Put an attempt that its worker never accepted back into the line, where it stood; or end
-- it, if somebody asked it to stop. False if it is not the worker's, or was accepted.
CREATE FUNCTION give_back(the_worker text, the_job bigint, the_attempt integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM running AS r
    WHERE r.job = the_job AND r.attempt = the_attempt AND r.worker = the_worker
      AND r.accepted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM job WHERE id = the_job AND cancel_asked_at IS NOT NULL FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM end_attempts(jsonb_build_array(jsonb_build_object(
            'job', the_job, 'attempt', the_attempt, 'result', 'cancelled')), '{0}', 0);
        RETURN true;
    END IF;
    DELETE FROM running WHERE job = the_job;
    UPDATE job SET state = 'waiting' WHERE id = the_job;
    PERFORM make_ready(ARRAY[the_job]);
    PERFORM release_semaphores(ARRAY[the_job]);
    RETURN true;
END $$;

-- Let the runs that need jobs wait for them again; those that were done. The runs are locked
-- first: one may be about to end just now. The jobs were done until now.
CREATE OR REPLACE FUNCTION reopen_runs(jobs bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM run
    WHERE id IN (SELECT rj.run FROM run_job AS rj WHERE rj.job = ANY (jobs) AND rj.required)
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE run SET open_jobs = run.open_jobs + counted.jobs
    FROM (SELECT rj.run, count(*)::integer AS jobs FROM run_job AS rj
          WHERE rj.job = ANY (jobs) AND rj.required GROUP BY rj.run) AS counted
    WHERE run.id = counted.run;
    RETURN QUERY
        UPDATE run SET state = 'sealed', result = NULL, finished_at = NULL
        WHERE run.state = 'done' AND run.id IN (
            SELECT rj.run FROM run_job AS rj WHERE rj.job = ANY (jobs) AND rj.required)
        RETURNING run.id;
END $$;

-- End attempts, as before; but one that somebody asked to stop is not tried again.
CREATE OR REPLACE FUNCTION end_attempts(ends jsonb, delays double precision[], refused_for double precision,
                             lost_limit integer DEFAULT 3)
RETURNS TABLE (job bigint, attempt integer, became text) LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    over bigint[];
    again bigint[];
    limited boolean;
    ending ending_attempt[];
BEGIN
    WITH given AS (
        SELECT * FROM jsonb_populate_recordset(NULL::attempt_end, ends)
    ), lease AS (
        DELETE FROM running AS r USING given AS g
        WHERE r.job = g.job AND r.attempt = g.attempt
          AND (g.worker IS NULL OR r.worker = g.worker)
        RETURNING g.*, r.worker AS of, r.assigned_at, r.accepted_at
    ), seen AS (
        SELECT j.id, j.kind, j.attempt AS current, j.cancel_asked_at, j.cancel_reason, j.errors,
               j.error_limit, j.failures, j.lost_workers, j.retry, j.limits
        FROM job AS j WHERE j.id IN (SELECT lease.job FROM lease)
        ORDER BY j.id FOR NO KEY UPDATE
    ), told AS (
        SELECT s.*, l.attempt, l.of, l.assigned_at, l.accepted_at, l.exit_status, l.output, l.reports,
               coalesce(l.lost, false) AS lost, coalesce(l.final, false) AS final,
               CASE
                   WHEN s.cancel_asked_at IS NOT NULL AND l.result IN ('error', 'cancelled')
                       THEN 'cancelled'
                   WHEN l.result = 'cancelled' THEN 'error'
                   ELSE l.result END AS result,
               CASE
                   WHEN s.cancel_asked_at IS NOT NULL AND l.result IN ('error', 'cancelled')
                       THEN s.cancel_reason
                   WHEN l.result = 'cancelled'
                       THEN left('worker ' || l.of || ' stopped it, which nobody had asked for: '
                                 || coalesce(l.reason, ''), 4000)
                   WHEN l.result NOT IN ('success', 'reused', 'skipped')
                       THEN coalesce(nullif(l.reason, ''), 'the worker gave no reason')
                   ELSE coalesce(l.reason, '') END AS reason
        FROM seen AS s JOIN lease AS l ON l.job = s.id
    )
    SELECT array_agg(ROW(
               t.id, t.attempt, t.of, t.result,
               CASE WHEN t.result = 'error' AND t.lost_workers + t.lost::integer >= lost_limit
                         AND t.lost
                    THEN left('it lost ' || lost_limit || ' workers, the last time: '
                              || t.reason, 4000)
                    ELSE t.reason END,
               t.exit_status, t.output, t.reports,
               t.errors + (t.result = 'error')::integer,
               t.failures + (t.result = 'failure')::integer,
               t.lost_workers + t.lost::integer,
               t.cancel_asked_at IS NULL AND CASE t.result
                   WHEN 'error' THEN NOT t.final AND t.errors + 1 < t.error_limit
                        AND NOT (t.lost AND t.lost_workers + 1 >= lost_limit)
                   WHEN 'failure' THEN EXISTS (
                        SELECT FROM jsonb_to_recordset(t.retry)
                            AS rule (exit integer, "limit" integer)
                        WHERE (rule.exit IS NULL OR rule.exit = t.exit_status)
                          AND t.failures < rule."limit")
                   ELSE false END,
               delays[least(t.errors + t.failures + 1, cardinality(delays))],
               t.limits IS NOT NULL, t.kind,
               t.result = 'error', t.assigned_at, t.accepted_at)::ending_attempt)
    INTO ending FROM told AS t;

    UPDATE attempt AS a
    SET result = e.result, reason = e.reason, finished_at = now_,
        worker = e.worker, assigned_at = e.assigned_at,
        started_at = coalesce(e.accepted_at, e.assigned_at),
        exit_status = e.exit_status, output = e.output,
        reports = greatest(a.reports, e.reports)
    FROM unnest(ending) AS e WHERE a.job = e.job AND a.number = e.attempt;
    UPDATE job AS j
    SET state = CASE WHEN e.again THEN 'waiting'::job_state ELSE 'done' END,
        result = CASE WHEN e.again THEN NULL ELSE e.result END,
        reason = CASE WHEN e.again THEN '' ELSE e.reason END,
        finished_at = CASE WHEN e.again THEN NULL ELSE now_ END,
        started_at = CASE WHEN e.again THEN NULL
                          ELSE coalesce(j.started_at, e.assigned_at) END,
        ready_at = CASE WHEN e.again THEN NULL ELSE j.ready_at END,
        not_before = CASE WHEN e.again THEN now_ + make_interval(secs => e.delay) END,
        attempt = j.attempt + e.again::integer,
        errors = e.errors, failures = e.failures, lost_workers = e.lost_workers
    FROM unnest(ending) AS e WHERE j.id = e.job;
    INSERT INTO usage_change (owner, class, jobs, seconds)
        SELECT j.owner, j.class, count(*), sum(extract(epoch FROM now_ - e.assigned_at))
        FROM unnest(ending) AS e JOIN job AS j ON j.id = e.job GROUP BY j.owner, j.class;
    INSERT INTO event (kind, job, worker, payload)
        SELECT CASE WHEN e.again THEN 'job.waiting' ELSE 'job.done' END, e.job,
               CASE WHEN e.again THEN e.worker END,
               CASE WHEN e.again
                   THEN jsonb_build_object('state', 'waiting', 'attempt', e.attempt + 1,
                                           'reason', e.reason, 'delay', e.delay)
                   ELSE jsonb_build_object('state', 'done', 'attempt', e.attempt,
                                           'result', e.result, 'reason', e.reason) END
        FROM unnest(ending) AS e ORDER BY e.job;
    PERFORM end_pipeline_jobs(e.job, e.attempt, e.result, e.reason)
        FROM unnest(ending) AS e WHERE e.kind = 'build';
    SELECT array_agg(e.job) FILTER (WHERE NOT e.again),
           array_agg(e.job) FILTER (WHERE e.again), bool_or(e.limited)
    INTO over, again, limited FROM unnest(ending) AS e;
    IF again IS NOT NULL THEN
        INSERT INTO attempt (job, number)
            SELECT e.job, e.attempt + 1 FROM unnest(ending) AS e WHERE e.again;
        PERFORM keep_passed_stages(e.job, e.attempt, e.attempt + 1)
            FROM unnest(ending) AS e WHERE e.again AND e.kind = 'build';
        PERFORM pass_over(e.job, e.worker, e.reason, refused_for)
            FROM unnest(ending) AS e WHERE e.again AND e.avoid;
        PERFORM make_ready(again);
    END IF;
    IF limited THEN
        PERFORM release_semaphores(array_agg(e.job)) FROM unnest(ending) AS e WHERE e.limited;
    END IF;
    IF over IS NOT NULL THEN
        PERFORM settle_done(over);
    END IF;
    RETURN QUERY
        SELECT g.job, g.attempt, CASE WHEN e.job IS NULL THEN 'stale'
                                      WHEN e.again THEN 'again' ELSE 'done' END
        FROM jsonb_populate_recordset(NULL::attempt_end, ends) AS g
        LEFT JOIN unnest(ending) AS e ON e.job = g.job AND e.attempt = g.attempt;
END $$;

-- How far the line of each class was begun among jobs of one score. One place for all that
-- waits for an architecture would not do: the last of an owner's jobs may be begun first,
-- because it is rescored, or alone in asking for an idle worker, and whoever came after that
-- would stand behind all the others.
CREATE TABLE turn (
    class         integer NOT NULL REFERENCES job_class,
    score         integer NOT NULL,
    virtual_time  bigint NOT NULL,    -- the furthest that was begun
    PRIMARY KEY (class, score)
);
INSERT INTO turn
    SELECT c.id, 500000, p.virtual_time
    FROM job_class AS c JOIN pool AS p ON p.architecture = c.architecture;
ALTER TABLE pool DROP COLUMN virtual_time;

-- Where the first waiting job of a class stands among those of a score; NULL: none waits.
CREATE FUNCTION waits_first(the_class integer, the_score integer) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT r.position & ((1::bigint << 43) - 1) FROM ready AS r
    WHERE r.class = the_class AND r.position >= queue_position(the_score, 0)
      AND r.position < queue_position(the_score, 0) + (1::bigint << 43)
    ORDER BY r.position LIMIT 1
$$;

-- Whose turn the next so many jobs of an owner are, among all who wait for an architecture:
-- the first stands at "first", each further one "distance" behind.
--
-- Start-time fair queueing: an owner's jobs stand in a line of their own at a distance that
-- grows with how long they take and shrinks with the owner's weight; who was away begins
-- where the others of the same class and score are now. Nothing is ever sorted again: to
-- wait is to come nearer.
DROP FUNCTION take_turns(text, text, integer);
CREATE FUNCTION take_turns(the_owner text, the_architecture text, jobs integer,
                           the_class integer DEFAULT NULL, the_score integer DEFAULT 500000)
RETURNS TABLE (first bigint, distance bigint) LANGUAGE plpgsql AS $$
DECLARE
    now_here bigint;
    cost bigint;
BEGIN
    INSERT INTO pool (architecture) VALUES (the_architecture) ON CONFLICT DO NOTHING;
    now_here := waits_first(the_class, the_score);
    IF now_here IS NOT NULL THEN
        -- One that is passed over, because workers refused it, holds nobody back.
        SELECT greatest(now_here, t.virtual_time) INTO now_here
        FROM (SELECT (SELECT turn.virtual_time FROM turn
                      WHERE turn.class = the_class AND turn.score = the_score)) AS t;
    ELSE
        -- Classes share workers: one that nobody waited for has not fallen behind, and is
        -- not ahead because of somebody who was there alone.
        SELECT min(t.virtual_time) INTO now_here
        FROM job_class AS c JOIN turn AS t ON t.class = c.id AND t.score = the_score
        WHERE c.architecture = the_architecture AND waits_first(c.id, the_score) IS NOT NULL;
        IF now_here IS NULL THEN
            SELECT coalesce(max(t.virtual_time), 0) INTO now_here FROM turn AS t
            WHERE t.score = the_score;
        END IF;
    END IF;
    SELECT least(1000000, greatest(1, 1000 / coalesce(o.weight, 1) * coalesce(
               least(10, greatest(0.1, s.mean_seconds / nullif(p.mean_seconds, 0))), 1)))
           ::bigint
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

-- Give a job that is asked for again a new turn: many old ones, each with the place that it
-- once had, would stand before everybody else's.
CREATE FUNCTION take_another_turn(the_job bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    SELECT t.first INTO place
    FROM job AS j JOIN job_class AS c ON c.id = j.class
    CROSS JOIN LATERAL take_turns(j.owner, c.architecture, 1, j.class,
                                  coalesce(j.manual_score, j.score)) AS t
    WHERE j.id = the_job;
    UPDATE job SET virtual_start = greatest(virtual_start, place) WHERE id = the_job;
END $$;

-- Add what was begun and used to the turns, pools and shares: the furthest positions that
-- were begun, of each class and score.
CREATE OR REPLACE FUNCTION fold_usage(classes integer[], positions bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    weight_of_new constant double precision := 0.2;   -- of what a pool or an owner used last
BEGIN
    -- What a master tells is told once, so it waits for the other ones.
    PERFORM pg_advisory_xact_lock(hashtext('headrace.fold_usage'));
    INSERT INTO turn AS was (class, score, virtual_time)
        SELECT t.class, 1000000 - (t.position >> 43),
               max(t.position & ((1::bigint << 43) - 1))
        FROM unnest(classes, positions) AS t (class, position) GROUP BY 1, 2
        ON CONFLICT (class, score) DO UPDATE SET virtual_time = excluded.virtual_time
        WHERE was.virtual_time < excluded.virtual_time;
    WITH gone AS (
        DELETE FROM usage_change RETURNING *
    ), used AS MATERIALIZED (
        SELECT gone.owner, c.architecture, sum(gone.seconds) AS seconds, sum(gone.jobs) AS jobs
        FROM gone JOIN job_class AS c ON c.id = gone.class GROUP BY gone.owner, c.architecture
    ), pools AS (
        UPDATE pool AS p
        SET mean_seconds = greatest(0, coalesce(p.mean_seconds * (1 - weight_of_new), 0)
            + u.mean * CASE WHEN p.mean_seconds IS NULL THEN 1 ELSE weight_of_new END)
        FROM (SELECT architecture, sum(seconds) / sum(jobs) AS mean FROM used
              GROUP BY architecture) AS u
        WHERE p.architecture = u.architecture
    )
    UPDATE share AS s
    SET mean_seconds = greatest(0, coalesce(s.mean_seconds * (1 - weight_of_new), 0)
        + u.seconds / u.jobs * CASE WHEN s.mean_seconds IS NULL THEN 1 ELSE weight_of_new END)
    FROM used AS u WHERE s.owner = u.owner AND s.architecture = u.architecture;
END $$;
