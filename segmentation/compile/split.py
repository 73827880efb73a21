"""Row conditions split by time: what of them holds of an event between which instants of its life.

An event's age decides (`Age`), and boundaries of the calendar do (`turning`). Between two edges the rest of a
condition does not depend on now.
"""

from collections.abc import Iterator
from dataclasses import replace

from segmentation.compile import tree
from segmentation.compile.forms import FALSE, TRUE, canonical, conjunction, disjunction
from segmentation.compile.plan import children, walk
from segmentation.compile.problems import Refused
from segmentation.compile.turning import REMEDY, Turn, is_turn, nows, turn_of
from segmentation.edges import Crossing, Edge, crossings, earliest, latest
from segmentation.types import FOREVER

#: Into how many parts the boundaries of one condition may divide the time of an event.
_PARTS_MAX = 256


def by_time(condition: tree.Expr) -> list[tuple[tree.Expr, Edge, Edge]]:
    """Splits a two-valued row condition into (condition without now, start, end): it holds of an event from its
    edge `start` until its edge `end`, where the rest holds. The parts do not overlap."""
    out: list[tuple[tree.Expr, Edge, Edge]] = []
    _split(condition, [], [], out)
    return out


def _split(node: tree.Expr, from_: list[Edge], until: list[Edge], out: list[tuple[tree.Expr, Edge, Edge]]) -> None:
    compared = next((part for part in _atoms(node) if is_turn(part)), None)
    if compared is None:
        for rest, start, end in by_age(node):
            if found := nows(rest):
                raise Refused(found[0].at, "A comparison with now() stands inside another expression.",
                              "Combine it with AND, OR and NOT only.")  # fmt: skip
            out.append((rest, latest([*from_, start]), earliest([*until, end])))
        return
    if len(out) > _PARTS_MAX:
        raise Refused(compared.at, "The condition has too many boundaries of the calendar in it.",
                      "Split the definition.")  # fmt: skip
    turn = turn_of(compared)
    if turn is None:
        raise Refused(nows(compared)[0].at, "now() stands in a comparison whose instants of change are not known.",
                      REMEDY)  # fmt: skip
    strict = turn.op in (">", "<=")
    count = crossings(turn.boundary)
    edges: list[Edge] = [Crossing(turn.boundary, turn.key, strict, number) for number in range(count)]
    for holds in (True, False):
        rest = _decided(node, turn, strict, holds)
        if rest == FALSE:
            continue
        marks: list[list[Edge]] = [[], *[[edge] for edge in edges], []]
        for number in range(0 if holds else 1, count + 1, 2):
            _split(rest, [*from_, *marks[number]], [*until, *marks[number + 1]], out)


def _atoms(node: tree.Expr) -> Iterator[tree.Expr]:
    if isinstance(node, tree.And | tree.Or):
        for arg in node.args:
            yield from _atoms(arg)
    else:
        yield node


def _decided(node: tree.Expr, turn: Turn, strict: bool, holds: bool) -> tree.Expr:
    """The condition where `boundary <= key` (boundary < key if strict) holds or not, for this key and boundary."""
    match node:
        case tree.And():
            return conjunction([_decided(arg, turn, strict, holds) for arg in node.args])
        case tree.Or():
            return disjunction([_decided(arg, turn, strict, holds) for arg in node.args])
        case tree.Compare() if is_turn(node):
            other = turn_of(node)
            if other is not None and replace(other, op=turn.op) == turn and (other.op in (">", "<=")) == strict:
                return TRUE if holds == (other.op in (">", ">=")) else FALSE
    return node


def by_age(condition: tree.Expr) -> list[tuple[tree.Expr, int, int]]:
    """Splits a two-valued row condition into (condition without Age, start, end): it holds of an
    event while its age is in [start, end) and the rest holds. The parts do not overlap."""
    ages = [node for node in walk(condition) if isinstance(node, tree.Age)]
    for parent in walk(condition):
        if isinstance(parent, tree.And | tree.Or | tree.Not | tree.IsTrue):
            continue
        if nested := [child for child in children(parent) if isinstance(child, tree.Age)]:
            raise Refused(
                nested[0].at, "A comparison of event_time with now() stands inside another expression.",
                "Combine it with AND, OR and NOT only.",
            )
    edges = sorted({0} | {edge for age in ages for edge in _edges(age) if edge > 0})
    parts: list[tuple[tree.Expr, int, int]] = []
    for start, end in zip(edges, [*edges[1:], FOREVER]):
        rest = canonical(_at_age(condition, start))
        if rest == FALSE:
            continue
        if parts and parts[-1][0] == rest and parts[-1][2] == start:
            parts[-1] = (rest, parts[-1][1], end)
        else:
            parts.append((rest, start, end))
    return parts


def _edges(age: tree.Age) -> tuple[int, ...]:
    """The ages from which on the comparison may have another value."""
    if age.op in ("<", ">="):  # age > micros, age <= micros
        return (age.micros + 1,)
    return (age.micros,) if age.op in ("<=", ">") else (age.micros, age.micros + 1)


def _at_age(node: tree.Expr, age: int) -> tree.Expr:
    """The condition for events of that age (µs)."""
    match node:
        case tree.Age():
            m = node.micros
            holds = {
                "<": age > m, "<=": age >= m, ">": age < m, ">=": age <= m, "=": age == m, "<>": age != m,
            }[node.op]
            return TRUE if holds else FALSE
        case tree.And():
            return conjunction([_at_age(arg, age) for arg in node.args])
        case tree.Or():
            return disjunction([_at_age(arg, age) for arg in node.args])
    return node
