-- Runs of jobs that no source is behind, as a graph of native jobs is.
ALTER TABLE run
    ALTER repository DROP NOT NULL,
    ALTER source_digest DROP NOT NULL,
    ALTER configuration DROP NOT NULL,
    ADD name text NOT NULL DEFAULT '',     -- what people call it, if anybody said
    ADD CONSTRAINT run_source_is_whole CHECK (
        (repository IS NULL) = (source_digest IS NULL)
        AND (repository IS NULL) = (configuration IS NULL));
