INSERT INTO moved_ready (payload) SELECT 'job' FROM generate_series(1, :batch);
WITH claimed AS (
    DELETE FROM moved_ready
    WHERE id = ANY (ARRAY(
        SELECT id FROM moved_ready ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED))
    RETURNING id, payload
), started AS (
    INSERT INTO moved_running SELECT id, payload FROM claimed
)
SELECT coalesce(array_agg(id), '{}') AS ids FROM claimed \gset
WITH ended AS (
    DELETE FROM moved_running WHERE id = ANY (:ids::bigint[]) RETURNING id, payload
)
INSERT INTO moved_done SELECT id, payload FROM ended;
