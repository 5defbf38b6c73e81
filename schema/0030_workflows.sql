-- Workflows: Python that waits on the outside world, replayed from a history in these tables.
--
-- A step is one transaction that has the workflow's row: it takes events, and writes what the
-- code asked for then. All others only add events, and never wait for that row: so whoever
-- ends a job does not wait for a workflow, and the order of locks is a workflow, then jobs.

-- Equal to buildmaster.store.workflows.WorkflowState.
CREATE TYPE workflow_state AS ENUM (
    'open',     -- it waits, or is about to take a step
    'parked',   -- its code failed; tried again from time to time, the reason says what to mend
    'done'
);

CREATE TABLE workflow (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL                      -- one open workflow has it
        CHECK (length(name) BETWEEN 1 AND 200 AND name !~ '^[0-9]+$' AND name !~ '[[:cntrl:]]'),
    class         text NOT NULL,
    version       integer NOT NULL CHECK (version >= 1),   -- of the class, when it began
    generation    integer NOT NULL DEFAULT 1 CHECK (generation >= 1),  -- histories, so far
    state         workflow_state NOT NULL DEFAULT 'open',
    result        job_result CHECK (result IN ('success', 'failure', 'timeout', 'cancelled')),
    reason        text NOT NULL DEFAULT '',
    cause         text NOT NULL DEFAULT '',          -- of one that is parked: the whole trace
    arguments     jsonb NOT NULL DEFAULT '[]',
    value         jsonb,                             -- what run() returned
    requester     text NOT NULL,
    owner         text NOT NULL,                     -- whose share its jobs use
    parent        bigint REFERENCES workflow ON DELETE SET NULL,
    parent_generation  integer,
    parent_seq    integer,
    position      integer NOT NULL DEFAULT 0 CHECK (position >= 0),  -- events dealt with
    commands      integer NOT NULL DEFAULT 0 CHECK (commands >= 0),
    waits         jsonb NOT NULL DEFAULT '[]',       -- what it waits for, as people are shown
    tries         integer NOT NULL DEFAULT 0 CHECK (tries >= 0),  -- of a step that fails
    next_try      timestamptz,
    deadline      timestamptz,                       -- it ends as timeout then
    created_at    timestamptz NOT NULL DEFAULT farm_now(),
    changed_at    timestamptz NOT NULL DEFAULT farm_now(),
    finished_at   timestamptz,
    CONSTRAINT done_workflow_has_an_end CHECK
        ((state = 'done') = (result IS NOT NULL) AND (state = 'done') = (finished_at IS NOT NULL)),
    CONSTRAINT parked_workflow_says_why CHECK
        (state <> 'parked' OR (reason <> '' AND next_try IS NOT NULL)),
    CONSTRAINT child_names_its_place CHECK
        (parent IS NULL OR (parent_generation IS NOT NULL AND parent_seq IS NOT NULL))
);
CREATE UNIQUE INDEX workflow_open_name ON workflow (name) WHERE state <> 'done';
CREATE INDEX workflow_name ON workflow (name, id);
CREATE INDEX workflow_parked ON workflow (next_try) WHERE state = 'parked';
CREATE INDEX workflow_parent ON workflow (parent) WHERE parent IS NOT NULL;

-- What reached a workflow. It gets its place in the history when it is dealt with: that way
-- nobody who adds an event waits for anybody, and the order is one.
CREATE TABLE workflow_event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workflow    bigint NOT NULL REFERENCES workflow ON DELETE CASCADE,
    generation  integer,         -- the one it is for; NULL: whichever deals with it
    n           integer CHECK (n >= 0),
    late        boolean NOT NULL DEFAULT false,   -- it came after the end, and changes nothing
    at          timestamptz NOT NULL DEFAULT farm_now(),
    type        text NOT NULL CHECK (type IN
        ('started', 'signal', 'completed', 'failed', 'fired', 'cancel', 'timeout')),
    seq         integer,         -- of the command that it answers
    name        text,            -- of the signal
    payload     jsonb,
    by          text,            -- who sent it
    dedupe_key  text NOT NULL,   -- what has the same is the same, and written once
    UNIQUE (workflow, dedupe_key),
    CONSTRAINT dealt_with_in_a_generation CHECK (n IS NULL OR generation IS NOT NULL),
    CONSTRAINT signal_has_a_name CHECK ((type = 'signal') = (name IS NOT NULL))
);
CREATE UNIQUE INDEX workflow_event_place ON workflow_event (workflow, generation, n)
    WHERE n IS NOT NULL;
CREATE INDEX workflow_event_pending ON workflow_event (workflow, id) WHERE n IS NULL AND NOT late;

CREATE FUNCTION tell_of_workflow_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY headrace_workflows;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_workflow_events AFTER INSERT ON workflow_event
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_workflow_events();

CREATE TABLE workflow_command (
    workflow    bigint NOT NULL REFERENCES workflow ON DELETE CASCADE,
    generation  integer NOT NULL,
    seq         integer NOT NULL CHECK (seq >= 0),
    event       integer NOT NULL,      -- the place of the event after which it was given
    kind        text NOT NULL CHECK (kind IN
        ('local', 'job', 'build', 'child', 'timer', 'patch')),
    name        text NOT NULL,
    arguments   jsonb,
    options     jsonb NOT NULL DEFAULT '{}',
    job         bigint REFERENCES job,         -- that it became
    run         bigint REFERENCES run,
    child       bigint REFERENCES workflow ON DELETE SET NULL,
    given_at    timestamptz NOT NULL DEFAULT farm_now(),
    PRIMARY KEY (workflow, generation, seq)
);
CREATE INDEX workflow_command_job ON workflow_command (job) WHERE job IS NOT NULL;
CREATE INDEX workflow_command_run ON workflow_command (run) WHERE run IS NOT NULL;

CREATE TABLE workflow_timer (
    workflow    bigint NOT NULL REFERENCES workflow ON DELETE CASCADE,
    generation  integer NOT NULL,      -- 0: of all; with seq -1 the end of the workflow's time
    seq         integer NOT NULL,
    due         timestamptz NOT NULL,
    PRIMARY KEY (workflow, generation, seq)
);
CREATE INDEX workflow_timer_due ON workflow_timer (due);

-- What masters do after the commit of a step: calls of local actions, and submissions, whose
-- source must be looked at. Who takes one renews it; it is a row until its outcome is written.
CREATE TABLE workflow_outbox (
    workflow     bigint NOT NULL,
    generation   integer NOT NULL,
    seq          integer NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('local', 'build')),
    due          timestamptz NOT NULL DEFAULT farm_now(),
    ends_at      timestamptz,          -- of all tries together
    tries        integer NOT NULL DEFAULT 0 CHECK (tries >= 0),   -- and the fencing token
    taken_by     text,                 -- a master
    PRIMARY KEY (workflow, generation, seq),
    FOREIGN KEY (workflow, generation, seq) REFERENCES workflow_command ON DELETE CASCADE
);
CREATE INDEX workflow_outbox_due ON workflow_outbox (kind, due);

-- The ends of jobs and runs. Only those that a workflow awaits get as far as the function: of
-- all others a column is looked at, which is in the row anyway.
ALTER TABLE job ADD awaited boolean NOT NULL DEFAULT false;
ALTER TABLE run ADD awaited boolean NOT NULL DEFAULT false;

CREATE FUNCTION command_key(generation integer, seq integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'command ' || generation || '.' || seq $$;

CREATE FUNCTION job_end(ended job) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'job', ended.id, 'result', ended.result, 'reason', ended.reason,
        'attempt', ended.attempt,
        'output', (SELECT CASE WHEN octet_length(a.output::text) <= 200000 THEN a.output END
                   FROM attempt AS a
                   WHERE a.job = ended.id AND a.number = ended.attempt))
$$;

CREATE FUNCTION run_end(ended run) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'run', ended.id, 'result', ended.result,
        'jobs', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                       'id', j.id, 'name', j.name, 'kind', j.kind, 'cell', j.cell,
                       'result', j.result) ORDER BY j.id)
            FROM (SELECT j.* FROM run_job AS rj JOIN job AS j ON j.id = rj.job
                  WHERE rj.run = ended.id ORDER BY j.id LIMIT 500) AS j), '[]'))
$$;

CREATE FUNCTION tell_workflows_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT c.workflow, c.generation, 'completed', c.seq, job_end(NEW),
               command_key(c.generation, c.seq)
        FROM workflow_command AS c WHERE c.job = NEW.id
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_workflows_of_job AFTER UPDATE ON job FOR EACH ROW
    WHEN (NEW.awaited AND NEW.state = 'done' AND OLD.state <> 'done')
    EXECUTE FUNCTION tell_workflows_of_job();

CREATE FUNCTION tell_workflows_of_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT c.workflow, c.generation, 'completed', c.seq, run_end(NEW),
               command_key(c.generation, c.seq)
        FROM workflow_command AS c WHERE c.run = NEW.id AND c.kind = 'build'
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_workflows_of_run AFTER UPDATE ON run FOR EACH ROW
    WHEN (NEW.awaited AND NEW.state = 'done' AND OLD.state <> 'done')
    EXECUTE FUNCTION tell_workflows_of_run();

-- Let a command's workflow wait for the job that it became; it may have ended already.
CREATE FUNCTION await_job(the_workflow bigint, the_generation integer, the_seq integer,
                          the_job bigint, the_run bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE workflow_command SET job = the_job, run = the_run
    WHERE workflow = the_workflow AND generation = the_generation AND seq = the_seq;
    UPDATE job SET awaited = true WHERE id = the_job AND NOT awaited;
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT the_workflow, the_generation, 'completed', the_seq, job_end(j),
               command_key(the_generation, the_seq)
        FROM job AS j WHERE j.id = the_job AND j.state = 'done'
        ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION await_run(the_workflow bigint, the_generation integer, the_seq integer,
                          the_run bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE workflow_command SET run = the_run
    WHERE workflow = the_workflow AND generation = the_generation AND seq = the_seq;
    UPDATE run SET awaited = true WHERE id = the_run AND NOT awaited;
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT the_workflow, the_generation, 'completed', the_seq, run_end(r),
               command_key(the_generation, the_seq)
        FROM run AS r WHERE r.id = the_run AND r.state = 'done'
        ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION tell_of_workflow(what text, w workflow) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (kind, payload) VALUES (what, jsonb_strip_nulls(jsonb_build_object(
        'workflow', w.id, 'name', w.name, 'class', w.class, 'state', w.state,
        'result', w.result, 'reason', nullif(left(w.reason, 1000), ''))))
$$;

-- A new workflow; NULL if an open one has that name.
CREATE FUNCTION start_workflow(the_name text, the_class text, the_version integer,
                               given jsonb, seed text, by_whom text, the_owner text,
                               timeout double precision, of_parent bigint DEFAULT NULL,
                               of_generation integer DEFAULT NULL,
                               of_seq integer DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    made workflow;
BEGIN
    INSERT INTO workflow (name, class, version, arguments, requester, owner, parent,
                          parent_generation, parent_seq, deadline)
        VALUES (the_name, the_class, the_version, given, by_whom, the_owner, of_parent,
                of_generation, of_seq, farm_now() + make_interval(secs => timeout))
        ON CONFLICT (name) WHERE state <> 'done' DO NOTHING
        RETURNING * INTO made;
    IF made.id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO workflow_event (workflow, generation, type, payload, by, dedupe_key)
        VALUES (made.id, 1, 'started',
                jsonb_build_object('arguments', given, 'seed', seed), by_whom, 'started 1');
    IF timeout IS NOT NULL THEN
        INSERT INTO workflow_timer VALUES (made.id, 0, -1, made.deadline);
    END IF;
    PERFORM tell_of_workflow('workflow.started', made);
    RETURN made.id;
END $$;

-- Workflows with events to deal with, from one id on. What came too late is noted as such.
CREATE FUNCTION due_workflows(after bigint, most integer) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE pending AS (
        (SELECT e.workflow FROM workflow_event AS e
         WHERE e.n IS NULL AND NOT e.late AND e.workflow > after
         ORDER BY e.workflow LIMIT 1)
        UNION ALL
        SELECT (SELECT e.workflow FROM workflow_event AS e
                WHERE e.n IS NULL AND NOT e.late AND e.workflow > p.workflow
                ORDER BY e.workflow LIMIT 1)
        FROM pending AS p WHERE p.workflow IS NOT NULL
    )
    SELECT w.id FROM pending AS p JOIN workflow AS w ON w.id = p.workflow
    WHERE w.state <> 'done' AND (w.next_try IS NULL OR w.next_try <= farm_now())
    LIMIT most;
    IF NOT FOUND THEN
        UPDATE workflow_event AS e SET late = true FROM workflow AS w
        WHERE e.n IS NULL AND NOT e.late AND w.id = e.workflow AND w.state = 'done';
    END IF;
END $$;

CREATE FUNCTION event_json(e workflow_event) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'id', e.id, 'n', coalesce(e.n, 0), 'at', (extract(epoch FROM e.at) * 1000000)::bigint,
        'type', e.type, 'seq', e.seq, 'name', e.name, 'payload', e.payload)
$$;

CREATE FUNCTION command_json(c workflow_command) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'seq', c.seq, 'event', c.event, 'kind', c.kind, 'name', c.name,
        'arguments', c.arguments, 'options', c.options)
$$;

-- Have a workflow's row until the transaction ends, with the events to deal with; and with
-- its history, unless the caller is where it is. NULL: another has it, or nothing is due.
CREATE FUNCTION take_workflow(the_id bigint, known_generation integer, known_position integer,
                              most integer) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    w workflow;
    pending json;
    is_known boolean;
BEGIN
    SELECT * INTO w FROM workflow
    WHERE id = the_id AND state <> 'done' AND (next_try IS NULL OR next_try <= farm_now())
    FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF w.generation > 1 THEN
        UPDATE workflow_event SET late = true
        WHERE workflow = w.id AND n IS NULL AND NOT late AND generation < w.generation;
    END IF;
    SELECT json_agg(json_build_object(
               'id', e.id, 'n', coalesce(e.n, 0),
               'at', (extract(epoch FROM e.at) * 1000000)::bigint, 'type', e.type,
               'seq', e.seq, 'name', e.name, 'payload', e.payload)
               ORDER BY e.type <> 'started', e.id) INTO pending
    FROM (SELECT * FROM workflow_event AS e
          WHERE e.workflow = w.id AND e.n IS NULL AND NOT e.late
          ORDER BY e.type <> 'started', e.id LIMIT most) AS e;
    IF pending IS NULL THEN
        RETURN NULL;
    END IF;
    is_known := w.generation = known_generation AND w.position = known_position;
    RETURN json_build_object(
        'id', w.id, 'name', w.name, 'class', w.class, 'version', w.version,
        'generation', w.generation, 'position', w.position, 'state', w.state,
        'tries', w.tries, 'owner', w.owner, 'pending', pending,
        'history', CASE WHEN NOT is_known THEN coalesce((
            SELECT json_agg(event_json(e) ORDER BY e.n) FROM workflow_event AS e
            WHERE e.workflow = w.id AND e.generation = w.generation AND e.n IS NOT NULL), '[]')
        END,
        'commands', CASE WHEN NOT is_known THEN coalesce((
            SELECT json_agg(command_json(c) ORDER BY c.seq) FROM workflow_command AS c
            WHERE c.workflow = w.id AND c.generation = w.generation), '[]')
        END);
END $$;

-- What is left of commands that nobody waits for any more, or of all of a generation: timers
-- and calls are forgotten, children are cancelled, and the runs to cancel are returned.
CREATE FUNCTION drop_commands(w workflow, seqs integer[], why text) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM workflow_timer AS t
    WHERE t.workflow = w.id AND t.generation = w.generation
      AND (seqs IS NULL OR t.seq = ANY (seqs));
    DELETE FROM workflow_outbox AS o
    WHERE o.workflow = w.id AND o.generation = w.generation
      AND (seqs IS NULL OR o.seq = ANY (seqs))
      AND (o.kind = 'local' OR EXISTS (
          SELECT FROM workflow_command AS c
          WHERE (c.workflow, c.generation, c.seq) = (o.workflow, o.generation, o.seq)
            AND c.options ->> 'policy' = 'cancel'));
    INSERT INTO workflow_event (workflow, type, payload, by, dedupe_key)
        SELECT child.id, 'cancel', to_jsonb(why), 'workflow ' || w.name, 'cancel of parent'
        FROM workflow_command AS c JOIN workflow AS child ON child.id = c.child
        WHERE c.workflow = w.id AND c.generation = w.generation
          AND (seqs IS NULL OR c.seq = ANY (seqs))
          AND c.options ->> 'policy' = 'cancel' AND child.state <> 'done'
        ON CONFLICT DO NOTHING;
    RETURN QUERY
        SELECT DISTINCT c.run FROM workflow_command AS c JOIN run ON run.id = c.run
        WHERE c.workflow = w.id AND c.generation = w.generation
          AND (seqs IS NULL OR c.seq = ANY (seqs))
          AND c.options ->> 'policy' = 'cancel' AND run.state <> 'done';
END $$;

-- Write what came of a step; the caller has the workflow's row. Runs to cancel are returned.
CREATE FUNCTION record_step(the_id bigint, dealt_with bigint[], given jsonb, dropped integer[],
                            is_waiting_for jsonb) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
DECLARE
    w workflow;
    asked record;
    made bigint;
    before jsonb;
    was workflow_state;
BEGIN
    SELECT waits, state INTO before, was FROM workflow WHERE id = the_id;
    UPDATE workflow
    SET position = position + cardinality(dealt_with),
        commands = commands + jsonb_array_length(given),
        waits = is_waiting_for, state = 'open', reason = '', cause = '', tries = 0,
        next_try = NULL, changed_at = farm_now()
    WHERE id = the_id RETURNING * INTO w;
    UPDATE workflow_event AS e
    SET n = w.position - cardinality(dealt_with) + dealt.place - 1, generation = w.generation
    FROM unnest(dealt_with) WITH ORDINALITY AS dealt (id, place) WHERE e.id = dealt.id;
    IF was = 'parked' THEN
        PERFORM tell_of_workflow('workflow.resumed', w);
    ELSIF jsonb_path_query_array(before, '$[*].name')
       <> jsonb_path_query_array(is_waiting_for, '$[*].name') THEN
        PERFORM tell_of_workflow('workflow.waiting', w);
    END IF;
    IF jsonb_array_length(given) > 0 THEN
        INSERT INTO workflow_command
            (workflow, generation, seq, event, kind, name, arguments, options)
            SELECT w.id, w.generation, c.seq, c.event, c.kind, c.name, c.arguments,
                   coalesce(c.options, '{}')
            FROM jsonb_to_recordset(given) AS c
                (seq integer, event integer, kind text, name text, arguments jsonb,
                 options jsonb);
        IF given @> '[{"kind": "timer"}]' THEN
            INSERT INTO workflow_timer
                SELECT w.id, w.generation, c.seq,
                       to_timestamp((c.options ->> 'due')::double precision / 1000000)
                FROM jsonb_to_recordset(given) AS c (seq integer, kind text, options jsonb)
                WHERE c.kind = 'timer' AND c.seq <> ALL (dropped);
        END IF;
        IF given @> '[{"kind": "local"}]' OR given @> '[{"kind": "build"}]' THEN
            INSERT INTO workflow_outbox (workflow, generation, seq, kind, ends_at)
                SELECT w.id, w.generation, c.seq, c.kind,
                       farm_now()
                       + make_interval(secs => (c.options ->> 'total')::double precision)
                FROM jsonb_to_recordset(given) AS c (seq integer, kind text, options jsonb)
                WHERE c.kind IN ('local', 'build') AND c.seq <> ALL (dropped);
        END IF;
        FOR asked IN
            SELECT * FROM jsonb_to_recordset(given) AS c
                (seq integer, kind text, name text, arguments jsonb, options jsonb)
            WHERE c.kind = 'child' AND c.seq <> ALL (dropped) ORDER BY c.seq
        LOOP
            made := start_workflow(
                coalesce(asked.options ->> 'id',
                         left(w.name, 160) || '/' || w.generation || '.' || asked.seq),
                asked.name, (asked.options ->> 'version')::integer, asked.arguments,
                md5(w.id || '/' || w.generation || '/' || asked.seq), 'workflow ' || w.name,
                w.owner, (asked.options ->> 'timeout')::double precision, w.id, w.generation,
                asked.seq);
            IF made IS NULL THEN
                INSERT INTO workflow_event
                    (workflow, generation, type, seq, payload, dedupe_key)
                    VALUES (w.id, w.generation, 'failed', asked.seq,
                            jsonb_build_object('kind', 'failure', 'message',
                                'there is an open workflow named ' || (asked.options ->> 'id')),
                            command_key(w.generation, asked.seq));
            ELSE
                UPDATE workflow_command SET child = made
                WHERE workflow = w.id AND generation = w.generation AND seq = asked.seq;
            END IF;
        END LOOP;
    END IF;
    IF cardinality(dropped) > 0 THEN
        RETURN QUERY SELECT drop_commands(w, dropped, 'nobody waits for it any more');
    END IF;
END $$;

-- End a workflow; the caller has its row. Runs to cancel are returned.
CREATE FUNCTION end_workflow(the_id bigint, ended_as job_result, returned jsonb, why text)
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    w workflow;
BEGIN
    UPDATE workflow
    SET state = 'done', result = ended_as, value = returned, reason = why, waits = '[]',
        finished_at = farm_now(), changed_at = farm_now(), next_try = NULL
    WHERE id = the_id RETURNING * INTO w;
    PERFORM tell_of_workflow('workflow.done', w);
    DELETE FROM workflow_timer WHERE workflow = w.id;
    IF w.parent IS NOT NULL THEN
        INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
            VALUES (w.parent, w.parent_generation,
                    CASE WHEN ended_as = 'success' THEN 'completed' ELSE 'failed' END,
                    w.parent_seq,
                    CASE WHEN ended_as = 'success' THEN returned
                         ELSE jsonb_build_object('kind', ended_as, 'message',
                                  'workflow ' || w.name || ' ended as ' || ended_as
                                  || CASE WHEN why = '' THEN '' ELSE ': ' || why END) END,
                    command_key(w.parent_generation, w.parent_seq))
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY SELECT drop_commands(w, NULL, 'its parent has ended');
END $$;

-- Let a workflow go on with an empty history; signals that wait go to the new one.
CREATE FUNCTION continue_workflow(the_id bigint, given jsonb)
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    w workflow;
BEGIN
    SELECT * INTO w FROM workflow WHERE id = the_id;
    RETURN QUERY SELECT drop_commands(w, NULL, 'its parent goes on as new');
    UPDATE workflow
    SET generation = generation + 1, position = 0, commands = 0, waits = '[]',
        arguments = given
    WHERE id = the_id RETURNING * INTO w;
    INSERT INTO workflow_event (workflow, generation, type, payload, dedupe_key)
        VALUES (w.id, w.generation, 'started',
                jsonb_build_object('arguments', given, 'seed', (
                    SELECT e.payload ->> 'seed' FROM workflow_event AS e
                    WHERE e.workflow = w.id AND e.dedupe_key = 'started 1')),
                'started ' || w.generation);
    PERFORM tell_of_workflow('workflow.continued', w);
END $$;

-- Timers that are due become events, each once; how many.
CREATE FUNCTION fire_timers(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    fired integer;
BEGIN
    WITH due AS (
        SELECT t.workflow, t.generation, t.seq FROM workflow_timer AS t
        WHERE t.due <= farm_now() ORDER BY t.due LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM workflow_timer AS t USING due
        WHERE (t.workflow, t.generation, t.seq) = (due.workflow, due.generation, due.seq)
        RETURNING t.*
    )
    INSERT INTO workflow_event (workflow, generation, type, seq, dedupe_key)
        SELECT g.workflow, nullif(g.generation, 0),
               CASE WHEN g.seq < 0 THEN 'timeout' ELSE 'fired' END, nullif(g.seq, -1),
               command_key(g.generation, g.seq)
        FROM gone AS g ORDER BY g.due, g.seq
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS fired = ROW_COUNT;
    RETURN fired;
END $$;

-- Seconds until a timer, a call or a parked workflow is due; NULL: none waits for a time. What
-- has been due for a while is done by others, or waits for room, and is not asked for.
CREATE FUNCTION next_workflow_time() RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT extract(epoch FROM least(
        (SELECT min(due) FROM workflow_timer WHERE due > recent.time),
        (SELECT min(due) FROM workflow_outbox WHERE kind = 'local' AND due > recent.time),
        (SELECT min(due) FROM workflow_outbox WHERE kind = 'build' AND due > recent.time),
        (SELECT min(next_try) FROM workflow
         WHERE state = 'parked' AND next_try > recent.time)) - farm_now())
    FROM (SELECT farm_now() - interval '1 second' AS time) AS recent
$$;
