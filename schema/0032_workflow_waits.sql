-- What else workflows wait for: a job that is there or is started, a collection, and the files
-- of a run. What is kept of their histories. And collections that lose nobody.

ALTER TABLE workflow_command DROP CONSTRAINT workflow_command_kind_check;
ALTER TABLE workflow_command ADD CONSTRAINT workflow_command_kind_check CHECK (kind IN
    ('local', 'job', 'build', 'child', 'timer', 'patch',
     'ensure',         -- a job of a source: the one that is there, or a new one
     'collection'));   -- members of a collection

-- The files that a job made, or that made whose result stands for its own: 100 at most.
CREATE FUNCTION files_of(ended job) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('path', f.path,
                        'sha256', encode(f.sha256, 'hex'), 'size', f.size)), '[]')
    FROM (SELECT a.path, blob.sha256, blob.size FROM artifact AS a JOIN blob USING (sha256)
          WHERE (a.job, a.attempt) = (
              SELECT coalesce(n.reused_from, ended.id),
                     coalesce(n.reused_attempt, ended.attempt)
              FROM (SELECT) AS one LEFT JOIN node AS n
                ON n.job = ended.id AND ended.result = 'reused')
          ORDER BY a.name, a.index, a.path LIMIT 100) AS f
$$;

-- As before, and what it is.
CREATE OR REPLACE FUNCTION job_end(ended job) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'job', ended.id, 'result', ended.result, 'reason', ended.reason,
        'attempt', ended.attempt, 'name', ended.name, 'cell', ended.cell,
        'output', (SELECT CASE WHEN octet_length(a.output::text) <= 200000 THEN a.output END
                   FROM attempt AS a
                   WHERE a.job = ended.id AND a.number = ended.attempt))
$$;

-- The same of a node, with its files.
CREATE FUNCTION node_end(ended job) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
               'job', ended.id, 'result', ended.result, 'reason', left(ended.reason, 500),
               'attempt', ended.attempt, 'name', ended.name, 'cell', ended.cell,
               'architecture', coalesce(b.architecture, ''),
               'series', coalesce(b.series, ''), 'reused_from', n.reused_from,
               'files', files_of(ended))
    FROM (SELECT) AS one LEFT JOIN build AS b ON b.job = ended.id
    LEFT JOIN node AS n ON n.job = ended.id
$$;

-- How a run ended, node by node, bad ends first; 500 at most, fewer where their names are
-- very long, and without their files where those would be too long for a history.
CREATE FUNCTION graph_end(ended run) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    told jsonb;
    nodes jsonb;
BEGIN
    SELECT jsonb_agg(node_end(j) ORDER BY j.result IN ('success', 'reused', 'skipped'), j.id)
    INTO nodes
    FROM (SELECT job.* FROM run_job AS rj JOIN job ON job.id = rj.job
          WHERE rj.run = ended.id
          ORDER BY job.result IN ('success', 'reused', 'skipped'), job.id LIMIT 500) AS j;
    SELECT jsonb_build_object('run', ended.id, 'result', ended.result,
               'counts', coalesce(jsonb_object_agg(c.result, c.jobs), '{}'))
    INTO told
    FROM (SELECT job.result, count(*) AS jobs FROM run_job AS rj JOIN job ON job.id = rj.job
          WHERE rj.run = ended.id AND job.result IS NOT NULL GROUP BY job.result) AS c;
    IF octet_length(nodes::text) > 200000 THEN
        SELECT jsonb_agg((node - 'files') || '{"files_left_off": true}' ORDER BY place)
        INTO nodes FROM jsonb_array_elements(nodes) WITH ORDINALITY AS one (node, place);
    END IF;
    WHILE octet_length(nodes::text) > 240000 LOOP
        nodes := jsonb_path_query_array(nodes, '$[0 to $last]', jsonb_build_object(
                     'last', jsonb_array_length(nodes) / 2 - 1));
    END LOOP;
    RETURN told || jsonb_build_object('nodes', coalesce(nodes, '[]'));
END $$;

CREATE OR REPLACE FUNCTION tell_workflows_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT c.workflow, c.generation, 'completed', c.seq,
               CASE WHEN c.kind = 'ensure' THEN node_end(NEW) ELSE job_end(NEW) END,
               command_key(c.generation, c.seq)
        FROM workflow_command AS c WHERE c.job = NEW.id
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tell_workflows_of_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT c.workflow, c.generation, 'completed', c.seq,
               CASE WHEN c.options ? 'nodes' THEN graph_end(NEW) ELSE run_end(NEW) END,
               command_key(c.generation, c.seq)
        FROM workflow_command AS c WHERE c.run = NEW.id AND c.kind = 'build'
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- As before, in the words of the command's kind.
CREATE OR REPLACE FUNCTION await_job(the_workflow bigint, the_generation integer,
                                     the_seq integer, the_job bigint, the_run bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    the_kind text;
BEGIN
    UPDATE workflow_command SET job = the_job, run = the_run
    WHERE workflow = the_workflow AND generation = the_generation AND seq = the_seq
    RETURNING kind INTO the_kind;
    UPDATE job SET awaited = true WHERE id = the_job AND NOT awaited;
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT the_workflow, the_generation, 'completed', the_seq,
               CASE WHEN the_kind = 'ensure' THEN node_end(j) ELSE job_end(j) END,
               command_key(the_generation, the_seq)
        FROM job AS j WHERE j.id = the_job AND j.state = 'done'
        ON CONFLICT DO NOTHING;
END $$;

CREATE OR REPLACE FUNCTION await_run(the_workflow bigint, the_generation integer,
                                     the_seq integer, the_run bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    with_nodes boolean;
BEGIN
    UPDATE workflow_command SET run = the_run
    WHERE workflow = the_workflow AND generation = the_generation AND seq = the_seq
    RETURNING options ? 'nodes' INTO with_nodes;
    UPDATE run SET awaited = true WHERE id = the_run AND NOT awaited;
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT the_workflow, the_generation, 'completed', the_seq,
               CASE WHEN with_nodes THEN graph_end(r) ELSE run_end(r) END,
               command_key(the_generation, the_seq)
        FROM run AS r WHERE r.id = the_run AND r.state = 'done'
        ON CONFLICT DO NOTHING;
END $$;

-- Workflows that wait for a collection.
CREATE TABLE workflow_collection_wait (
    workflow      bigint NOT NULL,
    generation    integer NOT NULL,
    seq           integer NOT NULL,
    collection    text NOT NULL,
    trust_domain  text NOT NULL,
    contains      text[] NOT NULL CHECK (cardinality(contains) > 0),
    cell          jsonb NOT NULL CHECK (jsonb_typeof(cell) = 'object'),  -- members have it
    PRIMARY KEY (workflow, generation, seq),
    FOREIGN KEY (workflow, generation, seq) REFERENCES workflow_command ON DELETE CASCADE
);
CREATE INDEX workflow_collection_wait_for
    ON workflow_collection_wait (collection, trust_domain);

-- Who comes and who waits take turns, or neither would see the other: what one transaction
-- has written the other does not see before its commit.
CREATE FUNCTION lock_collection(collection text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('headrace collection ' || collection, 0))
$$;

-- Tell workflows whose collection is complete who is in it: of each member and cell that fits
-- the last that passed. The caller has the collection's lock.
CREATE FUNCTION tell_workflows_of_collection(the_collection text, domain text) RETURNS void
LANGUAGE sql AS $$
    WITH complete AS (
        DELETE FROM workflow_collection_wait AS w
        WHERE w.collection = the_collection AND w.trust_domain = domain
          AND NOT EXISTS (
              SELECT FROM unnest(w.contains) AS wanted (member) WHERE NOT EXISTS (
                  SELECT FROM collection_member AS c
                  WHERE c.collection = w.collection AND c.trust_domain = w.trust_domain
                    AND c.member = wanted.member AND c.cell @> w.cell))
        RETURNING w.*
    )
    INSERT INTO workflow_event (workflow, generation, type, seq, payload, dedupe_key)
        SELECT w.workflow, w.generation, 'completed', w.seq,
               jsonb_build_object('collection', w.collection, 'members', (
                   SELECT jsonb_agg(m.told ORDER BY m.member, m.job)
                   FROM (SELECT c.member, c.job, jsonb_build_object('member', c.member,
                                    'job', c.job, 'attempt', j.attempt, 'cell', c.cell,
                                    'since', to_char(c.since AT TIME ZONE 'UTC',
                                                     'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS told
                         FROM collection_member AS c JOIN job AS j ON j.id = c.job
                         WHERE c.collection = w.collection
                           AND c.trust_domain = w.trust_domain
                           AND c.member = ANY (w.contains) AND c.cell @> w.cell
                         ORDER BY c.member, c.job LIMIT 500) AS m)),
               command_key(w.generation, w.seq)
        FROM complete AS w
        ON CONFLICT DO NOTHING
$$;

-- Let a command's workflow wait for a collection; it may be complete already.
CREATE FUNCTION await_collection(the_workflow bigint, the_generation integer,
                                 the_seq integer, the_collection text, domain text,
                                 wanted text[], the_cell jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO workflow_collection_wait
        VALUES (the_workflow, the_generation, the_seq, the_collection, domain, wanted,
                the_cell);
    PERFORM lock_collection(the_collection);
    PERFORM tell_workflows_of_collection(the_collection, domain);
END $$;

-- As before, and workflows are told, too; whoever waits is seen.
CREATE OR REPLACE FUNCTION note_member() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    SELECT n.provides INTO name FROM node AS n
    WHERE n.job = NEW.id AND n.provides IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM lock_collection(name);
    INSERT INTO collection_member AS m (collection, trust_domain, member, cell, job)
        SELECT n.provides, NEW.trust_domain, n.member,
               jsonb_build_object('arch', b.architecture, 'series', b.series) || coalesce((
                   SELECT jsonb_object_agg(split_part(pair, '=', 1), split_part(pair, '=', 2))
                   FROM unnest(string_to_array(nullif(NEW.cell, ''), ',')) AS pair), '{}'),
               NEW.id
        FROM node AS n JOIN build AS b ON b.job = n.job
        WHERE n.job = NEW.id AND n.provides IS NOT NULL
        ON CONFLICT (collection, trust_domain, member, cell)
            DO UPDATE SET job = excluded.job, since = farm_now();
    PERFORM tell_workflows_of_collection(name, NEW.trust_domain);
    PERFORM look_at_collections(ARRAY(
        SELECT w.job FROM collection_wait AS w
        WHERE w.collection = name AND w.trust_domain = NEW.trust_domain ORDER BY w.job));
    RETURN NULL;
END $$;

-- A job that begins to wait takes its turn, before it is looked who is there.
CREATE FUNCTION take_turn_of_collection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_collection(c.collection)
    FROM (SELECT DISTINCT collection FROM new_waits ORDER BY collection) AS c;
    RETURN NULL;
END $$;
CREATE TRIGGER take_turn_of_collection AFTER INSERT ON collection_wait
    REFERENCING NEW TABLE AS new_waits
    FOR EACH STATEMENT EXECUTE FUNCTION take_turn_of_collection();

-- As before, with collections.
CREATE OR REPLACE FUNCTION drop_commands(w workflow, seqs integer[], why text) RETURNS SETOF bigint
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
    DELETE FROM workflow_collection_wait AS c
    WHERE c.workflow = w.id AND c.generation = w.generation
      AND (seqs IS NULL OR c.seq = ANY (seqs));
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

-- Histories of workflows that ended long ago are removed; the workflow stays, with its end.
ALTER TABLE workflow ADD history_removed_at timestamptz,
    ADD CONSTRAINT history_of_an_open_workflow_stays
        CHECK (history_removed_at IS NULL OR state = 'done');
CREATE INDEX workflow_to_forget ON workflow (finished_at)
    WHERE state = 'done' AND history_removed_at IS NULL;
CREATE INDEX workflow_generations ON workflow (id) WHERE generation > 1 AND state <> 'done';
CREATE INDEX workflow_event_late ON workflow_event (at) WHERE late;

-- Remove some of a history: all of it, or one generation; how many rows of ``most``.
CREATE FUNCTION forget_history(the_id bigint, the_generation integer, most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    events integer;
    commands integer;
BEGIN
    -- By its events a generation is found, so they are the last.
    DELETE FROM workflow_command AS c USING (
        SELECT d.generation, d.seq FROM workflow_command AS d
        WHERE d.workflow = the_id
          AND (the_generation IS NULL OR d.generation = the_generation)
        LIMIT most) AS gone
    WHERE c.workflow = the_id AND c.generation = gone.generation AND c.seq = gone.seq;
    GET DIAGNOSTICS commands = ROW_COUNT;
    DELETE FROM workflow_event WHERE id IN (
        SELECT e.id FROM workflow_event AS e
        WHERE e.workflow = the_id
          AND (the_generation IS NULL OR e.generation = the_generation)
        LIMIT most - commands);
    GET DIAGNOSTICS events = ROW_COUNT;
    RETURN events + commands;
END $$;

-- Remove histories that ended so many seconds ago, ``most`` rows at most; whether there may be
-- more of them. Also generations that an open workflow left behind so long ago, and signals
-- that came after an end.
CREATE FUNCTION forget_histories(seconds double precision, most integer) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    before timestamptz := farm_now() - make_interval(secs => seconds);
    room integer := most;
    one record;
    gone integer;
BEGIN
    FOR one IN
        SELECT id FROM workflow
        WHERE state = 'done' AND history_removed_at IS NULL AND finished_at < before
        ORDER BY finished_at LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        room := room - forget_history(one.id, NULL, room);
        IF room <= 0 THEN
            RETURN true;
        END IF;
        UPDATE workflow SET history_removed_at = farm_now() WHERE id = one.id;
        room := room - 1;
        IF room <= 0 THEN
            RETURN true;
        END IF;
    END LOOP;
    FOR one IN
        SELECT w.id, oldest.generation
        FROM workflow AS w CROSS JOIN LATERAL (
            SELECT min(e.generation) AS generation FROM workflow_event AS e
            WHERE e.workflow = w.id AND e.n IS NOT NULL) AS oldest
        WHERE w.generation > 1 AND w.state <> 'done' AND oldest.generation < w.generation
          AND EXISTS (
              SELECT FROM workflow_event AS next
              WHERE next.workflow = w.id AND next.at < before
                AND next.dedupe_key = 'started ' || (oldest.generation + 1))
        LIMIT most
    LOOP
        gone := forget_history(one.id, one.generation, room);
        room := room - gone;
        IF room <= 0 THEN
            RETURN true;
        END IF;
    END LOOP;
    DELETE FROM workflow_event WHERE id IN (
        SELECT id FROM workflow_event WHERE late AND at < before ORDER BY at LIMIT room);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN room < most OR gone = room;
END $$;

-- As before; but the seed is that of the generation before, as the first may be removed.
-- Let a workflow go on with an empty history; signals that wait go to the new one.
CREATE OR REPLACE FUNCTION continue_workflow(the_id bigint, given jsonb)
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
                    WHERE e.workflow = w.id AND e.dedupe_key = 'started ' || (w.generation - 1))),
                'started ' || w.generation);
    PERFORM tell_of_workflow('workflow.continued', w);
END $$;
