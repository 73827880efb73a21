-- The guard against an outage of input. While a partition of the events says nothing, what time does to its users is
-- counted; a segment of which too many would flip is held: from then on its members stay as they are published, and
-- what the engine finds is kept here, net, until it is released.

-- Set where holds says so; up to when the answers about it are complete.
ALTER TABLE tidegate.definitions ADD COLUMN held_since timestamptz;

-- Why a segment is held: too many of cause's members would flip, which is itself or a segment that it is built on.
CREATE TABLE tidegate.holds (
    segment_id integer NOT NULL,
    cause integer NOT NULL,
    version integer NOT NULL,              -- of the held segment's definition; another version ends the hold
    PRIMARY KEY (segment_id, cause)
);

-- Who is to enter or leave a held segment at its release: where published and evaluated membership differ.
CREATE TABLE tidegate.held_flips (
    segment_id integer NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    entered boolean NOT NULL,
    PRIMARY KEY (segment_id, user_id)
);
CREATE INDEX held_flips_user ON tidegate.held_flips (user_id);

-- Of the present outage: how many flips of the segment were counted, and its members before the first of them.
CREATE TABLE tidegate.guard_counts (
    segment_id integer PRIMARY KEY,
    flips bigint NOT NULL,
    members bigint NOT NULL,
    released_by text                       -- who wants it published all the same; not held again in this outage
) WITH (fillfactor = 50);

-- Users whose published sequence number is not the engine's, because a message was held back or published by a
-- release: published = the engine's + shift. step: of the user's shard, the last that changed it.
CREATE TABLE tidegate.seq_shifts (
    user_id text COLLATE "C" PRIMARY KEY,
    shift bigint NOT NULL,
    step bigint NOT NULL
);

-- heard: {partition of the events: clock of the last read that brought a message, µs}; silent: those partitions that
-- have said nothing for too long.
ALTER TABLE tidegate.shards
    ADD COLUMN heard jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN silent integer[] NOT NULL DEFAULT '{}';
