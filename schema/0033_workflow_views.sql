-- Views for readers (docs/views.rst) of what came after version 1 began: workflows and what
-- they wait for, schedules and their times, and the nodes of a .headrace.yaml. What people
-- gave to workflows and schedules is not in them.

CREATE VIEW status_v1.workflow AS
    SELECT w.id, w.name, w.class, w.version, w.state::text AS state, w.result::text AS result,
           w.reason, w.owner, w.requester, w.parent, w.generation, w.position AS events,
           jsonb_array_length(w.waits) AS waits, w.created_at, w.changed_at, w.finished_at,
           w.deadline, w.next_try
    FROM public.workflow w;

CREATE VIEW status_v1.workflow_wait AS
    SELECT w.id AS workflow, wait.place::integer AS place, wait.value ->> 'what' AS what,
           wait.value ->> 'name' AS name,
           to_timestamp((wait.value ->> 'since')::float8 / 1000000) AS since,
           to_timestamp((wait.value ->> 'until')::float8 / 1000000) AS until,
           c.job, c.run, c.child
    FROM public.workflow w
    CROSS JOIN LATERAL jsonb_array_elements(w.waits) WITH ORDINALITY AS wait (value, place)
    LEFT JOIN public.workflow_command c
      ON c.workflow = w.id AND c.generation = w.generation
     AND c.seq = (wait.value ->> 'seq')::integer;

CREATE VIEW status_v1.schedule AS
    SELECT name, cron, zone, CASE WHEN paused THEN 'paused' ELSE 'active' END AS state, overlap,
           catch_up, catch_up_limit, owner, made_by, made_at, next_at
    FROM public.schedule;

CREATE VIEW status_v1.firing AS
    SELECT s.name AS schedule, f.at, f.state, f.reason, f.workflow, f.run,
           coalesce(w.result, r.result)::text AS result, f.decided_at
    FROM public.firing f JOIN public.schedule s ON s.id = f.schedule
    LEFT JOIN public.workflow w ON w.id = f.workflow
    LEFT JOIN public.run r ON r.id = f.run;

CREATE VIEW status_v1.node AS
    SELECT d.job, d.job_name, d.package, d.covers, d.scope, d.reuse,
           encode(coalesce(d.key, d.inputs), 'hex') AS key,
           CASE WHEN j.result = 'reused' THEN d.reused_from END AS reused_from,
           CASE WHEN j.result = 'reused' THEN d.reused_attempt END AS reused_attempt,
           d.verifies, nullif(j.gate, '') AS gate, j.allow_failure
    FROM public.node d JOIN public.job j ON j.id = d.job;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'headrace_status') THEN
        GRANT SELECT ON status_v1.workflow, status_v1.workflow_wait, status_v1.schedule,
            status_v1.firing, status_v1.node TO headrace_status;
    END IF;
END $$;
