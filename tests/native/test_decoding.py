"""Decoding in C and by numpy: the same columns, the same refusals in the same words; and C does the usual itself."""

import json
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import workload
from segmentation import native
from segmentation.events.decode import Decoder
from segmentation.events.origin import generated_id, generated_ids
from segmentation.events.quick import QuickDecoder
from segmentation.events.schema import Schema, load_schema
from tests.events import messages
from tests.native import hostile

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")

SCHEMA = load_schema(messages.SCHEMA)
WIDE = load_schema(
    """
events:
  event_time: {timezone: UTC}
  t: {type: text, empty_as_null: true}
  deep: {type: text, path: a.b.c}
  i: {type: bigint, empty_as_null: true}
  n: {type: "numeric(18,2)", path: a.n}
  d: {type: double}
  b: {type: boolean}
  at: {type: timestamptz, timezone: Asia/Kathmandu}
"""
)
GOOD = {"user_id": "u", "event_id": "e", "event_type": "x", "event_time": "2024-01-01T00:00:00Z"}


def good(**raw: str) -> bytes:
    """A message that is right but for, perhaps, the values given as they are written."""
    fields = {name: json.dumps(text) for name, text in GOOD.items()} | raw
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


def left(schema: Schema, values: list[bytes | None]) -> list[int]:
    """Those that C leaves."""
    quick = QuickDecoder.of(schema)
    assert quick is not None
    return np.flatnonzero(quick.decode(values, np.arange(len(values)), None)[1]).tolist()


@given(st.lists(messages.values, max_size=8), st.sampled_from([None, 0]))
def test_the_same_of_any_messages(values: list[bytes | None], skew_us: int | None) -> None:
    assert not hostile.differences(SCHEMA, values, None, skew_us)


@given(st.integers(0, 2**64))
def test_the_same_by_any_schema(seed: int) -> None:
    assert not hostile.trial(seed)


def test_the_same_of_every_cut_and_every_flip() -> None:
    message = good(
        t='"a\\u00e9\\ud83d\\ude00"',
        a='{"n":-12.345e0,"b":{"c":"\u00fc\U0001f600"}}',
        d="1e-7",
        b="true",
        x="[null,{}]",
    )
    cuts: list[bytes | None] = [message[:end] for end in range(len(message))]
    flips: list[bytes | None] = [
        message[:at] + bytes([message[at] ^ 1 << bit]) + message[at + 1 :]
        for at in range(len(message))
        for bit in range(8)
    ]
    junk: list[bytes | None] = [
        message[:at] + each + message[at:] for at in range(0, len(message), 3) for each in hostile.BYTES
    ]
    assert len(left(WIDE, cuts)) == len(cuts)
    assert not left(WIDE, [message])
    assert not hostile.differences(WIDE, [*cuts, *flips, *junk], None, None)


@pytest.mark.parametrize("name", ["skipped", "t", "i", "d", "b", "at", "a", "event_time", "user_id", "event_id"])
def test_the_same_of_every_odd_value(name: str) -> None:
    raw = [*hostile.RAW, *hostile.NUMBERS, *map(json.dumps, (*hostile.STRINGS, *hostile.NUMBERS, *hostile.TIMES))]
    values: list[bytes | None] = [good(**{name: text}) for text in raw]
    values += [good(a=f'{{"{key}":{text}}}') for text in raw for key in ("n", "b") if name == "a"]
    values += [*hostile.WHOLE, good(t='"' + "x" * (1 << 20) + '"')]
    assert not hostile.differences(WIDE, values, None, None)


def test_a_key_that_is_there_twice_or_with_escapes() -> None:
    values: list[bytes | None] = [
        good()[:-1] + more + b"}"
        for more in (
            b',"user_id":"v"', b',"user_id":1', b',"\\u0075ser_id":"v"', b',"user\\u005fid":null',
            b',"a":{"n":1},"a":{}', b',"a":{"n":1},"a":null', b',"a":null,"a":{"n":1}', b',"a":{"n":1,"n":2}',
            b',"other":1,"other":2', b',"oth\\u0065r":1', b',"\\u0074":"\\u0074"', b',"a":{"\\u006e":3}',
            b',"' + b"\\u0074" * 170 + b'":1',
        )
    ]  # fmt: skip
    assert left(WIDE, values) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert not hostile.differences(WIDE, values, None, None)


@pytest.mark.parametrize(
    "message",
    [
        good(),
        json.dumps(GOOD | {"t": 'é \U0001f600 " \\ \n', "a": {"b": {"c": "ü"}, "more": [1, {}]}}, indent=2).encode(),
        json.dumps(GOOD | {"t": None, "i": None, "d": None, "b": None, "at": None, "a": None}).encode(),
        good(t='""', i='""', at='"2024-01-01 00:00:00"', event_time='"2024-01-01T00:00:00.5"'),
        good(i="-9223372036854775808", a='{"n":9999999999999999.99}', d="1.7976931348623157e308", b="false"),
        good(i='"12"', a='{"n":0.005}', d="0.1234567890123456789", at='"2024-01-01T00:00:00.123456789-03:30"'),
        good(i="12.0", a='{"n":1e3}', d="5e-324"),
        good(i="1.2e1", d="-0", a='{"b":{"c":null},"n":-0.004}'),
    ],
)
def test_the_usual_is_read_in_c(message: bytes) -> None:
    assert not left(WIDE, [message])
    assert not hostile.differences(WIDE, [message, message], None, None)


def test_the_measured_messages_are_read_in_c() -> None:
    values: list[bytes | None] = [*workload.stream(500, 50, 3.0).messages]
    schema = load_schema(workload.SCHEMA)
    assert not left(schema, values)
    assert not hostile.differences(schema, values, None, None)


def test_the_order_of_keys_is_only_a_guess() -> None:
    fields = {**GOOD, "t": "t", "d": 1.5, "a": {"n": 2, "b": {"c": "c"}}, "z": 1, "y": {}}
    names = list(fields)
    orders = [[*names[turn:], *names[:turn]][:: -1 if turn % 2 else 1] for turn in range(len(names))]
    values = [json.dumps({name: fields[name] for name in order}).encode() for order in orders] * 3
    decoder = Decoder(WIDE, None)
    for _ in range(2):
        rows = decoder.decode(values, np.arange(len(values)), np.zeros(len(values), np.int64)).rows
        assert len(rows) == len(values) and len(set(rows.columns["d"].data.tolist())) == 1  # type: ignore[union-attr]
    assert not left(WIDE, list(values))


def test_a_key_with_more_escapes_than_c_reads_is_left() -> None:
    values: list[bytes | None] = [good()[:-1] + b',"' + b"\\u0074" * 171 + b'":1}']
    assert left(WIDE, values) == [0]
    assert not hostile.differences(WIDE, values, None, None)


def test_texts_in_great_number_keep_their_codes() -> None:
    values: list[bytes | None] = [
        good(t=f'"{row * 7919 % 3001}\\n"', user_id=f'"{row % 2500}"') for row in range(6_000)
    ]
    assert not left(WIDE, values)
    assert not hostile.differences(WIDE, values, None, None)


@given(st.floats(-1e308, 1e308), st.integers(0, 25))
def test_doubles_are_the_nearest(number: float, digits: int) -> None:
    decoder = Decoder(WIDE, None)
    for text in (repr(number), f"{number:.{digits}e}"):
        column = decoder.decode([good(d=text)], np.arange(1), np.zeros(1, np.int64)).rows.columns["d"]
        assert struct.pack("d", column.data[0]) == struct.pack("d", float(text) + 0.0)  # type: ignore[union-attr]


@given(st.integers(0, 2**31 - 1), st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**63 - 1))))
def test_generated_ids_are_partition_and_offset(partition: int, offsets: list[int]) -> None:
    ids = generated_ids(partition, np.array(offsets, np.int64))
    assert ids == [generated_id(partition, offset) for offset in offsets]


def test_what_is_no_list_of_bytes_is_left() -> None:
    values = [bytearray(good()), memoryview(good()), "text", 7, None]
    assert left(WIDE, values) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]


_TEXT = (0, 0, False, False, 0, 0, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda code: code.message_shape((), 0, ()),
        lambda code: code.message_shape((((b"a", 0, 0),),), 1, ()),
        lambda code: code.message_shape((((b"a", 1, -1),),), 1, ()),
        lambda code: code.message_shape((((b"a", -1, 0),),), 1, ()),
        lambda code: code.message_shape((((b"a", 0, -1),),), 1, ((9, *_TEXT[1:]),)),
        lambda code: code.message_shape((((b"a", 0, -1),),), 1, ((0, 1, *_TEXT[2:]),)),
        lambda code: code.message_shape((((b"a", 0, -1),),), 1, ((0, -1, *_TEXT[2:]),)),
        lambda code: code.message_shape((7,), 1, ()),
        lambda code: code.numbered_texts("ü", np.zeros(1, np.int64)),
        lambda code: code.numbered_texts("a", np.full(1, -1)),
        lambda code: code.numbered_texts("a", np.zeros(1, np.int32)),
        lambda code: code.numbered_texts(b"a", np.zeros(1, np.int64)),
        lambda code: code.decode_messages(7, [], None, ()),
        lambda code: code.decode_messages(shape(code), [b"{}"], None, ()),
        lambda code: code.decode_messages(shape(code), [b"{}"], None, ((np.zeros(2, np.int32),),)),
        lambda code: code.decode_messages(shape(code), [b"{}"], None, ((np.zeros(1, np.int64),),)),
        lambda code: code.decode_messages(shape(code), [b"{}"], [], ((np.zeros(1, np.int32),),)),
        lambda code: code.decode_messages(shape(code), (b"{}",), None, ((np.zeros(1, np.int32),),)),
        lambda code: code.decode_messages(shape(code, 3), [b"{}"], None, ((np.zeros(1, np.int64),),)),
        lambda code: code.decode_messages(shape(code, 2), [b"{}"], None, ((np.zeros(1, np.int64),),)),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[object], object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        call(native.code)


def shape(code: object, kind: int = 0) -> object:
    return code.message_shape((((b"a", 0, -1),),), 1, ((kind, *_TEXT[1:]),))  # type: ignore[attr-defined]
