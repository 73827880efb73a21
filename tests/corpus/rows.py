"""Which rows of the design's table of SQL a definition uses, read off its checked tree."""

from collections.abc import Iterator
from typing import Any

from segmentation.compile import tree
from segmentation.compile.tree import Definition, Node
from segmentation.types import TIMESTAMPTZ

AGGREGATE = "aggregate conditions"
ARITHMETIC = "arithmetic over aggregates"
SLIDING = "sliding windows"
RANGE = "fixed ranges"
CALENDAR = "calendar ranges"
FILTER = "event filters"
ABSENCE = "absence"
SEGMENTS = "segments as tables"
SETS = "queries of queries"
BANDS = "bands"
DISTANCE = "distance"
PROFILES = "profiles"
ANCHORED = "anchored aggregates"
FUNCTIONS = "functions of numbers"  # no row of the table, so not one of ROWS

ROWS = [
    AGGREGATE, ARITHMETIC, SLIDING, RANGE, CALENDAR, FILTER, ABSENCE, SEGMENTS, SETS, BANDS, DISTANCE, PROFILES,
    ANCHORED,
]  # fmt: skip


def rows_of(definition: Definition) -> frozenset[str]:
    found = set(_of(definition.query, False))
    return frozenset(found | {BANDS} if "/" in definition.name else found)


def _of(node: Any, group: bool) -> Iterator[str]:
    """group: in HAVING, and not inside of an aggregate."""
    if isinstance(node, tuple):
        for part in node:
            yield from _of(part, group)
        return
    if not isinstance(node, Node):
        return
    yield from _itself(node, group)
    match node:
        case tree.Segment():
            return  # what it is made of is another definition's
        case tree.Select(where=where, having=having):
            yield from _of(where, False)
            yield from _of(having, True)
            return
        case tree.Everyone(having=having):
            yield from _of(having, True)
            return
        case tree.Aggregate():
            group = False
    for name in node.__dataclass_fields__:
        yield from _of(getattr(node, name), group)


def _itself(node: Node, group: bool) -> Iterator[str]:
    match node:
        case tree.Aggregate():
            yield AGGREGATE
        case tree.Arithmetic() if group and _has(node, tree.Aggregate):
            yield ARITHMETIC
        case tree.Age():
            yield SLIDING
        case tree.Now() if node.offset:
            yield SLIDING
        case tree.Literal(type=type_) if type_ == TIMESTAMPTZ:
            yield RANGE
        case tree.Function(name="great_circle_distance"):
            yield DISTANCE
        case tree.Function():
            yield FUNCTIONS
        case tree.Everyone() | tree.UserColumn():
            yield PROFILES
        case tree.AtZone() | tree.Trunc() | tree.Shift() | tree.Part():
            yield CALENDAR
        case tree.Scalar():
            yield ANCHORED
        case tree.Segment():
            yield SEGMENTS
        case tree.SetOp(op=op):
            yield SETS
            if op == "except":
                yield ABSENCE
        case tree.Member():
            yield SETS
        case tree.Not(arg=tree.Member()):
            yield ABSENCE
        case tree.Compare(op="=", left=tree.Aggregate(function="count"), right=tree.Literal(value=0)):
            yield ABSENCE
    conditions = (tree.Compare, tree.In, tree.Like, tree.IsNull, tree.IsTrue)
    if not group and isinstance(node, conditions) and _columns(node) - {"event_time"}:
        yield FILTER


def _has(node: Any, kind: type[Node]) -> bool:
    if isinstance(node, tuple):
        return any(_has(part, kind) for part in node)
    if not isinstance(node, Node):
        return False
    return isinstance(node, kind) or any(_has(getattr(node, name), kind) for name in node.__dataclass_fields__)


def _columns(node: Any) -> set[str]:
    if isinstance(node, tuple):
        return {name for part in node for name in _columns(part)}
    if not isinstance(node, Node):
        return set()
    own = {node.name} if isinstance(node, tree.Column) else set()
    return own | {name for field in node.__dataclass_fields__ for name in _columns(getattr(node, field))}
