-- What the audit has found so far; one row. answers: pairs of user and segment that were compared; skipped: those of
-- users whose history is not whole; unjudged: segments that the judge could not be asked about; failure: why the last
-- round could not be done, NULL when it was.
CREATE TABLE tidegate.audit (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    rounds bigint NOT NULL DEFAULT 0,
    users bigint NOT NULL DEFAULT 0,
    answers bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    mismatches bigint NOT NULL DEFAULT 0,
    unjudged text[] NOT NULL DEFAULT '{}',
    last_at timestamptz,
    last_seconds double precision,
    failure text
) WITH (fillfactor = 20);

-- Where stored and judged membership differ, until a later round finds that they agree. as_of: µs; file: a test of
-- segments, below storage_url.
CREATE TABLE tidegate.audit_mismatches (
    user_id text COLLATE "C" NOT NULL,
    segment text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    as_of bigint NOT NULL,
    stored boolean NOT NULL,
    judged boolean NOT NULL,
    file text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, segment)
);
