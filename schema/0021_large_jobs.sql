-- Native jobs that put files among the farm's blobs: their orders say where, and let them.
ALTER TABLE native_job ADD stores boolean NOT NULL DEFAULT false;

-- A run whose source one of its jobs makes has a pipeline, and no source yet.
ALTER TABLE run DROP CONSTRAINT run_source_is_whole,
    ADD CONSTRAINT run_source_is_whole CHECK (
        (repository IS NULL) = (source_digest IS NULL)
        AND (repository IS NULL OR configuration IS NOT NULL));

-- How many workers, full ones too, can run the same classes; as far as its master knows.
ALTER TYPE hungry_worker ADD ATTRIBUTE peers integer;

-- A tenth of a bunch's workers is kept for large jobs at a time, four at most; and the
-- canary of a worker in quarantine may be large: one job, however many slots it takes.
CREATE OR REPLACE FUNCTION claim_jobs(workers jsonb, classes jsonb)
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
    canaries boolean[]; peers integer[]; pointer integer; tries integer; suited integer;
    kept integer; reserved integer[];
    most_reserved integer;
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
           array_agg(w.cpu), array_agg(w.memory), array_agg(w.disk), array_agg(w.is_canary),
           array_agg(w.peers)
    INTO names, bunches, slots, cpus, memories, disks, canaries, peers
    FROM (SELECT h.name, h.bunch,
                 -- Who is in quarantine shows with one job at a time that it is well.
                 CASE WHEN known.quarantined_at IS NOT NULL AND has.slots > 0 THEN 0
                      ELSE greatest(0, least(h.slots, known.slots - coalesce(has.slots, 0)))
                      END AS slots,
                 known.quarantined_at IS NOT NULL AS is_canary, h.peers,
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
        reserved := '{}';
        most_reserved := least(4, greatest(1, peers[first_] / 10));
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
                   AND pointer <> ALL (reserved) THEN
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
                -- or smaller ones would be put before it for ever. One of many would be too
                -- few: what runs there may take hours to end.
                IF suited IS NULL AND cardinality(reserved) < most_reserved
                   AND coalesce(cardinality(head.refused), 0) = 0 THEN
                    SELECT i INTO kept FROM generate_series(first_, last_) AS i
                    WHERE i <> ALL (reserved)
                    ORDER BY least(1, slots[i]::float / head.slots,
                                   cpus[i]::float / nullif(head.cpu, 0),
                                   memories[i]::float / nullif(head.memory, 0),
                                   disks[i]::float / nullif(head.disk, 0)) DESC,
                             slots[i] DESC, i LIMIT 1;
                    IF FOUND THEN
                        reserved := reserved || kept;
                        room := room - slots[kept];
                    END IF;
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
                IF canaries[suited] THEN
                    room := room - slots[suited];
                    slots[suited] := 0;
                END IF;
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
                   'run', a.run_limit, 'stores', n.stores)::text END,
               l.lease
        FROM unnest(all_job, all_attempt, all_worker, all_class, all_position)
            AS t (job, attempt, worker, class, position)
        JOIN unnest(lease_job, lease_number) AS l (job, lease) ON l.job = t.job
        JOIN assigned AS a ON a.id = t.job
        JOIN job_class AS c ON c.id = t.class
        LEFT JOIN native_job AS n ON n.job = t.job;
END $$;
