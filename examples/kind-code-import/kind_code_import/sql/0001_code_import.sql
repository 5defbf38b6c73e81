-- What is known of each repository that is imported: kept from one job to the next.
CREATE TABLE code_import (
    url          text PRIMARY KEY,
    heads        jsonb NOT NULL DEFAULT '{}',      -- name of each branch, and its commit
    imports      integer NOT NULL DEFAULT 0,       -- that passed
    failures     integer NOT NULL DEFAULT 0,       -- in a row
    imported_at  timestamptz
);

-- What a job's document says of it.
CREATE FUNCTION code_import_document(the_job bigint) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('url', c.url, 'heads', c.heads, 'imports', c.imports,
                             'failures', c.failures)
    FROM native_job AS n JOIN code_import AS c ON c.url = n.arguments ->> 'url'
    WHERE n.job = the_job
$$;
