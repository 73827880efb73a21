-- Watchers read the log in the order of its positions.
CREATE INDEX transitions_position ON tidegate.transitions (shard, position);

-- An erasure has a place in the log of its shard too, so that whoever keeps a copy hears of it. NULL: from before.
ALTER TABLE tidegate.erasures ADD COLUMN shard integer, ADD COLUMN position bigint;
CREATE INDEX erasures_position ON tidegate.erasures (shard, position) WHERE position IS NOT NULL;

-- Names this log: a position of another one is refused. One row.
CREATE TABLE tidegate.log (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    identity uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO tidegate.log DEFAULT VALUES;
