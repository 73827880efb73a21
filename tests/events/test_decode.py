"""The fast decoder against its slow twin, message by message, whatever stands beside a message."""

import json
from collections.abc import Sequence

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from segmentation.events.decode import Decoded, Decoder, Reason
from segmentation.events.schema import Schema, load_schema
from tests.events import messages, twin

SCHEMA = load_schema(messages.SCHEMA)
DECODER = Decoder(SCHEMA, None)


def decode(decoder: Decoder, values: Sequence[bytes | None]) -> Decoded:
    return decoder.decode(values, np.arange(10, 10 + len(values)), np.zeros(len(values), np.int64))


def outcomes(decoded: Decoded, schema: Schema, count: int) -> list[object]:
    """Per message: its values, or the reason of its refusal."""
    found: dict[int, object] = {reject.index: reject.reason for reject in decoded.rejects}
    for row, offset in enumerate(decoded.rows.offset.tolist()):
        found[offset - 10] = twin.of_rows(decoded.rows, row, schema)
    assert sorted(found) == list(range(count))
    return [found[index] for index in range(count)]


@hypothesis.given(st.lists(messages.values, max_size=12))
def test_means_what_the_twin_means(values: list[bytes | None]) -> None:
    decoded = decode(DECODER, values)
    expected = [twin.read(SCHEMA, value) for value in values]
    assert outcomes(decoded, SCHEMA, len(values)) == expected
    accepted = [each["event_time"] for each in expected if isinstance(each, dict)]
    assert decoded.rows.high.tolist() == [max(accepted[: end + 1]) for end in range(len(accepted))]  # type: ignore[type-var]
    assert all(len(reject.detail) < 300 and "\n" not in reject.detail for reject in decoded.rejects)
    assert set(decoded.rows.user_ids) == {each["user_id"] for each in expected if isinstance(each, dict)}


@hypothesis.given(st.lists(messages.values, min_size=2, max_size=8))
def test_a_message_never_depends_on_its_neighbours(values: list[bytes | None]) -> None:
    together = outcomes(decode(DECODER, values), SCHEMA, len(values))
    assert together == [outcomes(decode(DECODER, [value]), SCHEMA, 1)[0] for value in values]


def test_large_batches_are_the_small_ones_in_a_row() -> None:
    values = [
        json.dumps(
            {
                "user_id": f"u{row * 7 % 4001}",
                "event_id": str(row),
                "type": "x",
                "meta": {"at": f"2024-01-01T00:{row % 60:02d}:00Z"},
                "m": None if row % 3 else row,
            }
        ).encode()
        for row in range(9_000)
    ]
    values[4_500] = b"?"
    whole = outcomes(decode(DECODER, values), SCHEMA, len(values))
    parts = [outcomes(decode(DECODER, values[at : at + 100]), SCHEMA, 100) for at in range(0, 9_000, 100)]
    assert whole == [each for part in parts for each in part]
    assert whole[4_500] is Reason.NOT_JSON


GOOD = {"user_id": "u", "event_id": "e", "event_type": "x", "event_time": "2024-01-01T00:00:00Z"}


def good(**fields: object) -> bytes:
    return json.dumps({name: value for name, value in (GOOD | fields).items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "no_value", "tombstone"),
        (good(note="x" * (1 << 20)), "too_large", "expected at most 1048576"),
        (good(user_id="é" * 257), "too_large", "user_id: expected at most 512 bytes, it has 514"),
        (good(event_id="é" * 257), "too_large", "event_id: expected at most 512 bytes"),
        (b"\0\0\0\0\7" + good(), "schema_registry_framing", "schema 7"),
        (b"", "not_json", "it is empty"),
        (b"\xef\xbb\xbf" + good(), "not_json", "byte order mark"),
        (b'{"a": "\xff"}', "not_json", "not UTF-8"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "not_json", "nested too deeply"),
        (good()[:-1], "not_json", "not JSON"),
        (b'0"user_id": "u"}', "not_json", "trailing"),
        (b"[1]", "not_an_object", "got an array"),
        (b'"u"', "not_an_object", 'got the string "u"'),
        (b"null", "not_an_object", "got null"),
        (good(user_id="absent"), "missing_field", "user_id: expected a value, it is missing"),
        (good(event_id=None), "missing_field", "event_id: expected a value, it is null"),
        (good(event_id=""), "missing_field", "event_id: expected an id, it is empty"),
        (good(event_type=None), "missing_field", "event_type"),
        (good(event_time="absent"), "missing_field", "event_time"),
        (good(user_id=""), "empty_user_id", "user_id: expected an id"),
        (good(user_id=7), "wrong_type", "user_id: expected a string, got 7"),
        (good(user_id="a\0b"), "wrong_type", "without the character NUL"),
        (good(n=1.5), "wrong_type", "n: expected a whole number of 64 bits, got 1.5"),
        (good(n=True), "wrong_type", "n: expected a number, got a boolean true"),
        (good(n="1"), "wrong_type", "not in quotes"),
        (good(p="x"), "wrong_type", 'p: expected an object, got the string "x"'),
        (good(event_time=1_700_000_000), "wrong_type", "event_time: expected a time as a string"),
        (good(n=11), "not_allowed", "n: expected at most 10; got 11"),
        (good(kind="c"), "not_allowed", "kind: expected one of a, b; got c"),
        (good(event_time="2024-01-01T00:00:00"), "time_without_zone", "expected a zone (Z or +02:00)"),
        (good(event_time="2024-02-30T00:00:00Z"), "bad_time", "no such date"),
        (good(event_time="yesterday"), "bad_time", "got yesterday"),
        (good(event_time="2024-01-01T00:05:01.000001Z"), "event_time_in_future", "expected at most 300 s after"),
    ],
)
def test_every_reason(value: bytes | None, reason: str, detail: str) -> None:
    schema = load_schema(
        "events: {n: {type: bigint, max: 10}, kind: {type: text, one_of: [a, b]}, x: {type: text, path: p.x}}"
    )
    stamp = 1_704_067_201_000_000
    values = [good(), value, good(user_id="v")]
    decoded = Decoder(schema, 300_000_000).decode(values, np.array([3, 5, 8]), np.full(3, stamp))
    assert [(each.index, each.reason) for each in decoded.rejects] == [(1, reason)]
    assert detail in decoded.rejects[0].detail
    assert decoded.rows.offset.tolist() == [3, 8]
    assert [decoded.rows.user_ids[user] for user in decoded.rows.user] == ["u", "v"]


def test_what_is_read_alone_keeps_its_own_user_and_texts() -> None:
    schema = load_schema("events: {n: {type: bigint}, region: {type: text}}")
    values = [good(user_id=f"u{row}", region=f"r{row}", n=[1, 1.0][row % 2]) for row in range(7)]
    decoded = decode(Decoder(schema, None), values)
    assert decoded.rejects == []
    assert [twin.of_rows(decoded.rows, row, schema)["user_id"] for row in range(7)] == [f"u{row}" for row in range(7)]
    assert [twin.of_rows(decoded.rows, row, schema)["region"] for row in range(7)] == [f"r{row}" for row in range(7)]


def test_in_quotes_only_numbers_are_read() -> None:
    schema = load_schema(
        "events: {ok: {type: boolean, empty_as_null: true}, at: {type: timestamptz, empty_as_null: true}, "
        "n: {type: bigint, empty_as_null: true}, x: {type: double, empty_as_null: true}}"
    )
    wrong = [good(ok=text) for text in ("0", "1", "0e0", "true", "t", " ")] + [good(at="0")] + [good(n="true")]
    decoded = decode(Decoder(schema, None), [*wrong, good(ok="", at="", n="", x=""), good(n="1.2e1", x="-0")])
    assert [each.index for each in decoded.rejects] == list(range(len(wrong)))
    found = [twin.of_rows(decoded.rows, row, schema) for row in range(2)]
    assert [(each["ok"], each["at"], each["n"], each["x"]) for each in found] == [(None,) * 4, (None, None, 12, 0.0)]


def test_values_are_not_echoed_at_length() -> None:
    decoded = decode(Decoder(load_schema(""), None), [good(user_id=["secret" * 99]), good(event_time="9" * 999)])
    assert [len(each.detail) < 200 for each in decoded.rejects] == [True, True]


def test_a_kafka_timestamp_that_is_not_there_is_not_compared() -> None:
    decoder = Decoder(load_schema(""), 0)
    assert len(decoder.decode([good()], np.zeros(1, np.int64), np.full(1, -1_000)).rows) == 1


def test_no_messages() -> None:
    decoded = decode(DECODER, [])
    assert len(decoded.rows) == 0 and decoded.rejects == []
    assert set(decoded.rows.columns) == set(SCHEMA.events) - {"user_id", "event_id", "event_time"}


def test_the_last_of_a_key_given_twice_counts() -> None:
    decoded = decode(Decoder(load_schema(""), None), [b'{"user_id": 1, ' + good()[1:-1] + b', "user_id": "last"}'])
    assert decoded.rows.user_ids == ["last"]


OTHER_PRODUCER = (
    b'{"id": "c1d1caef", "id_type": "cookie", "region": "California", "device_type": "mobile", '
    b'"created_at": "2026-10-31T00:00:00", "payload": {"activity_type": "page_viewed", "order_total": ""}}'
)
MAPPING = """
events:
  user_id: {path: id}
  event_id: {generated: true}
  event_type: {path: payload.activity_type}
  event_time: {path: created_at, timezone: UTC}
  region: {type: text}
  order_total: {type: "numeric(18,2)", path: payload.order_total, empty_as_null: true}
"""


def test_another_producers_shape_goes_in_by_mapping_alone() -> None:
    schema = load_schema(MAPPING)
    values = [OTHER_PRODUCER, OTHER_PRODUCER.replace(b'""', b'"12.345"'), OTHER_PRODUCER.replace(b'""', b"12.345")]
    decoded = Decoder(schema, None).decode(values, np.array([40, 41, 42]), np.zeros(3, np.int64), partition=6)
    assert decoded.rejects == []
    assert [dict(twin.of_rows(decoded.rows, row, schema)) for row in range(3)] == [
        {
            "user_id": "c1d1caef", "event_id": f"6-{40 + row}", "event_type": "page_viewed",
            "event_time": 1_793_404_800_000_000, "region": "California", "order_total": total,
        }
        for row, total in enumerate([None, 1235, 1235])
    ]  # fmt: skip


def test_ids_can_be_given_where_messages_have_none() -> None:
    values = [good(event_id=None), good(event_id="own"), good(event_id="absent"), good(user_id=None, event_id=None)]
    decoded = Decoder(load_schema(""), None).decode(
        values, np.arange(4), np.zeros(4, np.int64), event_ids=["a", "b", "c", "d"]
    )
    assert decoded.rows.event_id.tolist() == ["a", "own", "c"]
    assert [each.index for each in decoded.rejects] == [3]
