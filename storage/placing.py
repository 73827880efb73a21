"""Where users belong when the number of shards is another one."""

from collections.abc import Iterator

import numpy as np

from segmentation.shards import shards_of
from storage import arrays
from storage.postgres import Connection

_CHUNK = 10_000


def place_users(connection: Connection, shards: int) -> int:
    """Gives every user in table users the shard that he has among `shards`; returns how many have moved.

    Counts of members stay where they are: only their sum has a meaning."""
    connection.execute('CREATE TEMP TABLE placed (user_id text COLLATE "C", shard integer) ON COMMIT DROP')
    for users in _users(connection):
        connection.execute(
            "INSERT INTO placed SELECT * FROM unnest(%s::text[], %s::int[])",
            [arrays.texts(users), arrays.integers(shards_of(users, shards))],
        )
    connection.execute("ANALYZE placed")
    return connection.execute(
        "UPDATE tidegate.users u SET shard = p.shard FROM placed p WHERE p.user_id = u.user_id AND u.shard <> p.shard"
    ).rowcount


def users_of_shards(connection: Connection, shards: int) -> list[int]:
    """How many users each of `shards` would have."""
    count = np.zeros(shards, np.int64)
    for users in _users(connection):
        count += np.bincount(shards_of(users, shards), minlength=shards)
    return count.tolist()


def _users(connection: Connection) -> Iterator[list[str]]:
    with connection.cursor(name="users") as cursor:
        cursor.execute("SELECT user_id FROM tidegate.users")
        while chunk := cursor.fetchmany(_CHUNK):
            yield [row[0] for row in chunk]
