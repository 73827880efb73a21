"""A commit larger than the socket takes at once must not leave server and client waiting for each other."""

import os
import socket
from contextlib import closing

import pytest

from storage import postgres


@pytest.mark.timeout(60)
def test_large_commands_in_a_pipeline(database_url: str) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE large (a text[])")
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        handle.close()
        with postgres.pipelined(connection) as pipeline:
            for _ in range(3):
                connection.execute("INSERT INTO large VALUES (%s)", [["x" * 1_000] * 300])
            pipeline.sync()
        row = connection.execute("SELECT count(*), sum(cardinality(a)) FROM large").fetchone()
    assert row == (3, 900)
