-- When each class was last begun: one in which nothing moves, because its only worker is
-- gone, say, tells nobody where the others are by now.
ALTER TABLE turn ADD begun_at timestamptz NOT NULL DEFAULT farm_now();

CREATE OR REPLACE FUNCTION take_turns(the_owner text, the_architecture text, jobs integer,
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
        -- not ahead because of somebody who was there alone. Where nothing was begun for
        -- long something is in the way, and whoever came there lately is not behind either.
        SELECT coalesce(min(t.virtual_time) FILTER (WHERE c.architecture = the_architecture),
                        min(t.virtual_time))
        INTO now_here
        FROM turn AS t JOIN job_class AS c ON c.id = t.class
        WHERE t.score = the_score AND t.begun_at > farm_now() - '15 minutes'::interval
          AND waits_first(c.id, the_score) IS NOT NULL;
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

CREATE OR REPLACE FUNCTION fold_usage(classes integer[], positions bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    weight_of_new constant double precision := 0.2;   -- of what a pool or an owner used last
BEGIN
    -- What a master tells is told once, so it waits for the other ones.
    PERFORM pg_advisory_xact_lock(hashtext('headrace.fold_usage'));
    INSERT INTO turn AS was (class, score, virtual_time, begun_at)
        SELECT t.class, 1000000 - (t.position >> 43),
               max(t.position & ((1::bigint << 43) - 1)), farm_now()
        FROM unnest(classes, positions) AS t (class, position) GROUP BY 1, 2
        ON CONFLICT (class, score) DO UPDATE
        SET virtual_time = greatest(was.virtual_time, excluded.virtual_time),
            begun_at = excluded.begun_at;
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
