-- One event log: every state change writes a row in the same transaction.
--
-- Followers must miss nothing, and ids are not given in the order of commits. So the
-- order is (transaction, id), and a reader takes only transactions older than every one
-- still in progress. An event's public id is 'transaction-id'.
CREATE TABLE event (
    transaction  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id           bigint GENERATED ALWAYS AS IDENTITY,
    at           timestamptz NOT NULL DEFAULT farm_now(),
    kind         text NOT NULL,              -- job.ready, job.done, run.created, worker.connected ...
    run          bigint,
    job          bigint,
    worker       text,
    payload      jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (transaction, id)
);
CREATE INDEX event_job ON event (job, transaction, id) WHERE job IS NOT NULL;
CREATE INDEX event_run ON event (run, transaction, id) WHERE run IS NOT NULL;

-- Wake-ups are hints: one for each transaction that wrote events, never one for each row
-- (PostgreSQL folds equal notifications of a transaction into one).
CREATE FUNCTION tell_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY headrace_events;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_events AFTER INSERT ON event
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_events();
