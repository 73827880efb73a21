-- Erased users, by BLAKE2b-128 of their id: events up to `until` (µs) do not bring them back.
CREATE TABLE tidegate.erasures (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 16),
    until bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
