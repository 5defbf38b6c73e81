-- What follows when attempts and jobs end: one set of functions for every way to end.
--
-- Locks are taken in one order: running, then jobs by id, then attempts, then the jobs
-- downstream by id, then runs by id.

-- What an edge says to its downstream; equal to buildmaster.dependencies.judge.
CREATE FUNCTION judge(require edge_require, ended job_result) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN require = 'always' THEN 'go'
        WHEN ended IN ('success', 'reused', 'skipped') THEN
            CASE WHEN require = 'bad' THEN 'skip' ELSE 'go' END
        WHEN ended IN ('failure', 'error', 'timeout', 'malformed') THEN
            CASE WHEN require = 'good' THEN 'unrun' ELSE 'go' END
        ELSE 'unrun'
    END
$$;

-- What stands for all results of a run; equal to protocol.results.worst.
CREATE FUNCTION worst_result(results job_result[]) RETURNS job_result
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce((
        SELECT weight.result
        FROM unnest('{failure,timeout,malformed,error,cancelled,unrun,success,reused}'
                    ::job_result[]) WITH ORDINALITY AS weight (result, place)
        WHERE weight.result = ANY (results) ORDER BY weight.place LIMIT 1), 'skipped')
$$;

-- What people call a job in sentences.
CREATE FUNCTION job_title(id bigint, name text, cell text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cell = '' THEN 'job ' || id
                ELSE 'job ' || id || ' (' || name || ' ' || cell || ')' END
$$;

-- Whether a worker may run jobs of a class, were it empty; equal to buildmaster.matching.
CREATE FUNCTION suits(one worker, needed job_class) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT needed.worker IN ('', one.name)
       AND needed.tags <@ one.tags AND one.restricted_tags <@ needed.tags
       AND needed.slots <= one.slots
       AND needed.cpu <= coalesce(one.cpu, needed.cpu)
       AND needed.memory <= coalesce(one.memory, needed.memory)
       AND needed.disk <= coalesce(one.disk, needed.disk)
       AND (needed.performs = '' OR needed.performs = ANY (one.performs))
       AND EXISTS (
           SELECT FROM jsonb_array_elements(one.offers) AS offer
           WHERE offer ->> 'isolation' = needed.isolation::text
             AND needed.architecture IN ('', offer ->> 'architecture')
             AND (offer -> 'series' @> '["*"]' OR offer -> 'series' @> to_jsonb(needed.series)))
$$;

-- Whether the worker could be given a job now: it is there, on duty, and has not refused it.
CREATE FUNCTION could_take(one worker, needed job_class, the_job bigint) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT one.state = 'connected' AND one.duty = 'active' AND suits(one, needed)
       AND NOT EXISTS (
           SELECT FROM refusal
           WHERE refusal.job = the_job AND refusal.worker = one.name
             AND refusal.until > farm_now())
$$;

-- Wake the dispatchers: how far back in each class they must look, as CLASS:POSITION; an
-- empty payload is everywhere. A hint, as every notification.
CREATE FUNCTION tell_ready(places text[]) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('headrace_ready',
                     CASE WHEN cardinality(places) <= 200 THEN array_to_string(places, ' ')
                          ELSE '' END)
    WHERE cardinality(places) > 0
$$;

-- Queue those of the jobs that wait for nothing, and tell; their ids and attempts. Those
-- whose time has not come are noted, those of a held project are parked.
CREATE FUNCTION make_ready(jobs bigint[]) RETURNS TABLE (job bigint, attempt integer)
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

-- Let go of the semaphores of jobs; who stands aside for one gets its place in the line back.
CREATE FUNCTION release_semaphores(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    freed record;
BEGIN
    FOR freed IN
        WITH gone AS (
            DELETE FROM semaphore_hold AS h WHERE h.job = ANY (jobs) RETURNING h.semaphore)
        SELECT semaphore.name, gone.places
        FROM semaphore
        JOIN (SELECT gone.semaphore, count(*) AS places FROM gone GROUP BY 1) AS gone
          ON gone.semaphore = semaphore.name
        ORDER BY semaphore.name FOR UPDATE OF semaphore
    LOOP
        PERFORM step_forward(freed.name, freed.places::integer);
    END LOOP;
END $$;

-- Put the first jobs that stand aside for a semaphore back into the line.
CREATE FUNCTION step_forward(the_semaphore text, places integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    told text[];
BEGIN
    WITH next AS (
        SELECT a.job FROM aside AS a WHERE a.semaphore = the_semaphore
        ORDER BY a.position, a.job LIMIT places FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM aside AS a USING next WHERE a.job = next.job RETURNING a.*
    ), queued AS (
        INSERT INTO ready (class, position, job, attempt, limits)
        SELECT gone.class, gone.position, gone.job, gone.attempt, job.limits
        FROM gone JOIN job ON job.id = gone.job
        RETURNING ready.class, ready.position
    )
    SELECT array_agg(queued.class || ':' || queued.position) INTO told FROM queued;
    PERFORM tell_ready(told);
END $$;

-- Take one job out of the line, wherever it stands there; false if it is being claimed just
-- now. Never waits: who claims has the row and may wait for the job, which the caller has.
CREATE FUNCTION leave_queue(the_job bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ready AS r
    WHERE r.job = (SELECT q.job FROM ready AS q WHERE q.job = the_job FOR UPDATE SKIP LOCKED);
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM aside AS a
    WHERE a.job = (SELECT q.job FROM aside AS q WHERE q.job = the_job FOR UPDATE SKIP LOCKED);
    RETURN FOUND;
END $$;

-- All that follows when jobs are done, once their rows say so: their edges are resolved,
-- jobs downstream are queued or end themselves, and so on; then runs get their results.
CREATE FUNCTION settle_done(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wave bigint[] := jobs;
    ended bigint[] := jobs;
    now_ timestamptz := farm_now();
BEGIN
    -- What ends downstream ends more, whose ids may be smaller: all of it is locked first.
    IF EXISTS (SELECT FROM edge AS e JOIN job AS up ON up.id = e.up
               WHERE e.up = ANY (jobs) AND e.resolved_at IS NULL
                 AND judge(e.require, up.result) <> 'go') THEN
        PERFORM lock_downstream(jobs);
    END IF;
    WHILE EXISTS (SELECT FROM edge WHERE up = ANY (wave) AND resolved_at IS NULL) LOOP
        wave := resolve_edges(wave, NULL, now_);
        ended := ended || wave;
    END LOOP;
    PERFORM settle_runs(ended, now_);
END $$;

-- Resolve edges that were added to a job after it was done, and all that follows.
CREATE FUNCTION resolve_again(the_job bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_downstream(ARRAY[the_job]);
    PERFORM settle_done(resolve_edges(ARRAY[the_job], NULL, farm_now()));
END $$;

CREATE FUNCTION lock_downstream(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM job WHERE id IN (
        WITH RECURSIVE downstream (id) AS (
            SELECT e.down FROM edge AS e WHERE e.up = ANY (jobs) AND e.resolved_at IS NULL
            UNION
            SELECT e.down FROM edge AS e JOIN downstream ON e.up = downstream.id
            WHERE e.resolved_at IS NULL)
        SELECT downstream.id FROM downstream)
    ORDER BY id FOR NO KEY UPDATE;
END $$;

-- Resolve the open edges of jobs that are done, or, with a stage, those that wait for that
-- passed stage. Jobs downstream are queued, or ended if an edge says so: those are returned.
CREATE FUNCTION resolve_edges(wave bigint[], stage integer, now_ timestamptz)
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
        RETURNING e.up, e.down,
                  CASE WHEN stage IS NULL THEN judge(e.require, up.result) ELSE 'go' END AS says
    ), verdict AS (
        SELECT down, count(*)::integer AS edges,
               min(up) FILTER (WHERE says = 'unrun') AS unrun_by,
               min(up) FILTER (WHERE says = 'skip') AS skipped_by
        FROM resolved GROUP BY down
    ), outcome AS (
        SELECT j.id, v.edges,
               CASE WHEN j.state <> 'waiting' THEN NULL
                    WHEN v.unrun_by IS NOT NULL THEN 'unrun'
                    WHEN v.skipped_by IS NOT NULL THEN 'skip'
                    WHEN j.blocked_by > v.edges THEN NULL
                    WHEN held OR j.not_before > now_ THEN 'look'
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
    ), told AS (
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

-- Count jobs that are done off their runs; runs that wait for nothing more get a result.
CREATE FUNCTION settle_runs(ended bigint[], now_ timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    over bigint[];
BEGIN
    PERFORM FROM run
    WHERE id IN (SELECT rj.run FROM run_job AS rj WHERE rj.job = ANY (ended) AND rj.required)
    ORDER BY id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH counted AS (
        SELECT rj.run, count(*)::integer AS jobs FROM run_job AS rj
        WHERE rj.job = ANY (ended) AND rj.required GROUP BY rj.run
    ), changed AS (
        UPDATE run SET open_jobs = run.open_jobs - counted.jobs
        FROM counted WHERE run.id = counted.run
        RETURNING run.id, run.open_jobs
    )
    SELECT array_agg(changed.id ORDER BY changed.id) INTO over
    FROM changed WHERE changed.open_jobs = 0;
    PERFORM end_runs(over, now_);
END $$;

-- Give those of the runs a result that are sealed and wait for nothing.
CREATE FUNCTION end_runs(runs bigint[], now_ timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH over AS (
        UPDATE run SET state = 'done', finished_at = now_, result = (
            SELECT worst_result(array_agg(DISTINCT job.result))
            FROM run_job AS rj JOIN job ON job.id = rj.job
            WHERE rj.run = run.id AND rj.required)
        WHERE run.id = ANY (runs) AND run.state = 'sealed' AND run.open_jobs = 0
        RETURNING run.id, run.result)
    INSERT INTO event (kind, run, payload)
    SELECT 'run.done', over.id, jsonb_build_object('state', 'done', 'result', over.result)
    FROM over ORDER BY over.id;
END $$;

-- Let the runs of jobs wait for them again; those that were done. The runs are locked first:
-- one may be about to end just now. The jobs were done until now.
CREATE FUNCTION reopen_runs(jobs bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM run
    WHERE id IN (SELECT rj.run FROM run_job AS rj WHERE rj.job = ANY (jobs))
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE run SET open_jobs = run.open_jobs + counted.jobs
    FROM (SELECT rj.run, count(*)::integer AS jobs FROM run_job AS rj
          WHERE rj.job = ANY (jobs) AND rj.required GROUP BY rj.run) AS counted
    WHERE run.id = counted.run;
    RETURN QUERY
        UPDATE run SET state = 'sealed', result = NULL, finished_at = NULL
        WHERE run.state = 'done'
          AND run.id IN (SELECT rj.run FROM run_job AS rj WHERE rj.job = ANY (jobs))
        RETURNING run.id;
END $$;

-- End jobs that no worker has and that stand in no line, then all that follows. All of them
-- end before any edge is resolved, so that none becomes unrun instead.
CREATE FUNCTION end_unstarted(jobs bigint[], ended_as job_result, why text,
                              replaced_by bigint DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_ timestamptz := farm_now();
    over bigint[];
BEGIN
    PERFORM FROM job WHERE id = ANY (jobs) ORDER BY id FOR NO KEY UPDATE;
    DELETE FROM delayed AS d WHERE d.job = ANY (jobs);
    WITH changed AS (
        UPDATE job AS j
        SET state = 'done', result = ended_as, reason = why, finished_at = now_,
            superseded_by = replaced_by, not_before = NULL
        WHERE j.id = ANY (jobs) AND j.state IN ('waiting', 'ready', 'parked')
        RETURNING j.id, j.attempt
    ), ended AS (
        UPDATE attempt AS a SET result = ended_as, reason = why, finished_at = now_
        FROM changed AS c
        WHERE a.job = c.id AND a.number = c.attempt AND a.finished_at IS NULL
    ), unrun AS (
        UPDATE pipeline_job AS p
        SET state = 'done', result = CASE p.state WHEN 'running' THEN ended_as
                                                  ELSE 'unrun' END,
            reason = why, finished_at = now_
        FROM changed AS c WHERE p.job = c.id AND p.attempt = c.attempt AND p.state <> 'done'
    ), told AS (
        INSERT INTO event (kind, job, payload)
        SELECT 'job.done', c.id,
               jsonb_build_object('state', 'done', 'result', ended_as, 'reason', why,
                                  'attempt', c.attempt)
        FROM changed AS c ORDER BY c.id
    )
    SELECT array_agg(c.id) INTO over FROM changed AS c;
    IF over IS NOT NULL THEN
        PERFORM settle_done(over);
    END IF;
END $$;

-- How an attempt ended, as a worker or a master tells it.
CREATE TYPE attempt_end AS (
    job          bigint,
    attempt      integer,
    worker       text,         -- whose lease it must be; NULL: anybody's
    result       job_result,
    reason       text,
    final        boolean,      -- an error that would repeat
    lost         boolean,      -- its worker was lost with it
    reports      bigint,       -- the number of the report that says so; NULL: none
    exit_status  integer,
    output       jsonb
);

-- End attempts, each only while its lease holds; then jobs whose result stands, and all that
-- follows. became: 'stale' (no such lease: nothing was changed), 'again' (another attempt
-- waits), 'done'.
CREATE TYPE ending_attempt AS (
    job bigint, attempt integer, worker text, result job_result, reason text,
    exit_status integer, output jsonb, reports bigint, errors integer, failures integer,
    lost_workers integer, again boolean, delay double precision, limited boolean,
    kind text, avoid boolean, assigned_at timestamptz, accepted_at timestamptz
);
CREATE FUNCTION end_attempts(ends jsonb, delays double precision[], refused_for double precision,
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
               CASE t.result
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

-- End what an attempt of a build left open.
CREATE FUNCTION end_pipeline_jobs(the_job bigint, the_attempt integer, ended_as job_result,
                                  why text)
RETURNS void LANGUAGE sql AS $$
    UPDATE pipeline_job
    SET state = 'done', finished_at = farm_now(),
        reason = coalesce(nullif(why, ''), 'its build ended before it ran'),
        result = CASE WHEN state <> 'running' THEN 'unrun'::job_result
                      WHEN ended_as = 'cancelled' THEN 'cancelled' ELSE 'error' END
    WHERE job = the_job AND attempt = the_attempt AND state <> 'done'
$$;

-- Give a further attempt of a build its pipeline jobs: those of the stages that passed one
-- after the other are kept, with their files, and what was not to run before.
CREATE FUNCTION keep_passed_stages(the_job bigint, old integer, new integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    open_from integer := coalesce((
        SELECT min(stage) FROM pipeline_job
        WHERE job = the_job AND attempt = old AND result IS DISTINCT FROM 'success'), 2^30);
BEGIN
    PERFORM copy_pipeline_jobs(the_job, old, new, ARRAY(
        SELECT name || ':' || index FROM pipeline_job
        WHERE job = the_job AND attempt = old
          AND (stage < open_from OR kept_from IS NOT NULL)));
END $$;

-- Copy the pipeline jobs of an attempt to another one: those kept (NAME:INDEX) passed, the
-- others wait.
CREATE FUNCTION copy_pipeline_jobs(the_job bigint, old integer, new integer, kept text[])
RETURNS void LANGUAGE sql AS $$
    INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series, state, result,
                              exit_status, properties, started_at, finished_at, kept_from)
    SELECT job, new, name, index, stage, place, series,
           CASE WHEN keep THEN 'done' ELSE 'waiting' END::pipeline_job_state,
           CASE WHEN keep THEN result END, CASE WHEN keep THEN exit_status END,
           CASE WHEN keep THEN properties END, CASE WHEN keep THEN started_at END,
           CASE WHEN keep THEN finished_at END,
           CASE WHEN keep THEN coalesce(kept_from, attempt) END
    FROM (SELECT *, name || ':' || index = ANY (kept) AS keep FROM pipeline_job
          WHERE job = the_job AND attempt = old) AS earlier;
    INSERT INTO artifact (job, attempt, name, index, path, sha256)
    SELECT a.job, new, a.name, a.index, a.path, a.sha256
    FROM artifact AS a JOIN pipeline_job AS p USING (job, name, index)
    WHERE a.job = the_job AND a.attempt = old
      AND p.attempt = new AND p.kept_from IS NOT NULL;
$$;

-- Pass over a worker for a job for so many seconds, if another one could do it; whether so.
CREATE FUNCTION pass_over(the_job bigint, the_worker text, why text, seconds double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO refusal (job, worker, reason, until)
        SELECT job.id, the_worker, why, farm_now() + make_interval(secs => seconds)
        FROM job JOIN job_class ON job_class.id = job.class
        WHERE job.id = the_job AND EXISTS (
            SELECT FROM worker AS other
            WHERE other.name <> the_worker AND could_take(other, job_class, job.id))
        ON CONFLICT ON CONSTRAINT refusal_pkey DO UPDATE
        SET reason = excluded.reason, until = excluded.until;
    RETURN FOUND;
END $$;
