"""Each rewrite of the judge by itself, on small tables, against arithmetic that is never rounded."""

import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.reference import Event, Known
from segmentation.types import BIGINT, DOUBLE, TEXT, numeric
from storage.audit.rewrites import NOW, for_judge
from tests.oracle.judge import Judge, connect, instant

COLUMNS = {"region": TEXT, "amount": numeric(12, 2), "quantity": BIGINT, "score": DOUBLE}
JUDGE = Judge(COLUMNS)
T = 1_767_225_600_000_000
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Number = Fraction | None


def members(having: str, rows: list[dict[str, Any]], where: str = "") -> bool:
    JUDGE.load(Known(Event("u", f"e{i}", T + i, row), T + i) for i, row in enumerate(rows))
    sql = f"SELECT user_id FROM events {where} GROUP BY user_id HAVING {having}"
    return bool(JUDGE.members({"s": sql}, T + 1_000))


def test_now_is_the_instant() -> None:
    text = for_judge("SELECT user_id FROM events WHERE event_time > now() - INTERVAL '2 seconds'", COLUMNS)
    assert "now()" not in text.lower() and NOW in text
    rows = [{"region": "CA"}]
    assert members("max(event_time) = now() - INTERVAL '1 millisecond'", rows)
    assert members("max(event_time) > now() - INTERVAL '1001 microseconds'", rows)
    assert not members("max(event_time) > now() - INTERVAL '1000 microseconds'", rows)


def test_an_instant_keeps_its_microseconds() -> None:
    assert connect().execute(f"SELECT epoch_us({instant(T + 1)}), {instant(T + 1)}::VARCHAR").fetchall() == [
        (T + 1, "2026-01-01 00:00:00.000001+00")
    ]


@pytest.mark.parametrize(("function", "expected"), [("arg_max", "third"), ("arg_min", "first")])
def test_ties_go_by_event_id(function: str, expected: str) -> None:
    regions = {"b": None, "c": "first", "f": None, "e": "third", "d": "second"}
    JUDGE.load(Known(Event("u", event_id, T, {"region": region}), T) for event_id, region in regions.items())
    sql = f"SELECT user_id FROM events GROUP BY user_id HAVING {function}(region, event_time) = '{expected}'"
    assert JUDGE.members({"s": sql}, T) == {("u", "s")}


def test_time_comes_before_event_id() -> None:
    rows = [Known(Event("u", "z", T, {"region": "old"}), T), Known(Event("u", "a", T + 1, {"region": "new"}), T + 1)]
    JUDGE.load(rows)
    sql = "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(region, event_time) = 'new'"
    assert JUDGE.members({"s": sql}, T + 1) == {("u", "s")}


def test_rows_without_a_time_are_passed_over() -> None:
    """As DuckDB's own arg_max does: the row that a LEFT JOIN makes of NULLs."""
    JUDGE.load([Known(Event("u", "a", T, {"region": "x"}), T)])
    joined = "SELECT u.user_id FROM users u LEFT JOIN events e ON e.user_id = u.user_id AND e.region = 'y' GROUP BY 1"
    value = "arg_max(coalesce(e.region, 'none'), e.event_time)"
    own = f"WITH users AS (SELECT 'u' AS user_id), events AS (SELECT * FROM log) {joined} HAVING {value} IS NULL"
    assert JUDGE.connection.execute(own).fetchall() == [("u",)]
    assert JUDGE.members({"s": f"{joined} HAVING {value} IS NULL"}, T) == {("u", "s")}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd"), st.sampled_from([None, "x", "y", "z"])),
                unique_by=lambda row: row[:2]), st.booleans())  # fmt: skip
def test_the_mode_is_the_most_frequent_value_and_of_several_the_first(
    rows: list[tuple[int, str, str | None]], filtered: bool
) -> None:
    JUDGE.load(Known(Event("u", event_id, T + at, {"region": region}), T) for at, event_id, region in rows)
    counted = [region for _, event_id, region in sorted(rows) if region and (event_id > "a" or not filtered)]
    expected = max(counted, key=lambda region: (counted.count(region), -counted.index(region)), default=None)
    mode = "mode(region)" + " FILTER (WHERE event_id > 'a')" * filtered
    sql = f"SELECT user_id FROM events GROUP BY user_id HAVING {mode} IS NOT DISTINCT FROM "
    for region in ("x", "y", "z", None):
        text = sql + (f"'{region}'" if region else "NULL")
        assert bool(JUDGE.members({"s": text}, T + 10)) == (bool(rows) and region == expected)


def test_every_is_bool_and() -> None:
    assert members("every(amount > 1) AND NOT every(amount > 2) FILTER (WHERE region = 'CA')",
                   [{"amount": Decimal(2), "region": "CA"}, {"amount": None}, {"amount": Decimal(3)}])  # fmt: skip


def total(values: list[Number]) -> Number:
    some = [value for value in values if value is not None]
    return sum(some, Fraction(0)) if some else None


def divided(a: Number, b: Number) -> Number:
    return None if a is None or b is None or b == 0 else a / b


def average(values: list[Number]) -> Number:
    some = [value for value in values if value is not None]
    return sum(some, Fraction(0)) / len(some) if some else None


def first(*values: Number) -> Number:
    return next((value for value in values if value is not None), None)


def plus(a: Number, b: Number) -> Number:
    return None if a is None or b is None else a + b


def times(a: Number, b: Number) -> Number:
    return None if a is None or b is None else a * b


Values = list[Number]
QUOTIENTS: dict[str, Callable[[Values, Values], Number]] = {
    "sum(amount) / count(*)": lambda a, q: divided(total(a), Fraction(len(a))),
    "sum(amount) / sum(quantity)": lambda a, q: divided(total(a), total(q)),
    "avg(amount)": lambda a, q: average(a),
    "avg(quantity) FILTER (WHERE quantity > 0)": lambda a, q: average([v for v in q if v is not None and v > 0]),
    "-avg(amount) / 3": lambda a, q: divided(times(average(a), Fraction(-1)), Fraction(3)),
    "avg(amount) - avg(quantity)": lambda a, q: plus(average(a), times(average(q), Fraction(-1))),
    "avg(amount) * avg(quantity)": lambda a, q: times(average(a), average(q)),
    "1 / (sum(amount) / sum(quantity))": lambda a, q: divided(Fraction(1), divided(total(a), total(q))),
    "coalesce(sum(amount) / sum(quantity), avg(quantity), -1)": lambda a, q: first(
        divided(total(a), total(q)), average(q), Fraction(-1)
    ),
    "(coalesce(sum(amount), 0) + 0.5) / (sum(quantity) - 1)": lambda a, q: divided(
        plus(first(total(a), Fraction(0)), Fraction(1, 2)), plus(total(q), Fraction(-1))
    ),
    "sum(amount) / 0": lambda a, q: None,
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.none() | st.integers(-300, 300).map(lambda cents: Decimal(cents).scaleb(-2)),
            "quantity": st.none() | st.integers(-3, 3),
        }
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("text", QUOTIENTS)
@settings(max_examples=60)
@given(ROWS, st.sampled_from(sorted(OPERATORS)), st.data())
def test_quotients_are_exact(text: str, rows: list[dict[str, Any]], op: str, data: st.DataObject) -> None:
    amounts, quantities = [
        [None if row[name] is None else Fraction(row[name]) for row in rows] for name in ("amount", "quantity")
    ]
    value = QUOTIENTS[text](amounts, quantities)
    near = [Decimal("0.5"), Decimal(-1)]
    if value is not None:
        near.append(round(Decimal(value.numerator) / Decimal(value.denominator), 4))
    limit = data.draw(st.sampled_from(near))
    expected = value is not None and OPERATORS[op](value, Fraction(limit))
    assert members(f"{text} {op} {limit}", rows) == expected
    assert members(f"NOT {limit} {op} ({text})", rows) == (
        value is not None and not OPERATORS[op](Fraction(limit), value)
    )
    assert members(f"{text} IS NULL", rows) == (value is None)


def test_a_third_is_not_a_double() -> None:
    rows = [{"amount": Decimal("0.10")}, {"amount": Decimal("0.20")}, {"amount": Decimal("0.00")}]
    assert members("avg(amount) = 0.1 AND avg(amount) IN (0.2, 0.1) AND avg(amount) BETWEEN 0.1 AND 0.1", rows)
    assert members("sum(amount) / 3 * 3 = 0.3 AND avg(amount) NOT IN (0.2, 0.3)", rows)
    assert not members("avg(amount) > 0.1 OR avg(amount) NOT BETWEEN 0 AND 0.1", rows)


def test_quotients_of_rows_and_filters() -> None:
    rows = [{"amount": Decimal("0.30"), "quantity": 3}, {"amount": Decimal("0.31"), "quantity": 3}]
    assert members("count(*) FILTER (WHERE amount / quantity = 0.1) = 1", rows)
    assert members("count(*) = 1", rows, "WHERE amount / quantity > 0.1")
    assert members("avg(amount) FILTER (WHERE amount / quantity > 0.1) = 0.31", rows)


def test_conditions_compared_with_conditions() -> None:
    rows = [{"amount": Decimal("0.30"), "quantity": 3}]
    assert members("(count(*) = 1) = (sum(amount) / count(*) IS NOT NULL)", rows)
    assert members("(sum(amount) / sum(quantity) = 0.1) <> (avg(amount) > 0.3)", rows)
    assert members("(avg(amount) / 3 = 0.1) = true", rows)


def test_double_stays_double() -> None:
    kept = "SELECT user_id FROM events GROUP BY user_id HAVING MAX(score) / 3 > 0.1"
    assert for_judge(kept, COLUMNS) == kept
    assert members("max(score) / 3 > 0.1", [{"score": 0.1 + 0.2}])
    assert not members("max(score) / 3 > 0.1", [{"score": 0.3}])


@pytest.mark.parametrize(
    ("value", "holds"), [("max(amount) / 2", True), ("12.0 / count(*)", False), ("max(amount)", False)]
)
def test_constants_in_a_query_as_a_value(value: str, holds: bool) -> None:
    """A constant divisor or dividend has no aggregate of its own, and yet the query is one value."""
    query = f"(SELECT {value} FROM events s WHERE s.user_id = events.user_id)"
    rows = [{"amount": Decimal("2.00")}, {"amount": Decimal("3.00")}]
    assert members(f"count(*) FILTER (WHERE amount > {query}) = 2", rows) == holds
