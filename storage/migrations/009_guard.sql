-- A version that would have too many users enter or leave a segment is held until somebody confirms it: outcome says
-- how many they would have been.
ALTER TABLE tidegate.deployments ADD COLUMN held_since timestamptz, ADD COLUMN confirmed_by text;
