"""The pure core: what segments mean and how membership follows from events.

Nothing in this package imports I/O, Bytewax, Kafka, Postgres or gRPC, and nothing reads a clock;
`now` is always a parameter. The import rule is checked in CI.
"""
