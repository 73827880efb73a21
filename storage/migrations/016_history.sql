-- How far back the log of transitions reaches, per shard that there ever was (setting `history`).
CREATE TABLE tidegate.pruned (
    shard integer PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,    -- up to here transitions are gone; 0: none
    until timestamptz,                     -- when the newest of those was recorded
    covered bigint NOT NULL DEFAULT 0,     -- the step up to which a saved state must be for those not to be missed
    mark_position bigint,                  -- where the shard was at step mark_step: what a saved state of that
    mark_step bigint                       -- step or a later one holds; NULL: no mark
);
