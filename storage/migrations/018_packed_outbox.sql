-- Many messages of one commit are one row of the outbox, of kind `packed` (storage/packing.py): a row each is what most
-- of their cost was. Ids are 1,024 apart, so that the messages of a row have ids of their own behind it, in order, once
-- one of them is to be treated for itself.
ALTER TABLE tidegate.outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE tidegate.outbox ADD CONSTRAINT outbox_kind_check
    CHECK (kind IN ('transition', 'dead_letter', 'erased', 'packed'));
ALTER TABLE tidegate.outbox ADD COLUMN messages integer NOT NULL DEFAULT 0;   -- of the row; 0: one, from before
ALTER TABLE tidegate.outbox ALTER COLUMN messages SET DEFAULT 1;
ALTER TABLE tidegate.outbox ALTER COLUMN id SET INCREMENT BY 1024;
SELECT setval(pg_get_serial_sequence('tidegate.outbox', 'id'), (last_value / 1024 + 1) * 1024, false)
FROM tidegate.outbox_id_seq;
