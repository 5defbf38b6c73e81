-- What operators do to semaphores, and caps of owners, which are semaphores as well.

-- Which jobs name a semaphore; never changes when a job's state does.
CREATE INDEX job_limits ON job USING gin (limits) WHERE limits IS NOT NULL;

-- Make a semaphore, or give it another capacity: then as many step forward as have room.
CREATE FUNCTION set_semaphore(the_name text, places integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    free integer;
BEGIN
    INSERT INTO semaphore (name, capacity) VALUES (the_name, places)
    ON CONFLICT (name) DO UPDATE SET capacity = excluded.capacity;
    SELECT places - count(*) INTO free FROM semaphore_hold AS h WHERE h.semaphore = the_name;
    IF free > 0 THEN
        PERFORM step_forward(the_name, free);
    END IF;
END $$;

-- Let the unfinished jobs of an owner for an architecture with ids in (after_, upto] name a
-- semaphore, too; who runs already holds it. How many. Locks as everywhere: ready or
-- running, then jobs.
CREATE FUNCTION cap_jobs(the_owner text, the_architecture text, the_name text,
                         after_ bigint, upto bigint)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT array_agg(j.id) INTO ids
    FROM job AS j JOIN job_class AS c ON c.id = j.class
    WHERE j.id > after_ AND j.id <= upto AND j.owner = the_owner AND j.state <> 'done'
      AND c.architecture = the_architecture
      AND NOT coalesce(j.limits, '{}') @> ARRAY[the_name];
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM FROM ready AS r WHERE r.job = ANY (ids) ORDER BY r.job FOR UPDATE;
    PERFORM FROM running AS r WHERE r.job = ANY (ids) ORDER BY r.job FOR UPDATE;
    PERFORM FROM job AS j WHERE j.id = ANY (ids) ORDER BY j.id FOR NO KEY UPDATE;
    UPDATE job AS j
    SET limits = ARRAY(SELECT DISTINCT one FROM unnest(j.limits || the_name) AS t (one)
                       ORDER BY one)
    WHERE j.id = ANY (ids) AND j.state <> 'done';
    UPDATE ready AS r SET limits = j.limits FROM job AS j
    WHERE r.job = ANY (ids) AND j.id = r.job;
    INSERT INTO semaphore_hold (semaphore, job)
        SELECT the_name, r.job FROM running AS r WHERE r.job = ANY (ids)
        ON CONFLICT DO NOTHING;
    RETURN cardinality(ids);
END $$;
