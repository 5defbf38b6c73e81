-- People: the stays that their browsers have cookies of, and what everybody did.

-- Between cancel and admin: duties, holds, scores, places, classifications.
ALTER TYPE token_scope ADD VALUE 'operate' BEFORE 'admin';

-- How a person was made sure of. Equal to buildmaster.people.person.Way.
CREATE TYPE person_way AS ENUM ('htpasswd', 'proxy', 'oidc');

-- From a login to a logout, or to its end. Of the cookie only its SHA-256 is kept. What the
-- person may do is not here: the settings say it at each request.
CREATE TABLE stay (
    sha256        bytea PRIMARY KEY CHECK (length(sha256) = 32),
    who           text NOT NULL CHECK (who <> '' AND length(who) <= 200),
    way           person_way NOT NULL,
    display       text NOT NULL CHECK (length(display) <= 200),
    groups        text[] NOT NULL DEFAULT '{}',
    address       text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT farm_now(),
    last_used_at  timestamptz NOT NULL DEFAULT farm_now(),  -- roughly
    expires_at    timestamptz NOT NULL,
    id            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    CONSTRAINT a_stay_has_an_end CHECK (expires_at > created_at),
    CONSTRAINT groups_are_few CHECK (cardinality(groups) <= 1000)
);
CREATE INDEX stay_who ON stay (who, id);
CREATE INDEX stay_expires ON stay (expires_at);

-- What somebody did, or was refused: written before it begins, so that nothing is done
-- without it, and completed with its outcome.
CREATE TABLE act (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT farm_now(),
    act      text NOT NULL CHECK (act ~ '^[a-z]+(\.[a-z]+)*$'),
    who      text NOT NULL CHECK (length(who) <= 300),
    address  text NOT NULL DEFAULT '' CHECK (length(address) <= 100),
    outcome  text CHECK (outcome ~ '^[a-z_]+$'),  -- 'done', or the word of the problem; NULL: not known
    status   smallint,                            -- of the answer
    run      bigint,
    job      bigint,
    worker   text CHECK (length(worker) <= 300),
    facts    jsonb NOT NULL DEFAULT '{}',           -- what else it was about
    CONSTRAINT outcome_has_a_status CHECK ((outcome IS NULL) = (status IS NULL))
);
CREATE INDEX act_who ON act (who, id);
CREATE INDEX act_act ON act (act, id);
CREATE INDEX act_job ON act (job, id) WHERE job IS NOT NULL;
CREATE INDEX act_run ON act (run, id) WHERE run IS NOT NULL;
CREATE INDEX act_at ON act (at);

-- Whether a repository lies within one of some projects: it is the project's address, or below
-- it. Equal to buildmaster.grants.is_within.
CREATE FUNCTION is_within(repository text, projects text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(bool_or(
        rtrim(repository, '/') = top
        OR starts_with(repository, top || '/')
           AND substr(repository, length(top) + 2) !~ '[%\\?#]'
           AND '/' || rtrim(substr(repository, length(top) + 2), '/') || '/' !~ '/\.{0,2}/'
    ), false)
    FROM (SELECT rtrim(project, '/') AS top FROM unnest(projects) AS project) AS given
$$;
