"""The twin's rules of time, one small stream each, on trees made by hand."""

from decimal import Decimal
from fractions import Fraction

import pytest

from segmentation.compile.tree import (
    Age,
    Aggregate,
    Arithmetic,
    Column,
    Compare,
    Definition,
    Expr,
    In,
    IsTrue,
    Literal,
    Not,
    Now,
    Or,
    Select,
    Value,
)
from segmentation.reference import Event, Flip, Reference
from segmentation.reference_eval import is_member
from segmentation.types import BIGINT, BOOLEAN, DOUBLE, NULL, RATIO, TEXT, TIMESTAMPTZ, Type, numeric

MONEY = numeric(12, 2)
WINDOW = 10


def count(filter_: Expr | None = None) -> Aggregate:
    return Aggregate("count", None, filter_, BIGINT)


def number(value: int) -> Literal:
    return Literal(value, BIGINT)


def at_least(least: int, op: str = ">", name: str = "s") -> Definition:
    """count(*) FILTER (WHERE event_time <op> now() - WINDOW) >= least"""
    return Definition(name, "", "", Select(None, Compare(">=", count(Age(op, WINDOW)), number(least))))


def event(time: int, user: str = "u", event_id: str | None = None, **values: Value) -> Event:
    return Event(user, event_id or f"e{time}", time, values)


def reference(*definitions: Definition, partitions: int = 1, lateness: int = 0, live: bool = False) -> Reference:
    return Reference(definitions, partitions, lateness, None, live)


def log(of: Reference) -> list[tuple[int, bool, int]]:
    return [(flip.seq, flip.entered, flip.effective_at) for flip in of.log]


@pytest.mark.parametrize(("op", "left_at"), [(">", 110), (">=", 111)])
def test_a_window_ends_to_the_microsecond(op: str, left_at: int) -> None:
    r = reference(at_least(1, op))
    r.event(0, event(100), 0)
    r.finish(left_at - 1)
    assert log(r) == [(1, True, 100)]
    r.finish(left_at)
    assert log(r) == [(1, True, 100), (2, False, left_at)]


def test_own_expiries_come_first_however_far_the_watermark_lags() -> None:
    r = reference(at_least(1), lateness=1_000)
    r.event(0, event(100), 0)
    r.event(0, event(150), 0)
    assert log(r) == [(1, True, 100), (2, False, 110), (3, True, 150)]


def test_an_expiry_at_the_instant_of_an_event_is_one_step_with_it() -> None:
    r = reference(at_least(1))
    r.event(0, event(100), 0)
    r.event(0, event(110), 0)
    r.finish(1_000)
    assert log(r) == [(1, True, 100), (2, False, 120)]


def test_silent_users_expire_strictly_below_the_watermark() -> None:
    r = reference(at_least(1))
    r.event(0, event(100), 0)
    r.event(0, event(110, user="other"), 0)
    assert ("u", "s") in r.members()
    r.event(0, event(111, user="other"), 0)
    assert ("u", "s") not in r.members()


def test_a_late_event_counts_from_the_watermark_and_leaves_by_its_own_time() -> None:
    r = reference(at_least(1))
    r.event(0, event(105, user="other"), 0)
    r.event(0, event(100), 0)
    r.finish(1_000)
    assert [f for f in r.log if f.user_id == "u"] == [Flip("u", 1, "s", True, 105), Flip("u", 2, "s", False, 110)]


def test_a_late_event_counts_from_the_users_newer_event() -> None:
    r = reference(at_least(2), lateness=1_000)
    r.event(0, event(105), 0)
    r.event(0, event(100), 0)
    r.finish(1_000)
    assert log(r) == [(1, True, 105), (2, False, 110)]


def test_a_late_event_whose_window_has_closed_counts_for_ever_only() -> None:
    lifetime = Definition("lifetime", "", "", Select(None, None))
    r = reference(at_least(1), lifetime)
    r.event(0, event(200, user="other"), 0)
    r.event(0, event(100), 0)
    assert [f for f in r.log if f.user_id == "u"] == [Flip("u", 1, "lifetime", True, 200)]


def test_the_shards_watermark_waits_for_every_partition() -> None:
    r = reference(at_least(1), partitions=2, lateness=3)
    r.event(0, event(100), 0)
    r.event(0, event(500, user="other"), 0)
    assert r.watermark < 0 and ("u", "s") in r.members()
    r.event(1, event(114, user="third"), 0)
    assert r.watermark == 111 and ("u", "s") not in r.members()
    r.event(1, event(90, user="third"), 0)
    assert r.watermark == 111
    r.idle(1, 300, 0)
    assert r.watermark == 300


def test_repeats_count_once_and_other_times_do_not_repeat() -> None:
    r = reference(at_least(2))
    for partition, time in ((0, 100), (0, 100), (0, 101)):
        r.event(partition, event(time, event_id="same"), 0)
    assert r.repeated == 1 and log(r) == [(1, True, 101)]


def test_too_late() -> None:
    r = Reference([at_least(1)], 1, 0, 50, False)
    r.event(0, event(100, user="other"), 0)
    r.event(0, event(50), 0)
    r.event(0, event(49), 0)
    assert [e.time for e in r.too_late] == [49] and len(list(r.known())) == 2


def test_live_events_ahead_of_the_clock_wait_for_it() -> None:
    r = reference(at_least(1), live=True)
    r.event(0, event(130), 100)
    assert r.log == [] and r.watermark == 100
    r.event(0, event(99, event_id="after it"), 100)
    r.idle(0, None, 129)
    assert r.log == [] and r.watermark == 129
    r.idle(0, None, 130)
    assert log(r) == [(1, True, 130)]
    r.idle(0, None, 1_000)
    assert r.watermark == 130


def test_segments_that_flip_together_share_a_number() -> None:
    r = reference(at_least(1, name="a"), at_least(1, name="b"), at_least(2, name="c"))
    r.event(0, event(100), 0)
    r.event(0, event(101), 0)
    assert [(f.segment, f.seq) for f in r.log] == [("a", 1), ("b", 1), ("c", 2)]


def test_now_in_a_group_expression() -> None:
    newest = Aggregate("max", Column("event_time", TIMESTAMPTZ), None, TIMESTAMPTZ)
    r = reference(Definition("s", "", "", Select(None, Compare("<", newest, Now(-WINDOW)))))
    r.event(0, event(100), 0)
    r.event(0, event(105), 0)
    r.event(0, event(200), 0)
    r.finish(1_000)
    assert log(r) == [(1, True, 116), (2, False, 200), (3, True, 211)]


def true(having: Expr, *events: Event, where: Expr | None = None) -> bool:
    return is_member(Definition("s", "", "", Select(where, having)), events, 1_000)


def test_exact_and_double() -> None:
    def third(type_: Type, parts: Value) -> Compare:
        return Compare("=", Arithmetic("/", Literal(parts, type_), number(3), RATIO), Literal(Decimal("0.1"), MONEY))

    assert true(third(MONEY, Decimal("0.30")), event(1))
    tenth = Compare("=", Arithmetic("*", Literal(0.1, DOUBLE), number(3), DOUBLE), Literal(Decimal("0.3"), MONEY))
    assert not true(tenth, event(1))
    by_zero = Compare("=", Arithmetic("/", number(1), number(0), RATIO), number(1))
    assert not true(by_zero, event(1)) and not true(Not(by_zero), event(1))
    assert true(Not(IsTrue(by_zero)), event(1))


def test_aggregates_skip_null_and_are_null_over_nothing() -> None:
    amount = Column("amount", MONEY)
    some = [event(1, amount=Decimal("1.00")), event(2, amount=None), event(3, amount=Decimal("2.00"))]
    average = Aggregate("avg", amount, None, RATIO)
    assert true(Compare("=", average, Literal(Decimal("1.50"), MONEY)), *some)
    assert true(Compare("=", Aggregate("count", amount, None, BIGINT), number(2)), *some)
    nothing = Compare(">=", Aggregate("sum", amount, None, MONEY), number(0))
    assert not true(nothing, event(1)) and not true(Not(nothing), event(1))
    assert true(Or((nothing, Compare("=", count(), number(1)))), event(1))


def test_last_values_tie_by_event_id_and_skip_null() -> None:
    region = Column("region", TEXT)
    rows = [event(1, event_id="b", region="late"), event(1, event_id="a", region="early"), event(2, region=None)]
    last = Compare("=", Aggregate("arg_max", region, None, TEXT), Literal("late", TEXT))
    first = Compare("=", Aggregate("arg_min", region, None, TEXT), Literal("early", TEXT))
    assert true(last, *rows) and true(first, *rows)


def test_in_with_null() -> None:
    among = In(number(1), (number(2), Literal(None, NULL)), BOOLEAN)
    assert not true(among, event(1)) and not true(Not(among), event(1))
    assert true(In(number(2), (number(2), Literal(None, NULL))), event(1))


def test_population_is_who_passes_where() -> None:
    r = reference(Definition("s", "", "", Select(Age(">", WINDOW), Compare("=", count(), number(1)))))
    r.event(0, event(100), 0)
    r.finish(1_000)
    assert log(r) == [(1, True, 100), (2, False, 110)]


def test_sums_are_never_rounded() -> None:
    big = numeric(38, 2)
    rows = [event(i, amount=Decimal("12345678901234567890123456789012345.01")) for i in range(3)]
    total = Aggregate("sum", Column("amount", big), None, big)
    assert true(Compare("=", total, Literal(Fraction(37037036703703703670370370367037035_03, 100), big)), *rows)  # type: ignore[arg-type]
