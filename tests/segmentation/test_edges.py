"""Edges of the calendar against DuckDB: whether a boundary has passed an event, at instants around every step.

What the index asks of them is tested, too: where the events lie that pass between two instants."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.bind import bind
from segmentation.compile.lower import lower
from segmentation.compile.written_edges import cell
from segmentation.edges import Cell, Crossing, Latest, crossings, earliest, instants, latest, passing, since
from segmentation.local_time import UNITS
from segmentation.types import DAY, FOREVER, SECOND
from segmentation.zones import zone
from tests.oracle.grammar_calendar import ORIGINS, ZONES
from tests.oracle.judge import connect
from tests.oracle.running import SCHEMA

HOUR = 3600 * SECOND
DUCKDB = connect()
TIMES = st.builds(
    lambda origin, offset: int(origin.timestamp()) * SECOND + offset,
    st.sampled_from([*ORIGINS, datetime(2026, 7, 15, tzinfo=UTC)]),
    st.integers(-30 * HOUR, 30 * HOUR) | st.integers(-40 * DAY, 40 * DAY),
)
AFTER = st.sampled_from([(), ((0, -DAY),), ((0, DAY),), ((-1, 0),), ((12, 0), (0, -DAY)), ((0, -90 * 60 * SECOND),)])


@st.composite
def boundaries(draw: st.DrawFn, back: bool) -> Cell:
    zone = draw(st.sampled_from(ZONES))
    unit = draw(st.sampled_from(sorted(UNITS)))
    after = draw(AFTER)
    if UNITS[unit] < DAY:
        after = tuple((0, micros) for _, micros in after)
    inner, before = (draw(st.sampled_from([0, 0, -12 * HOUR])) for _ in range(2))
    other = draw(st.sampled_from([zone, zone, zone, "Europe/Berlin"]))
    if not back:
        return Cell(unit, zone, before, inner, after)
    return Cell(unit, zone, before, inner, after, other, draw(st.sampled_from([0, HOUR, -30 * DAY])))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Cell, Cell | None]:
    """A boundary, and what is compared with it."""
    local = draw(st.booleans())
    return draw(boundaries(not local)), draw(boundaries(False)) if local else None


@settings(max_examples=150, deadline=None)
@given(pairs(), st.booleans(), st.lists(TIMES, min_size=1, max_size=4), st.lists(TIMES, max_size=4))
def test_crossings_are_where_duckdb_sees_them(
    pair: tuple[Cell, Cell | None], strict: bool, times: list[int], others: list[int]
) -> None:
    boundary, key = pair
    count = crossings(boundary)
    event = np.array(times, np.int64)
    found = np.stack([Crossing(boundary, key, strict, number).at(event) for number in range(count)])
    assert (found[1:] >= found[:-1]).all()
    now = sorted({at + by for at in {*others, *found[found < FOREVER].tolist()} for by in (-1, 0, 1, 30 * 60 * SECOND)})
    ours = (found[:, :, None] <= np.array(now)).sum(0) % 2 == 0
    sql = f"{cell(boundary, 'make_timestamptz(n)')} {'<' if strict else '<='} " + (
        "make_timestamptz(e)" if key is None else cell(key, "make_timestamptz(e)")
    )
    rows = DUCKDB.execute(
        f"SELECT {sql} FROM (SELECT unnest(?::BIGINT[]) AS e), (SELECT unnest(?::BIGINT[]) AS n) ORDER BY e, n",
        [sorted(set(times)), now],
    ).fetchall()
    first = [times.index(time) for time in sorted(set(times))]
    assert ours[first].ravel().tolist() == [holds for (holds,) in rows], sql


@settings(max_examples=150, deadline=None)
@given(pairs(), st.lists(TIMES, min_size=1, max_size=6), st.sampled_from([1, HOUR, DAY, 45 * DAY]), st.booleans())
def test_all_that_pass_are_found(pair: tuple[Cell, Cell | None], times: list[int], length: int, strict: bool) -> None:
    event = np.array(times, np.int64)
    for number in range(crossings(pair[0])):
        one = Crossing(*pair, strict, number)
        for edge in (one, Latest((3 * HOUR, one))):
            at = instants(edge, event)
            for place in np.flatnonzero(at < FOREVER).tolist():
                instant = int(at[place])
                for first in (instant - length + 1, instant):
                    low, high = passing(edge, first, first + length)
                    assert low <= times[place] < high
                assert since(edge, instant) <= times[place]


@settings(max_examples=12, deadline=None)
@given(boundaries(True) | boundaries(False))
def test_crossings_are_counted_around_each_change(boundary: Cell) -> None:
    """Against every change of the clocks by itself, with the boundary as it is."""
    changes = zone(boundary.zone).starts[1:].tolist()
    if boundary.back:
        changes += (zone(boundary.back).starts[1:] - boundary.moved + boundary.before + boundary.micros).tolist()
    around, most = UNITS[boundary.unit] + 5 * DAY, 0
    for change in changes:
        at = boundary.steps(change - boundary.before - around, change - boundary.before + around)
        value = boundary.values(at)
        most = max(most, int((value[1:] < value[:-1]).sum()))
    assert crossings(boundary) == 1 + 2 * most


def test_a_boundary_steps_back_however_far_it_is_moved() -> None:
    boundary = Cell("minute", "UTC", back="America/New_York")
    assert {crossings(replace(boundary, micros=days * DAY)) for days in (0, 1, -30)} == {3}


def test_edges_are_merged() -> None:
    one = Crossing(Cell("day", "UTC", back="UTC"), None, False)
    assert latest([0, 5, 3]) == 5 and earliest([FOREVER, 5, 3]) == 3
    assert latest([0, one]) == one and earliest([FOREVER, one, one]) == one
    assert instants(latest([2 * DAY, one]), np.array([1], np.int64)).tolist() == [1 + 2 * DAY]
    assert instants(earliest([2 * DAY, one]), np.array([1], np.int64)).tolist() == [DAY]


@pytest.mark.parametrize("condition", [
    "event_time >= date_trunc('month', now() AT TIME ZONE 'Asia/Kolkata') AT TIME ZONE 'Asia/Kolkata'",
    "date_trunc('day', now() AT TIME ZONE 'UTC') - INTERVAL '1 day' = date_trunc('day', event_time AT TIME ZONE 'UTC')",
])  # fmt: skip
@pytest.mark.parametrize("clause", ["WHERE {}", "WHERE NOT ({})", "HAVING count(*) FILTER (WHERE {}) > 1"])
def test_conditions_become_edges(condition: str, clause: str) -> None:
    sql = f"SELECT user_id FROM events {clause.format(condition)}"
    if clause.startswith("HAVING"):
        sql = sql.replace("HAVING", "GROUP BY user_id HAVING")
    plan = lower([bind("x", "x.sql", sql, SCHEMA)], SCHEMA)
    edges = {edge for one in plan.linears for term in one.terms for edge in (term.start, term.end)}
    assert any(isinstance(edge, Crossing) for edge in edges)
