INSERT INTO state_job (payload) SELECT 'job' FROM generate_series(1, :batch);
WITH claimed AS (
    UPDATE state_job SET state = 'running'
    WHERE id = ANY (ARRAY(
        SELECT id FROM state_job WHERE state = 'ready'
        ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED))
    RETURNING id
)
SELECT coalesce(array_agg(id), '{}') AS ids FROM claimed \gset
UPDATE state_job SET state = 'done' WHERE id = ANY (:ids::bigint[]) AND state = 'running';
