"""The audit: users of a running deployment, evaluated again by DuckDB from what is stored of their events.

`judge` asks DuckDB, by the definitions' own SQL; what may differ from the files is in `rewrites`. None of the three
files that it is made of (`judge`, `rewrites`, `distance`) imports anything of the engine, so that the tests of the
engine use them too. `sample` finds the events of some users in saved states and reservoir, `stored` what PostgreSQL
says of them, `round` compares, `findings` keeps what differs, and `reproduction` writes it down as a test of segments.
"""
