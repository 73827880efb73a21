-- The relay sends the outbox in numbered batches. Which rows a batch has is fixed here before the first of them
-- is sent; with the batch's messages Kafka stores its token, in one Kafka transaction. So after any crash the two
-- tell whether the batch was sent.
CREATE TABLE tidegate.relay (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    identity uuid NOT NULL DEFAULT gen_random_uuid(),  -- names this database's relay to Kafka
    batch bigint NOT NULL DEFAULT 0,                   -- number of the last batch
    token uuid,                                        -- the batch being sent; null: none is
    ids int8multirange,                                -- its rows of the outbox
    CHECK ((token IS NULL) = (ids IS NULL))
) WITH (fillfactor = 10);

-- kind erased: to the topic of the transitions, with the user's key and no value.
ALTER TABLE tidegate.outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE tidegate.outbox ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('transition', 'dead_letter', 'erased'));

-- Messages that Kafka refuses, too large for their topic mostly, are held: they wait, and with one of a user the
-- user's later ones, but nobody else's.
ALTER TABLE tidegate.outbox ADD COLUMN held_at timestamptz, ADD COLUMN held_reason text;
CREATE INDEX outbox_held ON tidegate.outbox (key, id) WHERE held_at IS NOT NULL AND kind <> 'dead_letter';
