"""Refused messages on their way into the database: one row each, once, and one in the outbox.

One that its user's erasure has overtaken is left out (see storage.erasing).
"""

from collections.abc import Iterator, Sequence

from segmentation.evaluate.erasure import digest_of
from segmentation.events.whose import user_of_key
from storage import arrays, messages
from storage.commits import DeadLetter
from storage.postgres import Connection

DEAD_LETTERS = """
    INSERT INTO tidegate.dead_letters
        (topic, partition, "offset", key, value, headers, reason, detail, user_id, stamp)
    SELECT topic, partition, "offset", key, value, headers::jsonb, reason, detail, user_id, nullif(stamp, -1)
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::text[],
                %s::text[], %s::bigint[], %s::bytea[], %s::bytea[])
        AS f(topic, partition, "offset", key, value, headers, reason, detail, user_id, stamp, whose, whose_too)
    WHERE NOT EXISTS (
        SELECT FROM tidegate.erasures e WHERE e.digest IN (f.whose, f.whose_too) AND nullif(f.stamp, -1) <= e.until
    )
    ON CONFLICT DO NOTHING
    RETURNING topic, partition, "offset"
"""
DEAD_LETTER_OUTBOX = """
    INSERT INTO tidegate.outbox (shard, kind, key, value, headers, user_id, stamp)
    SELECT shard, 'dead_letter', key, value, headers::jsonb, user_id, nullif(stamp, -1)
    FROM unnest(%s::int[], %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::bigint[])
        AS f(shard, key, value, headers, user_id, stamp)
"""
#: Values of dead letters in one statement.
LETTER_BYTES = 4 << 20


def store(connection: Connection, letters: Sequence[tuple[int, DeadLetter]]) -> None:
    """Each with the shard that stores it."""
    for some in _portions(letters):
        _store(connection, some)


def _portions(letters: Sequence[tuple[int, DeadLetter]]) -> Iterator[Sequence[tuple[int, DeadLetter]]]:
    """Of so many bytes, about: on its way to the server a statement is in memory several times."""
    start = size = 0
    for place, (_, letter) in enumerate(letters):
        if size > LETTER_BYTES:
            yield letters[start:place]
            start, size = place, 0
        size += len(letter.value or b"")
    if start < len(letters):
        yield letters[start:]


def _store(connection: Connection, letters: Sequence[tuple[int, DeadLetter]]) -> None:
    by_origin = {(messages.clean(x.topic), x.partition, x.offset): (shard, x) for shard, x in letters}
    each = [letter for _, letter in by_origin.values()]
    stored = connection.execute(
        DEAD_LETTERS,
        [arrays.texts(topic for topic, _, _ in by_origin), arrays.integers([x.partition for x in each]),
         arrays.bigints([x.offset for x in each]), arrays.byte_strings([x.key for x in each]),
         arrays.byte_strings([x.value for x in each]),
         arrays.byte_strings([messages.pack_headers(x.headers) for x in each], arrays.TEXT),
         arrays.texts(messages.clean(x.reason) for x in each), arrays.texts(messages.clean(x.detail) for x in each),
         *_whose(each), arrays.byte_strings([_digest(user_of_key(x.key)) for x in each]),
         arrays.byte_strings([_digest(x.user_id) for x in each])],
    )
    fresh = [by_origin[origin] for origin in stored.fetchall()]
    headers = [messages.pack_headers(messages.dead_letter_headers(letter)) for _, letter in fresh]
    connection.execute(
        DEAD_LETTER_OUTBOX,
        [arrays.integers([shard for shard, _ in fresh]), arrays.byte_strings([x.key for _, x in fresh]),
         arrays.byte_strings([x.value for _, x in fresh]), arrays.byte_strings(headers, arrays.TEXT),
         *_whose([x for _, x in fresh])],
    )


def _whose(letters: Sequence[DeadLetter]) -> tuple[arrays.BinaryArray, arrays.BinaryArray]:
    users = [None if x.user_id is None else x.user_id.encode() for x in letters]
    stamps = [-1 if x.stamp is None else x.stamp for x in letters]
    return arrays.byte_strings(users, arrays.TEXT), arrays.bigints(stamps)


def _digest(user_id: str | None) -> bytes | None:
    return None if user_id is None else digest_of(user_id)
