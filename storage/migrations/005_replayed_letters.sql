-- A refused message that was sent to Kafka again: when, and where it is now. Set once Kafka has acknowledged it;
-- the last time counts. Partition and offset are NULL where Kafka did not say.

ALTER TABLE tidegate.dead_letters
    ADD COLUMN replayed_at timestamptz,
    ADD COLUMN replayed_topic text,
    ADD COLUMN replayed_partition integer,
    ADD COLUMN replayed_offset bigint;

-- Refused messages may be a megabyte each; to compress them takes PostgreSQL longer than all the rest of a commit.
ALTER TABLE tidegate.dead_letters ALTER COLUMN value SET STORAGE EXTERNAL;
ALTER TABLE tidegate.outbox ALTER COLUMN value SET STORAGE EXTERNAL;
