-- Every version of the folder of definitions that was deployed or is to be. Numbers have no gaps and never come
-- again: going back to an earlier version is a new one with its files.
CREATE TABLE tidegate.deployments (
    version integer PRIMARY KEY CHECK (version > 0),
    files jsonb NOT NULL,                  -- {name: text}: *.sql and schema.yml
    digest text NOT NULL,                  -- of the files
    made_by text NOT NULL,                 -- a person, or the engine (its first start, --rebuild)
    made_at timestamptz NOT NULL DEFAULT now(),
    -- building: to be taken up by the engine; complete: answered by, now or once; withdrawn: never answered by.
    state text NOT NULL CHECK (state IN ('building', 'complete', 'withdrawn')),
    reason text,                           -- why it was withdrawn
    rebuilt text[] NOT NULL DEFAULT '{}',  -- segments that are computed anew although their meaning is the same
    allow_incomplete boolean NOT NULL DEFAULT false,
    progress jsonb,                        -- while it is being built: {done, total} in rows of the archive
    ready boolean NOT NULL DEFAULT false,  -- built; only the switch is left
    switched_at timestamptz,               -- when it became the one that is answered by
    outcome jsonb,                         -- of the switch: {segment: [entered, left]}
    CHECK ((state = 'complete') = (switched_at IS NOT NULL))
);
-- One at a time.
CREATE UNIQUE INDEX deployments_building ON tidegate.deployments ((true)) WHERE state = 'building';

-- A definition of which history is missing: answers hold for what came after this instant.
ALTER TABLE tidegate.definitions ADD COLUMN complete_since timestamptz;
