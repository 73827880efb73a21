"""Says whether Postgres and the Kafka topics hold what the events mean. Imports nothing of the engine."""
