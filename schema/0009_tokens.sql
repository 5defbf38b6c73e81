-- Who may join, and who may ask. Of every token only its SHA-256 is kept.

-- The tokens of a worker, those of the past included: one that was ended stays ended,
-- also where an old settings file still names it.
CREATE TABLE worker_token (
    worker      text NOT NULL REFERENCES worker,
    sha256      bytea NOT NULL CONSTRAINT is_a_sha256 CHECK (length(sha256) = 32),
    created_at  timestamptz NOT NULL DEFAULT farm_now(),
    used_at     timestamptz,                  -- when the worker first joined with it
    ends_at     timestamptz,                  -- from then on it is good for nothing
    PRIMARY KEY (worker, sha256)
);
INSERT INTO worker_token (worker, sha256)
SELECT name, token_sha256 FROM worker WHERE token_sha256 IS NOT NULL;
ALTER TABLE worker DROP COLUMN token_sha256;

-- The tokens of clients. Equal to buildmaster.grants.Scope.
CREATE TYPE token_scope AS ENUM ('read', 'submit', 'cancel', 'admin');

CREATE TABLE api_token (
    name          text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    sha256        bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    scopes        token_scope[] NOT NULL,
    project       text CHECK (project <> ''), -- only repositories below it; NULL: all
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT farm_now(),
    last_used_at  timestamptz,                -- roughly
    revoked_at    timestamptz,
    CONSTRAINT permits_something CHECK (cardinality(scopes) > 0),
    CONSTRAINT admins_see_all CHECK (project IS NULL OR NOT 'admin' = ANY (scopes))
);
