"""Records of the topic `profiles` to columns: `ProfileDecoder(schema).decode(...)` gives `DecodedProfiles`.

The record's key is the user id: UTF-8, not empty, without NUL, at most 512 bytes. A record without a value is a
tombstone: the user is to be erased. Any other value is a JSON object; the columns that schema.yml declares under
`users:` are read from it by the rules of `exact`, and a field `user_id`, if there is one, must be the key. The
record's own time is its Kafka timestamp. What cannot be read is set aside alone, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from segmentation.events.columns import column_of
from segmentation.events.exact import ID_BYTES_MAX, Exact, Held, described
from segmentation.events.rejects import Reason, Refusal, Reject, shown
from segmentation.events.rows import Int64, Profiles
from segmentation.events.schema import Schema


class _Head(msgspec.Struct):
    user_id: msgspec.Raw = msgspec.Raw(b"")


_head = msgspec.json.Decoder(_Head).decode


@dataclass(slots=True)
class DecodedProfiles:
    """profiles: what was accepted, in order of arrival; rejects: the rest, by index."""

    profiles: Profiles
    rejects: list[Reject]


class ProfileDecoder:
    """Keeps nothing between calls."""

    def __init__(self, schema: Schema) -> None:
        self._columns = schema.users
        self._exact = Exact(schema.users, required=())

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], offsets: Int64, timestamps: Int64
    ) -> DecodedProfiles:
        """keys, values[n], offsets int64[n] increasing, timestamps int64[n]: Kafka's, µs (negative: there is none)."""
        kept: list[int] = []
        user_ids: list[str] = []
        found: list[dict[str, Held] | None] = []
        rejects = []
        for row, (key, value) in enumerate(zip(keys, values, strict=True)):
            try:
                user_id = _user_id(key)
                if timestamps[row] < 0:
                    raise Refusal(Reason.BAD_TIME, "the record has no Kafka timestamp, which is its time")
                found.append(None if value is None else self._read(value, user_id))
            except Refusal as refusal:
                rejects.append(Reject(row, refusal.reason, refusal.detail))
                continue
            user_ids.append(user_id)
            kept.append(row)
        places = np.array(kept, np.int64)
        built = {name: column_of(column) for name, column in self._columns.items()}
        for name, column in built.items():
            column.add([None] * len(kept))
            column.close()
            for row, held in enumerate(found):
                column.put(row, None if held is None else held[name])
        time = timestamps[places]
        erased = np.array([held is None for held in found], np.bool_)
        columns = {name: column.finished() for name, column in built.items()}
        high = np.maximum.accumulate(time)
        return DecodedProfiles(Profiles(offsets[places], user_ids, time, high, erased, columns), rejects)

    def _read(self, value: bytes, user_id: str) -> dict[str, Held]:
        held = self._exact.read(value)
        said = bytes(_head(value).user_id)  # the rest is known to be an object
        if said not in (b"", b"null"):
            if said[:1] != b'"':
                raise Refusal(Reason.WRONG_TYPE, f"user_id: expected a string, got {described(said)}")
            if (other := msgspec.json.decode(said)) != user_id:
                detail = f"user_id: expected the record's key {shown(user_id)}, got {shown(other)}"
                raise Refusal(Reason.OTHER_USER_ID, detail)
        return held


def _user_id(key: bytes | None) -> str:
    if not key:
        raise Refusal(Reason.EMPTY_USER_ID, "the record's key: expected the user id, there is none")
    if len(key) > ID_BYTES_MAX:
        detail = f"the record's key: expected at most {ID_BYTES_MAX} bytes, it has {len(key)}"
        raise Refusal(Reason.TOO_LARGE, detail)
    try:
        user_id = key.decode()
    except UnicodeDecodeError:
        raise Refusal(Reason.WRONG_TYPE, "the record's key: expected UTF-8") from None
    if "\0" in user_id:
        raise Refusal(Reason.WRONG_TYPE, "the record's key: expected a user id without the character NUL")
    return user_id
