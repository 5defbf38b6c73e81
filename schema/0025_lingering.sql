-- Environments of pipeline jobs that failed linger for a while, where somebody asked for it,
-- so that people can look into them; and what they were made of is known.

ALTER TABLE attempt ADD COLUMN linger double precision   -- seconds; NULL: not asked for
    CONSTRAINT lingers_a_week_at_most CHECK (linger > 0 AND linger <= 604800);

ALTER TABLE pipeline_job
    ADD COLUMN image text NOT NULL DEFAULT ''            -- '' of none, or not told
        CONSTRAINT image_is_a_key CHECK
            (image ~ '^([A-Za-z0-9][A-Za-z0-9._+-]{0,199})?$'),
    ADD COLUMN lingers_until timestamptz                 -- as its worker said
        CONSTRAINT what_lingers_has_ended CHECK (lingers_until IS NULL OR state = 'done');
