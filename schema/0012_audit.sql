-- The auditor: works everything out anew that the queue keeps beside the facts, from the
-- facts alone, and says where the two differ. One statement, so one moment.
--
-- The facts are the states of jobs, their edges, and the leases. What moves by itself within
-- a second or two (what is due, a place of a semaphore that was just freed) is given a minute.
CREATE FUNCTION audit_queue() RETURNS TABLE (what text, job bigint, run bigint, worker text,
                                             name text, kept text, should_be text)
LANGUAGE sql STABLE AS $$
    WITH edges AS (
        SELECT e.down, count(*) AS open FROM edge AS e WHERE e.resolved_at IS NULL
        GROUP BY e.down
    ), line AS (
        SELECT r.job, r.class, r.position, r.attempt, 'ready' AS place FROM ready AS r
        UNION ALL
        SELECT a.job, a.class, a.position, a.attempt, 'aside' FROM aside AS a
    ), standing AS (
        SELECT line.job, string_agg(line.place, ' and ' ORDER BY line.place) AS places
        FROM line GROUP BY line.job
    ), needed AS (
        SELECT rj.run, count(*) FILTER (WHERE j.state <> 'done') AS open
        FROM run_job AS rj JOIN job AS j ON j.id = rj.job WHERE rj.required GROUP BY rj.run
    ), wanted AS (
        SELECT j.id AS job, limits.name FROM running AS r JOIN job AS j ON j.id = r.job
        CROSS JOIN LATERAL (SELECT DISTINCT unnest(j.limits) AS name) AS limits
    ), held AS (
        SELECT h.semaphore, count(*) AS jobs FROM semaphore_hold AS h GROUP BY h.semaphore
    ), counted AS (
        SELECT j.class, j.kind, j.state, j.result, count(*) AS jobs FROM job AS j
        GROUP BY j.class, j.kind, j.state, j.result
    )
    -- How many edges a job waits for.
    SELECT 'blocked_by', j.id, NULL::bigint, NULL::text, NULL::text, j.blocked_by::text,
           coalesce(edges.open, 0)::text
    FROM job AS j LEFT JOIN edges ON edges.down = j.id
    WHERE j.blocked_by <> coalesce(edges.open, 0)
    UNION ALL
    SELECT 'edge', e.down, NULL, NULL, NULL, 'waits for job ' || e.up,
           'resolved: that job is done'
    FROM edge AS e JOIN job AS up ON up.id = e.up
    WHERE e.resolved_at IS NULL AND up.state = 'done'
    -- Which jobs stand in the line, or aside, and where.
    UNION ALL
    SELECT 'line', j.id, NULL, NULL, NULL, coalesce(s.places, 'nowhere'),
           CASE WHEN j.state = 'ready' THEN 'ready or aside' ELSE 'nowhere' END
    FROM job AS j FULL JOIN standing AS s ON s.job = j.id
    WHERE (j.state = 'ready') IS DISTINCT FROM (s.places IN ('ready', 'aside'))
      AND (j.state = 'ready' OR s.places IS NOT NULL)
    UNION ALL
    SELECT 'place', j.id, NULL, NULL, NULL,
           format('class %s, position %s, attempt %s', line.class, line.position,
                  line.attempt),
           format('class %s, position %s, attempt %s', j.class,
                  queue_position(coalesce(j.manual_score, j.score), j.virtual_start),
                  j.attempt)
    FROM line JOIN job AS j ON j.id = line.job
    WHERE (line.class, line.position, line.attempt) IS DISTINCT FROM
          (j.class, queue_position(coalesce(j.manual_score, j.score), j.virtual_start),
           j.attempt)
    UNION ALL
    SELECT 'limits', j.id, NULL, NULL, NULL, coalesce(r.limits::text, 'none'),
           coalesce(j.limits::text, 'none')
    FROM ready AS r JOIN job AS j ON j.id = r.job WHERE r.limits IS DISTINCT FROM j.limits
    -- Who has a job.
    UNION ALL
    SELECT 'lease', coalesce(j.id, r.job), NULL, r.worker, NULL,
           CASE WHEN r.job IS NULL THEN 'none' ELSE 'of attempt ' || r.attempt ||
                CASE WHEN r.accepted_at IS NULL THEN ', not accepted' ELSE ', accepted' END END,
           CASE j.state WHEN 'assigned' THEN 'of attempt ' || j.attempt || ', not accepted'
                        WHEN 'running' THEN 'of attempt ' || j.attempt || ', accepted'
                        ELSE 'none' END
    FROM (SELECT * FROM job WHERE job.state IN ('assigned', 'running')) AS j
    FULL JOIN running AS r ON r.job = j.id
    WHERE r.job IS NULL OR j.id IS NULL OR r.attempt <> j.attempt
       OR (r.accepted_at IS NULL) <> (j.state = 'assigned')
    UNION ALL
    SELECT 'worker', r.job, NULL, r.worker, NULL, coalesce(w.state::text, 'unknown'),
           'connected or unreachable'
    FROM running AS r LEFT JOIN worker AS w ON w.name = r.worker
    WHERE w.state IS NULL OR w.state = 'offline' AND r.assigned_at < farm_now() - '1 minute'::interval
    -- What waits for a time.
    UNION ALL
    SELECT 'delayed', coalesce(d.job, j.id), NULL, NULL, NULL,
           coalesce('until ' || d.not_before, 'nothing'),
           CASE WHEN j.id IS NULL THEN 'nothing' ELSE 'until ' || j.not_before END
    FROM (SELECT * FROM job
          WHERE job.state = 'waiting' AND job.blocked_by = 0) AS j
    FULL JOIN delayed AS d ON d.job = j.id
    WHERE j.id IS NULL AND d.not_before < farm_now() - '1 minute'::interval
       OR d.not_before IS DISTINCT FROM j.not_before AND j.id IS NOT NULL
    UNION ALL
    SELECT 'forgotten', j.id, NULL, NULL, NULL, 'waiting', 'ready: it waits for nothing'
    FROM job AS j
    WHERE j.state = 'waiting' AND j.blocked_by = 0
      AND coalesce(j.not_before < farm_now() - '1 minute'::interval, true)
    UNION ALL
    SELECT 'attempt', j.id, NULL, NULL, NULL,
           CASE WHEN a.job IS NULL THEN 'no attempt ' || j.attempt
                WHEN a.result IS NULL THEN 'open' ELSE a.result::text END,
           coalesce(j.result::text, 'open')
    FROM job AS j LEFT JOIN attempt AS a ON a.job = j.id AND a.number = j.attempt
    WHERE a.job IS NULL OR a.result IS DISTINCT FROM j.result
    -- Runs.
    UNION ALL
    SELECT 'open_jobs', NULL, run.id, NULL, NULL, run.open_jobs::text,
           coalesce(needed.open, 0)::text
    FROM run LEFT JOIN needed ON needed.run = run.id
    WHERE run.open_jobs <> coalesce(needed.open, 0)
    UNION ALL
    SELECT 'run', NULL, run.id, NULL, NULL, run.state::text,
           CASE WHEN coalesce(needed.open, 0) = 0 THEN 'done' ELSE 'sealed' END
    FROM run LEFT JOIN needed ON needed.run = run.id
    WHERE run.state <> 'open' AND (run.state = 'done') <> (coalesce(needed.open, 0) = 0)
    -- Semaphores.
    UNION ALL
    SELECT 'hold', coalesce(h.job, w.job), NULL, NULL, coalesce(h.semaphore, w.name),
           CASE WHEN h.job IS NULL THEN 'not held' ELSE 'held' END,
           CASE WHEN w.job IS NULL THEN 'not held' ELSE 'held' END
    FROM semaphore_hold AS h FULL JOIN wanted AS w
      ON w.job = h.job AND w.name = h.semaphore
    WHERE h.job IS NULL OR w.job IS NULL
    UNION ALL
    SELECT 'aside', a.job, NULL, NULL, a.semaphore, 'aside',
           'ready: there is room, or it does not ask for it'
    FROM aside AS a JOIN job AS j ON j.id = a.job JOIN semaphore AS s ON s.name = a.semaphore
    LEFT JOIN held ON held.semaphore = s.name
    WHERE NOT coalesce(a.semaphore = ANY (j.limits), false)
       OR coalesce(held.jobs, 0) < s.capacity
          AND j.ready_at < farm_now() - '1 minute'::interval
          AND NOT EXISTS (SELECT FROM ready AS r WHERE a.semaphore = ANY (r.limits))
    -- Counts.
    UNION ALL
    SELECT 'count', NULL, NULL, NULL,
           format('class %s, %s, %s', coalesce(c.class, k.class), coalesce(c.kind, k.kind),
                  coalesce(c.state, k.state) || coalesce(' ' || coalesce(c.result, k.result), '')),
           coalesce(k.jobs, 0)::text, coalesce(c.jobs, 0)::text
    FROM counted AS c FULL JOIN job_counts AS k
      ON (c.class, c.kind, c.state) = (k.class, k.kind, k.state)
     AND coalesce(c.result::text, '') = coalesce(k.result::text, '')
    WHERE c.jobs IS DISTINCT FROM k.jobs
$$;

-- When the books were last audited; one row.
CREATE TABLE audit (
    sole         boolean PRIMARY KEY DEFAULT true CHECK (sole),
    begun_at     timestamptz NOT NULL,
    differences  integer                -- NULL: not ended
);
