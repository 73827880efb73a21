-- Whose a refused message is by what its value says, and when it was sent: Kafka's timestamp, µs. Both NULL where that
-- is not known. An erasure finds the user's messages by it, and those that come after it are told from those before.
ALTER TABLE tidegate.dead_letters ADD COLUMN user_id text COLLATE "C", ADD COLUMN stamp bigint;
ALTER TABLE tidegate.outbox ADD COLUMN user_id text COLLATE "C", ADD COLUMN stamp bigint;
-- A key may have any length; that of a user has at most 512 bytes.
CREATE INDEX dead_letters_key ON tidegate.dead_letters (substring(key FROM 1 FOR 513));
CREATE INDEX dead_letters_user ON tidegate.dead_letters (user_id);
CREATE INDEX dead_letters_nobody ON tidegate.dead_letters (at) WHERE user_id IS NULL;

-- Users whose events came in more than one partition, and some of them: they are in order within each only.
ALTER TABLE tidegate.shards
    ADD COLUMN scattered_users bigint NOT NULL DEFAULT 0,
    ADD COLUMN scattered_names text[] NOT NULL DEFAULT '{}';
