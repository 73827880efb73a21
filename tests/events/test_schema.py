"""schema.yml: what it says, and that whatever is wrong in it is named with its line and a way out."""

from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from segmentation.events.schema import FIXED, EventColumn, SchemaError, load_schema
from segmentation.types import BIGINT, TEXT, TIMESTAMPTZ, numeric

FULL = """\
# a comment
events:
  event_time: {path: created_at, timezone: UTC}
  event_id: {generated: true}
  region: {type: text, one_of: [California, "no"]}
  amount:
    type: numeric(18, 2)
    path: properties.amount
    empty_as_null: true
    min: -0.05
    max: 100
  odd: {type: bigint, path: [properties, "a.b"], one_of: [1, 2]}
  seen: {type: timestamptz, min: 2026-01-01T00:00:00Z}
users:
  city_tier: {type: bigint}
"""


def test_everything_a_schema_can_say() -> None:
    schema = load_schema(FULL)
    assert list(schema.events) == [*FIXED, "region", "amount", "odd", "seen"]
    assert schema.events["user_id"] == EventColumn("user_id", TEXT, ("user_id",))
    assert schema.events["event_time"] == EventColumn("event_time", TIMESTAMPTZ, ("created_at",), "UTC")
    assert schema.events["event_id"].generated and schema.events["event_id"].path == ()
    assert schema.events["region"].one_of == ("California", "no")
    amount = schema.events["amount"]
    assert (amount.type, amount.path, amount.empty_as_null) == (numeric(18, 2), ("properties", "amount"), True)
    assert (amount.min, amount.max) == (Decimal("-0.05"), Decimal(100))
    assert schema.events["odd"].path == ("properties", "a.b") and schema.events["odd"].one_of == (1, 2)
    assert schema.events["seen"].min == 1_767_225_600_000_000
    assert schema.users == {"city_tier": EventColumn("city_tier", BIGINT, ("city_tier",))}


@pytest.mark.parametrize("text", ["", "# nothing", "events:", "events: {}\nusers:", "{}"])
def test_without_columns_there_are_the_four(text: str) -> None:
    assert {name: column.type for name, column in load_schema(text).events.items()} == dict(FIXED)


def test_the_digest_follows_the_meaning() -> None:
    digest = load_schema("events: {a: {type: text}, b: {type: bigint}}").digest
    assert (
        digest
        == load_schema("events:\n  # spelled otherwise\n  b: {type: BIGINT, path: b}\n  a: {type: text}\n").digest
    )
    for other in (
        "", "events: {a: {type: text}, b: {type: double}}", "users: {a: {type: text}, b: {type: bigint}}",
        "events: {a: {type: text}, b: {type: bigint, min: 1}}", "events: {a: {type: text}, b: {type: bigint, path: c}}",
    ):  # fmt: skip
        assert load_schema(other).digest != digest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a: {typ: text}", "there is no key `typ` here. Did you mean `type`?"),
        ("a: {type: string}", "`string` is not a type. Did you mean text?"),
        ("a: {type: bigin}", "`bigin` is not a type. Did you mean bigint?"),
        ("a: {type: zzz}", "`zzz` is not a type. Write text, bigint,"),
        ("a: {type: numeric}", 'Did you mean "numeric(18,2)"?'),
        ("a: {type: numeric(5)}", "does not say its scale. Write `numeric(5,0)`"),
        ('a: {type: "numeric(19,2)"}', "19 digits do not fit: numeric is held exactly in 64 bits. Write a precision"),
        ('a: {type: "numeric(4,5)"}', "a scale of 5 does not fit 4 digits"),
        ('a: {type: "numeric(0,0)"}', "0 digits do not fit"),
        ("a: {}", "`a` has no type. Write `a: {type: ...}`"),
        ("a: text", "`a` needs braces or lines of its own. Write `a: {type: text}`."),
        ("a:", "`a` needs braces"),
        ("a: [text]", "`a` needs braces"),
        ("A: {type: text}", "`A` cannot be a column"),
        ("a-b: {type: text}", "`a-b` cannot be a column"),
        ("user: {type: text}", "`user` is a word of SQL itself. Choose another name and say with `path`"),
        ("a: {type: text, path: a..b}", "a path is names joined by dots"),
        ("a: {type: text, path: []}", "a path is names joined by dots"),
        ("a: {type: text, path: 3}", "`path` is names joined by dots"),
        ("a: {type: text, timezone: UTC}", "a text has no zone"),
        ("a: {type: timestamptz, timezone: Europe/Berlinn}", "no time zone `Europe/Berlinn`. Write an IANA name"),
        ("a: {type: timestamptz, timezone: ../../etc/passwd}", "there is no time zone"),
        ("a: {type: text, empty_as_null: 1}", "`empty_as_null` is true or false."),
        ("a: {type: text, one_of: [yes]}", 'true is not a text here. Put it in quotes: "true".'),
        ("a: {type: text, one_of: x}", "`one_of` is a list, such as [a, b]."),
        ("a: {type: text, one_of: []}", "`one_of` is empty"),
        ("a: {type: boolean, one_of: [true]}", "`one_of` is not for boolean"),
        ("a: {type: bigint, one_of: [1.5]}", "`1.5` is not a bigint"),
        ('a: {type: "numeric(5,2)", max: 1.005}', "`1.005` is not a numeric(5,2)"),
        ("a: {type: bigint, min: 3, max: 2}", "`min` is above `max`"),
        ("a: {type: text, min: 3}", "`min` is not for text"),
        ('a: {type: timestamptz, max: "2026-01-01T00:00:00"}', "is not a time with a zone"),
        ("a: {type: text, generated: true}", "only event_id can be generated"),
        ("event_id: {generated: true, path: a}", "a generated column is not read from the message"),
        ("user_id: {type: bigint}", "user_id is always text. Remove `type`."),
        ("event_type: {empty_as_null: true}", "event_type is required, so it cannot be NULL"),
        ("a: {type: text, path: user_id.x}", "cannot both be read: one would be a value and an object at once"),
        ("a: {type: bigint, path: user_id}", "`user_id` is read by `user_id` already, as text"),
        ("z: {type: text}", "`z` is given twice, first in line 2"),
        ("a: &x {type: text}", "anchors and aliases are not read"),
        ("a: {type: text", "this is not YAML"),
        ("a: {type: te\x07xt}", "this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(line: str, expected: str) -> None:
    with pytest.raises(SchemaError) as error:
        load_schema(f"events:\n  z: {{type: text}}\n  {line}\n  y: {{type: text}}\n", "defs/schema.yml")
    message = str(error.value)
    assert expected in message
    named = 4 if "not YAML" in expected and "\x07" not in line else 3
    assert message.startswith(f"defs/schema.yml:{named}: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evnts: {a: {type: text}}", "schema.yml:1: there is no key `evnts` here. Did you mean `events`?"),
        ("- a", "schema.yml:1: a schema is `events:` and `users:`"),
        ("events: text", "schema.yml:1: `events` is columns, each by its name."),
        ("users:\n  user_id: {type: text}", "schema.yml:2: users always have user_id"),
        ("events:\n  known_at: {type: text}", "schema.yml:2: `known_at` is what the files of events call something"),
        ("[" * 5_000, "schema.yml:1: "),
    ],
)
def test_what_is_wrong_around_the_columns(text: str, expected: str) -> None:
    with pytest.raises(SchemaError) as error:
        load_schema(text)
    assert expected in str(error.value)


def test_all_problems_at_once_in_order() -> None:
    with pytest.raises(SchemaError) as error:
        load_schema("events:\n  a: {typ: text}\n  b: {type: int}\n  c: {type: text, min: 1}\nuser: {}\n")
    assert [problem.line for problem in error.value.problems] == [2, 3, 4, 5]


@hypothesis.given(st.one_of(st.text(), st.text("events: {}[]a,type&*\n-'\"#|>!%@", max_size=60)))
def test_any_text_loads_or_is_refused_in_words(text: str) -> None:
    try:
        load_schema(text)
    except SchemaError as error:
        assert str(error).startswith("schema.yml:")
