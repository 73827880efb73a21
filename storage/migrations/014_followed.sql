-- While another version is built beside the running one: steps after this one are kept, although saved states do
-- without them, for who builds runs them again on top of the saved state that it began with. NULL: nobody does.
ALTER TABLE tidegate.shards ADD COLUMN followed bigint;
-- When the flow was ended for a version's switch, and how long events then waited, seconds: from there until every
-- shard could take new ones.
ALTER TABLE tidegate.deployments ADD COLUMN stopped_at timestamptz, ADD COLUMN waited double precision;
-- From when on events are read with a version's schema: its new columns have no values before. NULL: from switched_at on.
ALTER TABLE tidegate.deployments ADD COLUMN begins timestamptz;
