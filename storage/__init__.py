"""PostgreSQL and files: schema, membership writer and reader, outbox, checkpoints, settings."""
