"""What stands beside the declared columns in the tables of a sample, which DuckDB judges.

KNOWN_AT: of events and versions, when they became known, µs; TIME: of versions, their own time, µs; VERSION: which of
those of one time is the later. No declared column has a dot in its name.
"""

KNOWN_AT, TIME, VERSION = "row.known_at", "row.time", "row.version"
