-- Where the masters of the farm are reached by each other: a file that one of them lacks
-- lies in the blob folder of another. Rows stay: a master that is away still has its files.
CREATE TABLE master (
    name         text PRIMARY KEY,
    url          text NOT NULL CHECK (url ~ '^https?://'),
    fingerprint  text CHECK (fingerprint ~ '^[0-9a-f]{64}$'), -- of its certificate
    started_at   timestamptz NOT NULL DEFAULT farm_now()
);
