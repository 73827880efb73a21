"""The Bytewax flow: Kafka in, shards in the middle, Postgres out; and what starts and watches it."""
