-- What segments cost, by shard, as far as the last round of the audit could tell: pairs of (event, term) among the
-- newest events that were looked at, and bytes of state.
CREATE TABLE tidegate.segment_costs (
    segment text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    pairs double precision NOT NULL,
    bytes double precision NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (segment, shard)
);
