"""Schemas and messages by a seed: mostly right, often nearly right, sometimes cut, flipped or stuffed with junk.

`differences(schema, values)` holds the C decoder against the numpy one. `python -m tests.native.hostile SECONDS`
does that for as long as wished, best with a C part built with -fsanitize=address,undefined:

    CFLAGS="-fsanitize=address,undefined -g -O1" python setup.py build_ext --inplace --force
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc python -m ...
"""

import json
import struct
import sys
import time
from collections.abc import Sequence
from random import Random

import numpy as np

from segmentation.events.decode import Decoded, Decoder
from segmentation.events.schema import Schema, load_schema
from tests.events import twin

TYPES = ("text", "bigint", "numeric(18,2)", "numeric(6,3)", "numeric(1,0)", "double", "boolean", "timestamptz")
KEYS = ("a", "b", "ab", "properties", "é", "a.b", "", "aa", "user", "x" * 40)
ZONES = ("UTC", "Etc/UTC", "America/New_York", "Asia/Kathmandu", "Europe/London")
STRINGS = (
    "", "a", "b", "California", "ü", "\U0001f600", "a\0b", "é" * 257, "x" * 512, "x" * 513, "\x7f", "a\nb", '"\\/',
    "\ue000", "x" * 7, "x" * 8, "x" * 9, "12", "-0.5", " 1", "1e2", "+5", ".5", "5.", "007", "NaN", "1_0", "0x1", "-",
    "1e", "true", "٣",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-0.0", "1.0", "1e3", "1.005", "-0.005", "0.004999999999999999999999", "1e400", "-1e400", "1e-400",
    "0e99999", "1e-99999", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "5e-324", "18446744073709551615", "18446744073709551616", "9007199254740993.0",
    "9007199254740993", "9999999999999999.99", "9999999999999999.995", "999.9995", "999.9994",
    "1.00000000000000000001", "4503599627370496.5", "2.675", "9.5", "9.4", "2.2250738585072011e-308",
    "1.7976931348623158e308", "1.7976931348623159e308", "12.0", "1.2e1", "120e-1", "1E+2", "1e22", "1e23",
    "123456789012345678901234567890", "0.1", "0." + "0" * 30 + "1", "10" + "0" * 30 + "e-30", "1e-0", "1e+00",
    "0." + "0" * 400 + "1", "9" * 400, "01", "-01", "1.", ".5", "+1", "-", "1e", "1e+", "--1", "0x1", "1_0",
    "Infinity",
)  # fmt: skip
TIMES = (
    "2024-01-01T00:00:00Z", "2024-02-29t23:59:59.9z", "2023-02-29T00:00:00Z", "2024-01-01 00:00:00.1234567+05:45",
    "0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-00:01",
    "0000-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60", "2024-03-10T02:30:00",
    "2024-11-03T01:30:00", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z",
    "2024-00-10T00:00:00Z", "2024-01-00T00:00:00Z", "2024-01-32T00:00:00Z", "1900-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z", "2024-01-01T00:00:00+0530", "2024-01-01T00:00:00-03", "2024-01-01T00:00:00+24:00",
    "2024-01-01T00:00:00+23:60", "2024-01-01T00:00:00+5", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z",
    "2024-01-01T00:00:00 Z", "2024-01-01X00:00:00Z", "2024-01-01T00:00Z", "1969-12-31T23:59:59.5Z",
    "2024-01-01T00:00:00." + "1" * 70 + "Z", "2024-01-01T00:00:00é", "2024-01-01T00:00:00+05:3",
    "2024-01-01T00:00:00+0:30", "9999-12-31T23:00:00", "0001-01-01T00:30:00", "1883-11-18T12:03:57",
    "2024-01-01T00:00:00ZZ", "2024-01-01T00:00:00Z ", "20240101T000000Z", "2024-1-1T00:00:00Z",
    "２024-01-01T00:00:00Z",
)  # fmt: skip
#: Raw JSON, and nearly: after the JSON test suites.
RAW = (
    "null", "true", "false", "nul", "tru", "truee", "True", "[]", "{}", "[1,2]", "[1,]", "[,]", "[", "]", "{", "}",
    '{"a"}', '{"a":}', '{"a":1,}', "{,}", '{"a":1 "b":2}', "{a:1}", '{"a":{"b":[{"c":[]}]}}', "[[[[[[[[]]]]]]]]",
    "[" * 59 + "]" * 59, "[" * 60 + "]" * 60, "[" * 70 + "]" * 70, '{"a":' * 40 + "1" + "}" * 40,
    "[" * 2000 + "]" * 2000, "[1]]", '"', '"\\"', '"\\u12"', '"\\u00zz"', '"\\ud800"', '"\\udc00"',
    '"\\ud83d\\ude00"', '"\\ud83d\\u0041"', '"\\ud83dx"', '"\\u0000"', '"\\u00e9"', '"\\x41"', '"\\a"', '"\t"',
    '"\\t\\b\\f\\n\\r\\/\\\\\\""', "'a'", "/**/1", "1 2", '["\\ud800"]', '{"\\ud800":1}', '{"a":1,"a":2}', "\ufeff1",
    '"\x01"', "[1e999]", "[" + "9" * 5000 + "]", "[-]", "[01]",
)  # fmt: skip
BYTES = (
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xc1\xbf",
    b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf5\x80\x80\x80", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf4\x8f\xbf\xbf",
    b"\0", b'"', b"\\", b"{", b"}", b",", b":", b"\\u0000", b" ", b"\x0b",
)  # fmt: skip
WHOLE: tuple[bytes | None, ...] = (
    None, b"", b" ", b"{}", b"[]", b"1", b'"a"', b"null", b"\0\0\0\0\7{}", b"\0", b"\xef\xbb\xbf{}", b"{", b'{"',
    b'{"user_id', b'{"user_id"', b'{"user_id":', b'{"user_id":"', b'{"user_id":"a', b"{}{}", b"{} \n\t\r", b"{}\0",
    b"\xff\xfe{\0}\0", b"tru", b"t", b"-", b'{"a":t', b'{"a":-', b'{"a":1e', b'{"a":"\\', b'{"a":"\\u',
    b'{"a":"\\ud83d\\u',
)  # fmt: skip


def schema_of(rng: Random) -> Schema:
    """A schema that `load_schema` accepts."""
    while True:
        events: dict[str, object] = {}
        for name in ("user_id", "event_id", "event_type", "event_time"):
            entry: dict[str, object] = {}
            if rng.random() < 0.3:
                entry["path"] = path(rng)
            if name == "event_time" and rng.random() < 0.4:
                entry["timezone"] = rng.choice(ZONES)
            if name == "event_id" and rng.random() < 0.2:
                entry = {"generated": True}
            if name == "event_type" and rng.random() < 0.2:
                entry["one_of"] = [f"{letter}{number}" for letter in "ab" for number in range(8)]
            if entry:
                events[name] = entry
        for number in range(rng.randrange(9)):
            events[f"c{number}"] = column(rng)
        try:
            return load_schema(json.dumps({"events": events}))
        except Exception:
            continue


def path(rng: Random) -> list[str]:
    return [rng.choice(KEYS[:6] if rng.random() < 0.9 else KEYS) or "k" for _ in range(rng.choice([1, 1, 2, 3]))]


def column(rng: Random) -> dict[str, object]:
    kind = rng.choice(TYPES)
    entry: dict[str, object] = {"type": kind}
    if rng.random() < 0.6:
        entry["path"] = path(rng)
    if rng.random() < 0.4:
        entry["empty_as_null"] = True
    if kind == "timestamptz":
        if rng.random() < 0.5:
            entry["timezone"] = rng.choice(ZONES)
        if rng.random() < 0.2:
            entry["min"] = "1990-01-01T00:00:00Z"
    elif kind == "text":
        if rng.random() < 0.2:
            entry["one_of"] = ["a", "b", "ü", "California"]
    elif kind != "boolean" and rng.random() < 0.15:
        entry["min"], entry["max"] = -1, 9
        if kind != "double" and rng.random() < 0.3:
            entry = entry | {"one_of": list(range(9))}
    return entry


def text_of(rng: Random) -> str:
    """A JSON string."""
    text = (
        rng.choice(STRINGS) if rng.random() < 0.6 else "".join(rng.choices('ab12é\U0001f600 \\"', k=rng.randrange(20)))
    )
    return json.dumps(text, ensure_ascii=rng.random() < 0.3)


def number_of(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(NUMBERS)
    digits = str(rng.randrange(10 ** rng.randrange(1, 22)))
    fraction = (
        "." + str(rng.randrange(10 ** rng.randrange(1, 20))).zfill(rng.randrange(1, 8)) if rng.random() < 0.7 else ""
    )
    exponent = f"e{rng.randrange(-30, 30)}" if rng.random() < 0.2 else ""
    return rng.choice(["", "-"]) + digits + fraction + exponent


def time_of(rng: Random) -> str:
    if rng.random() < 0.1:
        return json.dumps(rng.choice(TIMES), ensure_ascii=False)
    two = [rng.randrange(limit) for limit in (14, 33, 25, 61, 61)] if rng.random() < 0.1 else [3, 9, 23, 59, 58]
    fraction = "." + str(rng.randrange(10 ** rng.randrange(1, 10))) if rng.random() < 0.6 else ""
    zone = rng.choice(["Z"] * 9 + ["", "+02:00", "-11:30", "+0530", "-03"])
    year = rng.choice([1, 4, 100, 1582, 1900, 1970, 2000, 2024, 2025, 9999])
    return f'"{year:04}-{two[0]:02}-{two[1]:02}T{two[2]:02}:{two[3]:02}:{two[4]:02}{fraction}{zone}"'


def value_of(rng: Random, kind: str, empty: bool) -> str:
    """A JSON value for a column, mostly of its type."""
    if rng.random() < 0.015:
        return rng.choice([rng.choice(RAW), text_of(rng), number_of(rng), time_of(rng), "null", '""'])
    if empty and rng.random() < 0.2:
        return rng.choice(['""', '""', '"12"', json.dumps(number_of(rng)), text_of(rng)])
    if kind == "text":
        return text_of(rng) if rng.random() < 0.3 else rng.choice(['"a"', '"b"', '"California"', '"ü"'])
    if kind == "timestamptz":
        return time_of(rng)
    if kind == "boolean":
        return rng.choice(["true", "false"])
    return number_of(rng) if rng.random() < 0.15 else str(rng.randrange(-2, 12))


Tree = dict[str, "Tree | str"]


def space(rng: Random) -> str:
    return "" if rng.random() < 0.9 else rng.choice([" ", "\n", "\r\n", "\t ", "   "])


def written(rng: Random, fields: Tree) -> str:
    pairs = list(fields.items())
    if rng.random() < 0.2:
        rng.shuffle(pairs)
    if rng.random() < 0.03 and pairs:
        pairs.append(rng.choice(pairs))
    if rng.random() < 0.15:
        pairs.insert(
            rng.randrange(len(pairs) + 1),
            (
                rng.choice([*KEYS, "other"]),
                rng.choice([*RAW[:3], text_of(rng), number_of(rng), "[1, {}]", '{"a": [[], "ü"]}', rng.choice(RAW)]),
            ),
        )
    parts = []
    for key, value in pairs:
        text = written(rng, value) if isinstance(value, dict) else value
        name = json.dumps(key, ensure_ascii=rng.random() < 0.02)
        parts.append(f"{space(rng)}{name}{space(rng)}:{space(rng)}{text}{space(rng)}")
    return "{" + ",".join(parts) + "}"


def message_of(rng: Random, schema: Schema) -> bytes | None:
    if rng.random() < 0.02:
        return rng.choice(WHOLE)
    fields: Tree = {}
    for column in schema.events.values():
        if column.generated or rng.random() < (0.02 if column.required else 0.15):
            continue
        node = fields
        for key in column.path[:-1]:
            inner = node.setdefault(key, {})
            assert isinstance(inner, dict)
            node = inner
        kind = str(column.type).split("(")[0]
        value = value_of(rng, kind, column.empty_as_null)
        if column.required and rng.random() < 0.9:
            value = time_of(rng) if kind == "timestamptz" else f'"{rng.choice("ab")}{rng.randrange(9)}"'
        if column.required and kind == "timestamptz" and rng.random() < 0.8:
            value = f'"2024-05-{rng.randrange(1, 31):02}T12:00:00.{rng.randrange(10**6):06}Z"'
        node[column.path[-1]] = value
    for key, inner in list(fields.items()):
        if isinstance(inner, dict) and rng.random() < 0.03:
            fields[key] = rng.choice(["null", "1", "[]", '"a"'])
    message = (space(rng) + written(rng, fields) + space(rng)).encode("utf-8", "surrogatepass")
    return mangled(rng, message) if rng.random() < 0.08 else message


def mangled(rng: Random, message: bytes) -> bytes:
    """Flipped, cut, doubled or stuffed somewhere."""
    at = rng.randrange(len(message) + 1)
    kind = rng.randrange(5)
    if kind == 0 and at < len(message):
        return message[:at] + bytes([message[at] ^ 1 << rng.randrange(8)]) + message[at + 1 :]
    if kind == 1:
        return message[:at]
    if kind == 2:
        return message[:at] + rng.choice(BYTES) + message[at:]
    if kind == 3:
        return message[:at] + message[at + rng.randrange(1, 5) :]
    return message[:at] + message[rng.randrange(len(message) + 1) :]


def outcome(decoded: Decoded, schema: Schema) -> list[object]:
    """Everything that decoding gives, in a form that equals itself only bit for bit."""
    rows = decoded.rows
    assert len(set(rows.user_ids)) == len(rows.user_ids)
    values = [
        {name: struct.pack("d", held) if isinstance(held, float) else held for name, held in each.items()}
        for each in (twin.of_rows(rows, row, schema) for row in range(len(rows)))
    ]
    dtypes = [
        str(column.data.dtype if hasattr(column, "data") else column.codes.dtype) for column in rows.columns.values()
    ]
    types = [str(array.dtype) for array in (rows.offset, rows.user, rows.time, rows.high, rows.event_id)]
    return [values, list(rows.columns), dtypes, types, rows.offset.tolist(), rows.high.tolist(), decoded.rejects]


def differences(schema: Schema, values: Sequence[bytes | None], ids: list[str] | None, skew_us: int | None) -> str:
    """The first difference between C and numpy, "" if there is none."""
    offsets = np.arange(len(values), dtype=np.int64) * 2 + 5
    stamps = np.where(offsets % 8 == 5, -1, 1_715_000_000_000_000)
    both = [
        outcome(
            Decoder(schema, skew_us, native=native).decode(values, offsets, stamps, partition=3, event_ids=ids), schema
        )
        for native in (True, False)
    ]
    if both[0] == both[1]:
        return ""
    if len(values) > 1:
        for place, value in enumerate(values):
            found = differences(schema, [value], None if ids is None else [ids[place]], skew_us)
            if found:
                return found
    return f"{schema.events}\n{list(values)}\nC     {both[0]}\nnumpy {both[1]}"


def trial(seed: int) -> str:
    rng = Random(seed)
    schema = schema_of(rng)
    values = [message_of(rng, schema) for _ in range(rng.choice([1, 10, 40]))]
    ids = [rng.choice(["x", "y" * 200, "é", ""]) for _ in values] if rng.random() < 0.3 else None
    return differences(schema, values, ids, rng.choice([None, None, 300_000_000]))


if __name__ == "__main__":
    seed, until = time.time_ns(), time.monotonic() + float(sys.argv[1])
    first = seed
    while time.monotonic() < until:
        if found := trial(seed):
            sys.exit(f"seed {seed}: {found}")
        seed += 1
    print(f"{seed - first} trials, no difference")
