-- The secret behind the tokens of attempts: each master must know those of the others.
CREATE TABLE farm_secret (
    name   text PRIMARY KEY,
    value  text NOT NULL CONSTRAINT is_32_bytes CHECK (value ~ '^[0-9a-f]{64}$')
);
