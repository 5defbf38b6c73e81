INSERT INTO deleted_ready (payload) SELECT 'job' FROM generate_series(1, :batch);
WITH claimed AS (
    DELETE FROM deleted_ready
    WHERE id = ANY (ARRAY(
        SELECT id FROM deleted_ready ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED))
    RETURNING id
)
SELECT coalesce(array_agg(id), '{}') AS ids FROM claimed \gset
