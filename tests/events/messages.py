"""Strategies for messages: mostly right, often nearly right, sometimes anything."""

import json

from hypothesis import strategies as st

SCHEMA = """
events:
  event_type: {path: type}
  event_time: {path: meta.at}
  region: {type: text, one_of: [California, Bihar, "ü"]}
  note: {type: text, path: meta.note, empty_as_null: true}
  amount: {type: "numeric(18,2)", path: properties.amount, empty_as_null: true}
  price: {type: "numeric(6,3)", path: properties.price, min: -5, max: 500.5}
  n: {type: bigint, path: properties.n}
  m: {type: bigint, empty_as_null: true, min: -10}
  score: {type: double}
  ok: {type: boolean, empty_as_null: true}
  local: {type: timestamptz, timezone: America/New_York, empty_as_null: true}
  seen: {type: timestamptz, min: "1990-01-01T00:00:00Z"}
"""

digits = st.text("0123456789", min_size=1, max_size=21)
number_texts = st.one_of(
    st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), st.integers(0, 10**16), digits),
    st.builds("{}{}.{}5".format, st.sampled_from(["", "-"]), st.integers(0, 10**6), st.text("0123456789", max_size=4)),
    st.builds("{}e{}".format, st.integers(-(10**6), 10**6), st.integers(-25, 25)),
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            "0",
            "-0",
            "-0.0",
            "1.0",
            "1e3",
            "1.005",
            "0.005",
            "-0.005",
            "0.004999999999999999999999",
            "1e400",
            "-1e400",
            "1e-400",
            "0e999999999999999999999",
            "1e-9999999999999999999999",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "9007199254740993.0",
            "9999999999999999.99",
            "9999999999999999.995",
            "9999999999999999.994",
            "500.5",
            "500.5004",
            "500.5005",
            "-5.0005",
            "999.9995",
            "1.00000000000000000001",
            "4503599627370496.5",
            "2.675",
            "1.115",
        ]
    ),
)
quoted_numbers = st.one_of(
    number_texts, st.sampled_from([" 1", "+5", ".5", "5.", "007", "NaN", "Infinity", "1_0", "٣", "0x1", "-", "1e"])
)

two = st.integers(0, 61).map("{:02d}".format)
times = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.datetimes().map(lambda at: at.isoformat()),
        st.just(""),
        st.sampled_from(["Z", "", "+02:00", "-11:30", "+05:45"]),
    ),
    st.builds(
        "{:04d}-{}-{}{}{}:{}:{}{}{}".format,
        st.sampled_from([0, 1, 1582, 1883, 1900, 1970, 2000, 2024, 2025, 2100, 9999]),
        st.integers(0, 13).map("{:02d}".format),
        st.integers(0, 32).map("{:02d}".format),
        st.sampled_from("TTTt x"),
        st.integers(0, 25).map("{:02d}".format),
        two,
        two,
        st.sampled_from(["", ".1", ".12", ".123456", ".1234567", ".999999999999", ".", ",5"]),
        st.sampled_from(
            ["Z", "Z", "z", "", "+00:00", "-00:00", "+23:59", "-23:59", "+24:00", "+0530", "-03", "+5", " Z", "é"]
        ),
    ),
    st.builds(
        "2024-{}T0{}:{}:00{}".format,
        st.sampled_from(["03-10", "11-03"]),
        st.integers(0, 4),
        two,
        st.sampled_from(["", "Z"]),
    ),
    st.sampled_from(
        ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T05:29:60+05:30", "2016-12-31T24:00:00Z"]
    ),
)

texts = st.one_of(
    st.sampled_from(["California", "Bihar", "ü", "", "a\0b", "\ud800", "\U0001f600", '"\\']), st.text(max_size=5)
)
strings = st.one_of(texts, quoted_numbers, times).map(json.dumps)
anything = st.one_of(
    strings,
    number_texts,
    st.sampled_from(["null", "true", "false", "[]", "{}", '{"amount": 1}', "[1, 2]", "nul", "01"]),
)


def _mostly(usual: st.SearchStrategy[str], share: int = 12) -> st.SearchStrategy[str | None]:
    """The usual; now and then null, something else, or (None) no field at all."""
    return st.integers(0, share).flatmap(
        lambda dice: anything if dice == 0 else st.just("null") if dice == 1 else st.none() if dice == 2 else usual
    )


def _object(fields: dict[str, st.SearchStrategy[str | None]]) -> st.SearchStrategy[str]:
    def write(values: dict[str, str | None]) -> str:
        return "{" + ", ".join(f"{json.dumps(key)}: {text}" for key, text in values.items() if text is not None) + "}"

    return st.fixed_dictionaries(fields).map(write)


ids = st.one_of(
    st.sampled_from(["u1", "u2", "ü3"]), st.text("ab", max_size=3), st.sampled_from(["é" * 257, "x" * 512])
).map(json.dumps)
good_times = st.datetimes().map(lambda at: json.dumps(at.isoformat() + "Z"))
messages: st.SearchStrategy[bytes] = _object(
    {
        "user_id": _mostly(ids, 40),
        "event_id": _mostly(ids, 40),
        "type": _mostly(texts.map(json.dumps), 40),
        "meta": _mostly(
            _object(
                {"at": _mostly(st.one_of(good_times, good_times, times.map(json.dumps)), 40), "note": _mostly(strings)}
            ),
            40,
        ),
        "region": _mostly(st.sampled_from(['"California"', '"Bihar"', '"ü"']), 15),
        "properties": _mostly(
            _object(
                {
                    "amount": _mostly(number_texts),
                    "price": _mostly(st.floats(-6, 501).map(repr)),
                    "n": _mostly(st.builds("{}{}".format, st.integers(-9, 9), st.sampled_from(["", ".0", "e1"]))),
                }
            ),
            15,
        ),
        "m": _mostly(st.one_of(st.integers(-12, 2**40).map(str), quoted_numbers.map(json.dumps))),
        "score": _mostly(number_texts),
        "ok": _mostly(st.sampled_from(["true", "false", '""'])),
        "local": _mostly(st.one_of(times.map(json.dumps), st.just('""'))),
        "seen": _mostly(good_times),
        "ignored": _mostly(anything),
    }
).map(lambda text: text.encode("utf-8", "surrogatepass"))

mangled = st.builds(
    lambda message, at, junk: (
        message[: at % (len(message) + 1)] + junk + message[at % (len(message) + 1) + len(junk) :]
    ),
    messages,
    st.integers(0, 2000),
    st.binary(max_size=3),
)
values = st.one_of(
    messages,
    messages,
    messages,
    mangled,
    st.sampled_from([None, b"", b"{}", b"[]", b"\0\0\0\0\7{}", b"1", b"\xef\xbb\xbf{}"]),
)
