-- The tables of schema tidegate are ours and may change with any version; the three views in
-- schema public are the stable surface. No table bears a view's name: a user called tidegate has
-- schema tidegate before public in the search path.
--
-- Text that is compared or ordered is in collation "C": code point order, the same on every server.
-- Times in µs (bigint) are where values outside PostgreSQL's range of timestamptz may occur.

CREATE SCHEMA IF NOT EXISTS tidegate;

-- What the stored membership was computed from; one row.
CREATE TABLE tidegate.engine (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    definitions text NOT NULL,             -- digest of the compiled plan
    schema text NOT NULL,                  -- digest of schema.yml
    segments jsonb NOT NULL,               -- {name: digest}
    shards integer NOT NULL CHECK (shards > 0),
    options jsonb NOT NULL,                -- further settings that change the meaning, {name: value}
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tidegate.definitions (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    version integer NOT NULL,
    digest text NOT NULL,
    sql text NOT NULL,
    description text NOT NULL,
    owner text NOT NULL,
    tags text[] NOT NULL,
    enabled boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('complete', 'disabled', 'removed')),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tidegate.definition_versions (
    segment_id integer NOT NULL REFERENCES tidegate.definitions,
    version integer NOT NULL,
    digest text NOT NULL,
    sql text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (segment_id, version)
);

CREATE TABLE tidegate.members (
    segment_id integer NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (segment_id, user_id)
);
CREATE INDEX members_user ON tidegate.members (user_id);

-- Exact: kept in the transaction that changes members. One row per shard, so that the engine's
-- processes never wait for each other's commit.
CREATE TABLE tidegate.member_counts (
    segment_id integer NOT NULL,
    shard integer NOT NULL,
    members bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (segment_id, shard)
) WITH (fillfactor = 20);

-- known: false for a user of an earlier definition set whose events no longer count.
CREATE TABLE tidegate.users (
    user_id text COLLATE "C" PRIMARY KEY,
    shard integer NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    last_effective_at timestamptz,
    known boolean NOT NULL DEFAULT true
) WITH (fillfactor = 70);

CREATE TABLE tidegate.transitions (
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    segment_id integer NOT NULL,
    entered boolean NOT NULL,
    effective_at timestamptz NOT NULL,
    cause text NOT NULL,
    version integer NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL,              -- per shard, one per user and step, in order of commit
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, seq, segment_id)
);

-- What awaits the relay to Kafka. kind: transition, dead_letter. headers: [[name, base64 or null], ...]
CREATE TABLE tidegate.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('transition', 'dead_letter')),
    key bytea,
    value bytea,
    headers jsonb
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000);

-- One row per shard: who may write it, and how far it is.
CREATE TABLE tidegate.shards (
    shard integer PRIMARY KEY,
    token bigint NOT NULL DEFAULT 0,       -- fencing: raised by every take-over
    step bigint NOT NULL DEFAULT 0,        -- number of the last step stored
    position bigint NOT NULL DEFAULT 0,    -- last one given to a transition
    watermark bigint NOT NULL,             -- µs
    offsets jsonb NOT NULL DEFAULT '{}',   -- {partition: first offset not taken yet}
    checkpoint jsonb,                      -- the state file that steps are run on top of
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

-- Steps since the shard's checkpoint. parts: [[partition, next_offset, clock, watermark], ...], µs.
CREATE TABLE tidegate.steps (
    shard integer NOT NULL,
    number bigint NOT NULL,
    parts json NOT NULL,
    PRIMARY KEY (shard, number)
);

CREATE TABLE tidegate.dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    headers jsonb,
    reason text NOT NULL,
    detail text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX dead_letters_at ON tidegate.dead_letters (at);
