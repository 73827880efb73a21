"""Files of events from before Kafka's retention on their way into the reservoir.

`batches` reads a file as batches of columns, Parquet by `quick` where its columns are of the declared types; `staging`
deals them out to shards and writes chunks beside the reservoir, with a journal, so that a load that was killed goes on.
flows/backfill.py does the whole.
"""
