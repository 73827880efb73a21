"""Conditions that the calendar turns: what in them depends on now, and how.

- A *turn* compares an event's time, or the cell of the calendar that it is in, with a boundary, which is a
  function of now with steps: `event_time >= date_trunc('month', now() AT TIME ZONE Z) AT TIME ZONE Z`.
- A condition on the *clock* has now and nothing else in it: `extract(hour FROM now() AT TIME ZONE Z) >= 9`.

Any other condition with now in it, apart from ages, is refused.
"""

from dataclasses import dataclass, replace

from segmentation.compile import tree
from segmentation.compile.bind_time import FLIPPED
from segmentation.compile.plan import walk, walk_group
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import mapped
from segmentation.edges import Cell
from segmentation.local_time import MONTHS, UNITS
from segmentation.types import DAY, TIMESTAMP, TIMESTAMPTZ, Kind
from segmentation.zones import zone

REMEDY = (
    "Compare event_time with a boundary: event_time >= date_trunc('month', now() AT TIME ZONE 'UTC') "
    "AT TIME ZONE 'UTC'; or a part of now() with a constant."
)


def nows(node: tree.Expr) -> list[tree.Now]:
    """Those outside of aggregates: what is inside is a matter of rows."""
    return [part for part in walk_group(node) if isinstance(part, tree.Now)]


def of_clock(node: tree.Expr) -> bool:
    """Whether the expression has now in it and nothing else that differs between rows or users."""
    parts = walk(node)
    other = tree.Column | tree.UserColumn | tree.Aggregate | tree.Scalar | tree.Member | tree.Age
    if any(isinstance(part, other) for part in parts):
        return False
    return any(isinstance(part, tree.Now) for part in parts)


# -- cells -------------------------------------------------------------------------------------------


def cell_of(node: tree.Expr) -> tuple[Cell, tree.Expr] | None:
    """The expression as a Cell of now or of a column, and that; None for any other."""
    micros, back = 0, ""
    while isinstance(node, tree.Arithmetic) and node.type == TIMESTAMPTZ and isinstance(node.right, tree.Literal):
        assert isinstance(node.right.value, int)
        micros += node.right.value if node.op == "+" else -node.right.value
        node = node.left
    if node.type == TIMESTAMPTZ:
        if not isinstance(node, tree.AtZone):
            return None
        back, node = node.zone, node.arg
    after: list[tuple[int, int]] = []
    while isinstance(node, tree.Shift):
        after.insert(0, (node.months, node.micros))
        node = node.arg
    if not isinstance(node, tree.Trunc):
        return None
    unit, node = node.unit, node.arg
    inner = 0
    while isinstance(node, tree.Shift):
        if node.months:  # a whole number of cells, if nothing is added after it
            if unit not in MONTHS or node.months % MONTHS[unit] or inner or node.micros:
                return None
            after.insert(0, (node.months, 0))
        inner += node.micros
        node = node.arg
    if not isinstance(node, tree.AtZone) or (UNITS[unit] < DAY and any(months for months, _ in after)):
        return None
    name, node = node.zone, node.arg
    before = 0
    while isinstance(node, tree.Arithmetic) and isinstance(node.right, tree.Literal):
        assert isinstance(node.right.value, int)
        before += node.right.value if node.op == "+" else -node.right.value
        node = node.left
    if isinstance(node, tree.Now):
        before, node = before + node.offset, replace(node, offset=0)
    if not isinstance(node, tree.Now | tree.Column):
        return None
    return Cell(unit, name, before, inner, tuple(after), back, micros if back else 0), node


@dataclass(frozen=True, slots=True)
class Turn:
    """key op boundary(now); key None: the event's time itself."""

    op: str
    key: Cell | None
    boundary: Cell


def turn_of(node: tree.Expr) -> Turn | None:
    """A comparison as a Turn; that of max(event_time) or min(event_time) like one of event_time."""
    if not isinstance(node, tree.Compare):
        return None
    op, left, right = node.op, node.left, node.right
    if nows(left):
        op, left, right = FLIPPED[op], right, left
    boundary = cell_of(right)
    if boundary is None or not isinstance(boundary[1], tree.Now):
        return None
    left, _ = within(left)
    if is_event_time(left):
        return Turn(op, None, boundary[0])
    key = cell_of(left)
    return Turn(op, key[0], boundary[0]) if key is not None and is_event_time(key[1]) else None


def within(side: tree.Expr) -> tuple[tree.Expr, tree.Aggregate | None]:
    """max(event_time), min(event_time), or the cell of the calendar that it is in, as of one event; and the aggregate.
    Any other expression as it is."""
    found = next((part for part in walk_group(side) if isinstance(part, tree.Aggregate)), None)
    if found is None or found.function not in ("min", "max") or found.arg is None or not is_event_time(found.arg):
        return side, None
    row: tree.Expr = mapped(side, lambda part: found.arg if part == found else None)
    return (row, found) if row != side and (is_event_time(row) or cell_of(row) is not None) else (side, None)


def of_cells(side: tree.Expr) -> tree.Expr:
    """The cell of max(event_time) as the largest cell; any other expression as it is."""
    row, aggregate = within(side)
    return side if aggregate is None else replace(aggregate, arg=row, type=row.type)


def _check_order(node: tree.Compare) -> None:
    """Refuses cells of max(event_time) that are not those of the latest event: where clocks are set back from a later
    cell into an earlier one."""
    for side in (node.left, node.right):
        row, aggregate = within(side)
        cell = None if aggregate is None else cell_of(row)
        if aggregate is None or cell is None:
            continue
        key = cell[0]
        if key.inner or key.back or not zone(key.zone).ordered(key.unit):
            raise Refused(
                side.at, f"A later time may be in an earlier {key.unit} here, by the clocks of {key.zone}.",
                f"Compare {aggregate.function}(event_time) with the boundary itself: {aggregate.function}(event_time) "
                f">= date_trunc('{key.unit}', now() AT TIME ZONE '{key.zone}') AT TIME ZONE '{key.zone}'.",
            )


def is_event_time(node: tree.Expr) -> bool:
    return isinstance(node, tree.Column) and node.name == "event_time"


def checked(node: tree.Expr) -> tree.Expr:
    """The condition, if what depends on now in it is supported. Raises Refused."""
    found = nows(node)
    calendar = any(isinstance(part, tree.AtZone | tree.Part) for part in walk_group(node))
    if not found or turn_of(node) is not None or _of_conditions(node):
        if found and isinstance(node, tree.Compare):
            _check_order(node)
        return node
    if of_clock(node):
        _check_clock(node)
        return node
    if not calendar:
        return node  # an aggregate beside now()
    for part in walk_group(node):
        if isinstance(part, tree.AtZone) and part.type == TIMESTAMPTZ and nows(part) and cell_of(part) is None:
            reason = "This boundary does not move in steps of a calendar unit."
            if not any(isinstance(each, tree.Trunc) for each in walk(part)):
                raise Refused(
                    part.at, f"{reason[:-1]}: there is no date_trunc in it.",
                    "Write date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', or a sliding window: "
                    "now() - INTERVAL '30 days'.",
                )
            raise Refused(
                part.at, reason, "Use one date_trunc; add months only to days, weeks, months, quarters or years.",
            )
    raise Refused(found[0].at, "now() stands in a comparison whose instants of change are not known.", REMEDY)


def _of_conditions(node: tree.Expr) -> bool:
    """Whether conditions are compared, each of which is looked at by itself."""
    if isinstance(node, tree.Compare):
        return node.left.type.kind is Kind.BOOLEAN
    return isinstance(node, tree.In) and node.arg.type.kind is Kind.BOOLEAN


def _check_clock(node: tree.Expr) -> None:
    """Refuses what changes at instants that are not those of a calendar unit."""
    steady = [part for part in walk(node) if isinstance(part, tree.Trunc | tree.Part) and nows(part)]
    held = [now for part in steady for now in nows(part)]
    free = [now for now in nows(node) if not any(now is one for one in held)]
    if any(isinstance(part, tree.Part) and part.part == "epoch" for part in steady):
        raise Refused(steady[0].at, "The epoch of now() never stops changing.", "Compare now() with a TIMESTAMPTZ.")
    if not free:
        return
    sides = (node.left, node.right) if isinstance(node, tree.Compare) else ()
    if len(free) > 1 or not any(_plain_now(side) for side in sides):
        raise Refused(free[0].at, "now() stands in an expression that never stops changing.", REMEDY)


def _plain_now(node: tree.Expr) -> bool:
    """now() itself, or its local time, moved by so much."""
    while isinstance(node, tree.Shift) and not node.months:
        node = node.arg
    if isinstance(node, tree.AtZone) and node.type == TIMESTAMP:
        node = node.arg
    return isinstance(node, tree.Now)


# -- conditions on rows --------------------------------------------------------------------------------


def is_turn(node: tree.Expr) -> bool:
    """Whether a comparison of rows depends on now: then both its sides are never NULL."""
    if not isinstance(node, tree.Compare) or _of_conditions(node):
        return False
    parts = list(walk_group(node))
    return any(isinstance(part, tree.Now) for part in parts) and any(isinstance(part, tree.Column) for part in parts)
