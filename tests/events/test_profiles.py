"""Profiles and tombstones: what is read, what is refused, and that neighbours never notice."""

import json
from typing import Any

import numpy as np
import pytest

from segmentation.events.profiles import DecodedProfiles, ProfileDecoder
from segmentation.events.rejects import Reason
from segmentation.events.rows import TextColumn, ValueColumn
from segmentation.events.schema import load_schema
from segmentation.events.split import split_profiles
from segmentation.shards import shard_of

SCHEMA = load_schema(
    """
    users:
      city_tier: {type: bigint, path: address.tier}
      name: {type: text}
      event_time: {type: timestamptz}
      balance: {type: "numeric(18,2)"}
      plan: {type: text, one_of: [free, paid]}
    """
)
GOOD = b'{"address": {"tier": 2}, "name": "Ann", "balance": 1.005, "user_id": "u1"}'


def decode(*records: tuple[bytes | None, bytes | None], stamp: int = 1_000) -> DecodedProfiles:
    n = len(records)
    stamps = np.arange(n, dtype=np.int64) + stamp
    keys, values = [key for key, _ in records], [value for _, value in records]
    return ProfileDecoder(SCHEMA).decode(keys, values, np.arange(n, dtype=np.int64) * 3, stamps)


def values_of(column: TextColumn | ValueColumn) -> list[Any]:
    if isinstance(column, TextColumn):
        return [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
    valid = np.ones(len(column.data), np.bool_) if column.valid is None else column.valid
    return [value if there else None for value, there in zip(column.data.tolist(), valid.tolist())]


def test_profiles_and_tombstones() -> None:
    found = decode((b"u1", GOOD), (b"u2", None), ("ü".encode(), b"{}"), (b"u1", None))
    profiles = found.profiles
    assert not found.rejects and profiles.user_ids == ["u1", "u2", "ü", "u1"]
    assert profiles.erased.tolist() == [False, True, False, True]
    assert profiles.offset.tolist() == [0, 3, 6, 9] and profiles.time.tolist() == [1_000, 1_001, 1_002, 1_003]
    assert {name: values_of(column) for name, column in profiles.columns.items()} == {
        "city_tier": [2, None, None, None], "name": ["Ann", None, None, None], "event_time": [None] * 4,
        "balance": [101, None, None, None], "plan": [None] * 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, GOOD, Reason.EMPTY_USER_ID),
        (b"", None, Reason.EMPTY_USER_ID),
        (b"\xff", None, Reason.WRONG_TYPE),
        (b"a\0b", None, Reason.WRONG_TYPE),
        (b"x" * 513, None, Reason.TOO_LARGE),
        (b"u1", b"", Reason.NOT_JSON),
        (b"u1", b"{oops", Reason.NOT_JSON),
        (b"u1", b"[1]", Reason.NOT_AN_OBJECT),
        (b"u1", b"\0\0\0\0\1{}", Reason.SCHEMA_REGISTRY_FRAMING),
        (b"u1", b'{"name": 1}', Reason.WRONG_TYPE),
        (b"u1", b'{"address": 1}', Reason.WRONG_TYPE),
        (b"u1", b'{"plan": "trial"}', Reason.NOT_ALLOWED),
        (b"u1", b'{"event_time": "2026-01-01T00:00:00"}', Reason.TIME_WITHOUT_ZONE),
        (b"u1", b'{"user_id": "u2"}', Reason.OTHER_USER_ID),
        (b"u1", b'{"user_id": 1}', Reason.WRONG_TYPE),
    ],
)
def test_refused_alone(key: bytes | None, value: bytes | None, reason: Reason) -> None:
    found = decode((b"u1", GOOD), (key, value), (b"u2", None))
    assert [(reject.index, reject.reason) for reject in found.rejects] == [(1, reason)]
    assert found.profiles.user_ids == ["u1", "u2"] and found.profiles.offset.tolist() == [0, 6]
    assert values_of(found.profiles.columns["name"]) == ["Ann", None]


def test_the_time_is_kafkas() -> None:
    found = decode((b"u1", GOOD), (b"u2", None), stamp=-1)
    assert [(reject.index, reject.reason) for reject in found.rejects] == [(0, Reason.BAD_TIME)]
    assert found.profiles.time.tolist() == [0]


def test_nothing_and_no_columns() -> None:
    assert len(decode().profiles) == 0
    decoder = ProfileDecoder(load_schema(""))
    value = b'{"any": {"thing": []}, "user_id": null}'
    found = decoder.decode([b"u"], [value], np.zeros(1, np.int64), np.ones(1, np.int64))
    assert not found.rejects and found.profiles.columns == {}


@pytest.mark.parametrize("shards", [1, 3])
def test_split(shards: int) -> None:
    records = [(f"u{n}".encode(), json.dumps({"name": f"n{n}"}).encode() if n % 3 else None) for n in range(40)]
    whole = decode(*records).profiles
    parts = split_profiles(whole, shards)
    assert sorted(user for part in parts for user in part.user_ids) == sorted(whole.user_ids)
    for shard, part in enumerate(parts):
        assert all(shard_of(user_id, shards) == shard for user_id in part.user_ids)
        names = [None if erased else f"n{user_id[1:]}" for user_id, erased in zip(part.user_ids, part.erased)]
        assert values_of(part.columns["name"]) == names
