"""Rows of the outbox that hold many messages each, for a row costs the server what it costs, however little it holds.

A packed row has the transitions of one shard's users, in order, as MessagePack [[key, value], ...]. Its id is a
multiple of SLOT, and the message at place n has the id that is n + 1 more, whether it is still packed or not: so who
counts, sends or holds messages has the same names for them before and after `unpack` has made rows of them.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from storage import arrays
from storage.postgres import Connection

PACKED = "packed"
#: From one row's id to the next one's; a row has fewer messages.
SLOT = 1024
#: Fewer messages of a shard are rows of their own. And bytes of a row, about.
LEAST, BYTES = 32, 64 << 10

Pair = tuple[bytes, bytes]

_PACKED = msgspec.msgpack.Decoder(list[Pair])
_INSERT = """
    INSERT INTO tidegate.outbox (shard, kind, messages, value)
    SELECT unnest(%s::int[]), 'packed', unnest(%s::int[]), unnest(%s::bytea[])
"""
_TAKE = """
    DELETE FROM tidegate.outbox WHERE id = ANY(ARRAY(
        SELECT id FROM tidegate.outbox o WHERE kind = 'packed' AND ({}) ORDER BY id FOR UPDATE
    )) RETURNING id, shard, value
"""
_SINGLE = """
    INSERT INTO tidegate.outbox (id, shard, kind, key, value) OVERRIDING SYSTEM VALUE
    SELECT unnest(%s::bigint[]), unnest(%s::int[]), 'transition', unnest(%s::bytea[]), unnest(%s::bytea[])
"""


def rows(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Messages, cut into what a packed row holds."""
    ends = np.cumsum([len(key) + len(value) for key, value in pairs])
    start = 0
    while start < len(pairs):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, min(start + SLOT - 1, int(np.searchsorted(ends, before + BYTES, side="right"))))
        yield pairs[start:end]
        start = end


def store(connection: Connection, shard: int, pairs: Sequence[Pair]) -> None:
    """In order, as packed rows."""
    cut = list(rows(pairs))
    connection.execute(
        _INSERT.encode(),
        [arrays.integers([shard] * len(cut)), arrays.integers([len(some) for some in cut]),
         arrays.byte_strings([msgspec.msgpack.encode(some) for some in cut])],
    )  # fmt: skip


def unpacked(id: int, value: bytes) -> Iterator[tuple[int, Pair]]:
    """The messages of one row, with their ids."""
    return enumerate(_PACKED.decode(value), id + 1)


def unpack(connection: Connection, which: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> int:
    """Makes rows of the messages of those packed rows `o` that `which` (SQL) chooses; returns how many rows it took.

    Whoever deletes packed rows and may have waited for this looks again afterwards: the new ones were not there when
    the deleting began."""
    taken = connection.execute(_TAKE.format(which).encode(), parameters, binary=True).fetchall()
    singles = [(one, shard, pair) for id, shard, value in taken for one, pair in unpacked(id, value)]
    if singles:
        connection.execute(
            _SINGLE.encode(),
            [arrays.bigints([id for id, _, _ in singles]), arrays.integers([shard for _, shard, _ in singles]),
             arrays.byte_strings([key for _, _, (key, _) in singles]),
             arrays.byte_strings([value for _, _, (_, value) in singles])],
        )  # fmt: skip
    return len(taken)
