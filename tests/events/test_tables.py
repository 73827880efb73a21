"""Rows of files: the same event means the same, whichever way a file holds it."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st

from segmentation.errors import TidegateError
from segmentation.events.decode import Reason
from segmentation.events.schema import load_schema
from segmentation.events.tables import Messages, file_event_id, message_of, rows_of
from tests.events import twin

SCHEMA = load_schema(
    """
events:
  event_type: {path: payload.kind}
  amount: {type: "numeric(18,2)", path: payload.amount}
  n: {type: bigint}
  score: {type: double}
  ok: {type: boolean}
  seen: {type: timestamptz}
  local: {type: timestamptz, timezone: Europe/Berlin}
  note: {type: text}
"""
)
DIGEST = "0123456789abcdef" * 4

moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
events = st.fixed_dictionaries(
    {
        "user_id": st.text("abü,\"'\n", min_size=1),
        "event_type": st.text("xy", min_size=1),
        "event_time": moments,
        "amount": st.none() | st.decimals(-(10**6), 10**6, places=4),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "ok": st.none() | st.booleans(),
        "seen": st.none() | moments,
        "local": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
        "note": st.none() | st.text("ab, ", min_size=1).map(lambda text: f"n{text}"),
    }
)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return "" if value is None else str(value)


def _nested(event: dict[str, object]) -> bytes:
    kinds = {"event_type": "kind", "amount": "amount"}
    outer = {name: _json(value) for name, value in event.items() if name not in kinds and value is not None}
    inner = {kinds[name]: _json(value) for name, value in event.items() if name in kinds and value is not None}
    text = json.dumps(outer | {"payload": inner})
    # a Decimal's digits, without a detour through a double
    return text.replace('"<<', "").replace('>>"', "").encode()


def _json(value: object) -> object:
    if isinstance(value, Decimal):
        return f"<<{value:f}>>"
    return value.isoformat() if isinstance(value, datetime) else value


@hypothesis.given(st.lists(events, min_size=1, max_size=5))
def test_ndjson_csv_and_typed_records_mean_the_same(found: list[dict[str, object]]) -> None:
    lines = [_nested(event) for event in found]
    header = {"event_type": "payload.kind"}  # a dotted path; the other columns by their names
    file = io.StringIO()
    writer = csv.DictWriter(file, [header.get(name, name) for name in found[0]])
    writer.writeheader()
    writer.writerows({header.get(name, name): _text(value) for name, value in event.items()} for event in found)
    file.seek(0)
    cells = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    outcomes = []
    for records in (lines, cells, found):
        decoded = rows_of(list(enumerate(records, 1)), SCHEMA, DIGEST)
        assert decoded.rejects == []
        assert decoded.rows.offset.tolist() == list(range(1, len(found) + 1))
        outcomes.append([twin.of_rows(decoded.rows, row, SCHEMA) for row in range(len(found))])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert [each["event_id"] for each in outcomes[0]] == [
        file_event_id(DIGEST, row) for row in range(1, len(found) + 1)
    ]
    for event, outcome in zip(found, outcomes[0]):
        assert outcome["n"] == event["n"] and outcome["score"] == event["score"] and outcome["note"] == event["note"]
        moment = event["event_time"]
        assert isinstance(moment, datetime)
        assert outcome["event_time"] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def sent(record: bytes | dict[str, object], mapping: dict[str, str] | None = None, zone: str | None = None) -> object:
    return json.loads(message_of(record, SCHEMA, mapping, zone), parse_float=Decimal)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"n": "007"}, {"n": 7}),
        ({"n": " 7 "}, {"n": 7}),
        ({"amount": "+.50"}, {"payload": {"amount": Decimal("0.50")}}),
        ({"amount": "1e999999999"}, None),
        ({"n": "seven"}, {"n": "seven"}),
        ({"n": "  "}, {}),
        ({"note": "  "}, {"note": "  "}),
        ({"ok": "TRUE"}, {"ok": True}),
        ({"ok": "f"}, {"ok": False}),
        ({"ok": "1"}, {"ok": "1"}),
        ({"user_id": 7}, {"user_id": "7"}),
        ({"user_id": True}, {"user_id": "true"}),
        ({"user_id": UUID(int=1)}, {"user_id": "00000000-0000-0000-0000-000000000001"}),
        ({"user_id": Decimal("1E+2")}, {"user_id": "100"}),
        ({"user_id": 1.5}, {"user_id": Decimal("1.5")}),
        ({"score": float("nan")}, {"score": "nan"}),
        ({"seen": date(2024, 1, 31)}, {"seen": "2024-01-31T00:00:00"}),
        (
            {"seen": datetime(2024, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))},
            {"seen": "2024-01-30T23:00:00.000000Z"},
        ),
        ({"payload": {"kind": "nested", "amount": 3}}, {"payload": {"kind": "nested", "amount": 3}}),
        ({"payload.kind": "dotted", "undeclared": 1}, {"payload": {"kind": "dotted"}}),
        ({"note": [1, date(2024, 1, 1)]}, {"note": [1, "2024-01-01"]}),
    ],
)  # fmt: skip
def test_records(record: dict[str, object], expected: object) -> None:
    if expected is None:
        assert message_of(record, SCHEMA) == b'{"payload":{"amount":1e999999999}}'
    else:
        assert sent(record) == expected


def test_lines_stay_as_they_are_but_for_what_was_asked() -> None:
    line = b'{"user_id":  "a", "amt": 1.000, "payload": {"x": 1.50}, "event_time": "2024-03-13 10:21:14"}'
    assert message_of(line, SCHEMA) == line
    assert message_of(line, SCHEMA, {"user_id": "user_id"}) == line
    assert message_of(line, SCHEMA, {"amount": "amt", "event_type": "payload.x"}, "Asia/Kolkata", "e1") == (
        b'{"user_id":"a","amt":1.000,"payload":{"x": 1.50,"amount":1.000,"kind":1.50},'
        b'"event_time":"2024-03-13T04:51:14.000000Z","event_id":"e1"}'
    ).replace(b'"x": 1.50', b'"x":1.50')
    for own in (b'{"event_id": "own"}', b"nonsense", b"[1]", b"\xff", b'{"payload": 3}'):
        assert message_of(own, SCHEMA, None, None, None if own == b'{"payload": 3}' else "e1") == own
    assert message_of(b'{"event_id": null}', SCHEMA, event_id="e1") == b'{"event_id":"e1"}'


def test_a_mapped_field_that_is_not_there_is_missing() -> None:
    assert sent(b'{"user_id": "wrong"}', {"user_id": "user"}) == {"user_id": None}
    assert sent({"user_id": "wrong"}, {"user_id": "user"}) == {}


def test_a_stated_zone_wins_over_the_schemas_and_a_times_own_over_both() -> None:
    local = {"local": "2024-01-01T12:00:00", "seen": datetime(2024, 7, 1, 12)}
    assert sent(local, None, "America/New_York") == {
        "local": "2024-01-01T17:00:00.000000Z", "seen": "2024-07-01T16:00:00.000000Z"
    }  # fmt: skip
    assert sent({"local": "2024-01-01T12:00:00+01:00"}, None, "Asia/Tokyo") == {"local": "2024-01-01T12:00:00+01:00"}
    assert sent({"local": "yesterday"}, None, "Asia/Tokyo") == {"local": "yesterday"}


def test_bad_rows_of_a_file_are_refused_by_row() -> None:
    good: dict[str, object] = {"user_id": "a", "event_type": "x", "event_time": "2024-01-01T00:00:00Z"}
    half, own = good | {"note": "\ud800"}, good | {"event_id": "own"}
    records: list[tuple[int, bytes | dict[str, object]]] = [
        (1, good), (3, b"?"), (4, good | {"n": "seven"}), (6, half), (9, own),
    ]  # fmt: skip
    decoded = rows_of(records, SCHEMA, DIGEST)
    assert [(each.index, each.reason) for each in decoded.rejects] == [
        (1, Reason.NOT_JSON), (2, Reason.WRONG_TYPE), (3, Reason.NOT_JSON)
    ]  # fmt: skip
    assert decoded.rows.offset.tolist() == [1, 9]
    assert decoded.rows.event_id.tolist() == [f"{DIGEST[:16]}-1", "own"]


def test_generated_ids_come_from_the_file_too() -> None:
    schema = load_schema("events: {event_id: {generated: true}}")
    line = b'{"user_id": "a", "event_type": "x", "event_time": "2024-01-01T00:00:00Z"}'
    assert message_of(line, schema, event_id="e") == line
    assert rows_of([(5, line)], schema, DIGEST).rows.event_id.tolist() == [f"{DIGEST[:16]}-5"]


@pytest.mark.parametrize(
    ("mapping", "zone", "expected"),
    [
        ({"usr_id": "u"}, None, "There is no column 'usr_id' to map."),
        ({"event_id": "u"}, None, "event_id is generated"),
        ({}, "Mars/Base", "There is no time zone `Mars/Base`."),
    ],
)
def test_what_cannot_be_mapped_is_said(mapping: dict[str, str], zone: str | None, expected: str) -> None:
    with pytest.raises(TidegateError, match="(?i)" + expected):
        Messages(load_schema("events: {event_id: {generated: true}}"), mapping, zone)
