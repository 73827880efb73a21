"""A checked tree written as SQL again, every operation in parentheses: to be read, and DuckDB runs it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import pi
from typing import Any

from segmentation.compile import tree
from segmentation.compile.anchors import own
from segmentation.compile.plan import walk_group
from segmentation.compile.rebuild import has_profile, mapped, of_profile
from segmentation.types import TEXT, Kind

_UNITS = (
    (86_400_000_000, "days"), (3_600_000_000, "hours"), (60_000_000, "minutes"), (1_000_000, "seconds"),
    (1, "microseconds"),
)  # fmt: skip

_USER = tree.Column("user_id", TEXT)


def definition(one: tree.Definition) -> str:
    """The parts of a SELECT on lines of their own."""
    return relation(one.query, "\n")


def relation(query: tree.Relation, between: str = " ") -> str:
    if isinstance(query, tree.SetOp):
        return f"{between}{query.op.upper()}{between}".join(f"({relation(arg)})" for arg in query.args)
    if isinstance(query, tree.Segment):
        return f'SELECT user_id FROM segments."{query.name}"'
    if isinstance(query, tree.Everyone):
        return between.join(_of_users(query.having))
    parts = ["SELECT user_id FROM events" + (" JOIN users USING (user_id)" if has_profile(query) else "")]
    if query.where is not None:
        parts.append(f"WHERE {expression(query.where)}")
    parts.append("GROUP BY user_id")
    if query.having is not None:
        parts.append(f"HAVING {expression(mapped(query.having, _grouped))}")
    return between.join(parts)


def _of_users(having: tree.Expr | None) -> list[str]:
    if having is None:
        return ["SELECT user_id FROM users"]
    if not any(isinstance(part, tree.Aggregate) for part in walk_group(having)):
        return ["SELECT user_id FROM users", f"WHERE {expression(having)}"]
    parts = ["SELECT user_id FROM users LEFT JOIN events USING (user_id)", "GROUP BY user_id"]
    return [*parts, f"HAVING {expression(mapped(mapped(having, _found), _grouped))}"]


def _found(node: Any) -> tree.Expr | None:
    """Without the row of a user who has no events."""
    if not isinstance(node, tree.Aggregate):
        return None
    parts = node.filter.args if isinstance(node.filter, tree.And) else () if node.filter is None else (node.filter,)
    there = tree.Not(tree.IsNull(tree.Column("event_id", TEXT)))
    found = node if there in parts else replace(node, filter=tree.And((there, *parts)) if parts else there)
    of_events = tree.Column("events.user_id", TEXT)
    result: tree.Expr = mapped(replace(found, at=node.at), lambda part: of_events if part == _USER else None)
    return result


def _grouped(node: Any) -> tree.Expr | None:
    """A user's value as an aggregate of it."""
    if isinstance(node, tree.Aggregate):
        return node
    if not isinstance(node, tree.UserColumn):
        return None
    return tree.Aggregate("bool_or" if node.type.kind is Kind.BOOLEAN else "max", node, None, node.type)


def _value(node: tree.Expr) -> str:
    if of_profile(node):
        return expression(node)
    users = " JOIN users USING (user_id)" if any(isinstance(part, tree.UserColumn) for part in own(node)) else ""
    value = expression(mapped(node, _grouped))
    return f"(SELECT {value} FROM events s{users} WHERE (s.user_id = events.user_id))"


def expression(node: tree.Expr) -> str:
    match node:
        case tree.Literal():
            return literal(node)
        case tree.Column() | tree.UserColumn():
            return node.name
        case tree.Band():
            return "band"
        case tree.Now():
            return _after_now(node.offset)
        case tree.Age():
            return f"(event_time {node.op} {_after_now(-node.micros)})"
        case tree.Arithmetic() | tree.Compare():
            return f"({expression(node.left)} {node.op} {expression(node.right)})"
        case tree.AtZone():
            return f"({expression(node.arg)} AT TIME ZONE {text(node.zone)})"
        case tree.Trunc():
            return f"date_trunc({text(node.unit)}, {expression(node.arg)})"
        case tree.Shift():
            return moved(expression(node.arg), node.months, node.micros)
        case tree.Part():
            return f"extract({node.part} FROM {expression(node.arg)})"
        case tree.Lower():
            return f"lower({expression(node.arg)})"
        case tree.Function():
            return f"{node.name}({', '.join(map(expression, node.args))})"
        case tree.Coalesce():
            return f"coalesce({', '.join(map(expression, node.args))})"
        case tree.IsNull():
            return f"({expression(node.arg)} IS NULL)"
        case tree.IsTrue():
            return f"({expression(node.arg)} IS TRUE)"
        case tree.Like():
            escape = f" ESCAPE {text(node.escape)}" if node.escape else ""
            word = "ILIKE" if node.insensitive else "LIKE"
            return f"({expression(node.arg)} {word} {text(node.pattern)}{escape})"
        case tree.Scalar():
            return _value(node.value)
        case tree.In():
            return f"({expression(node.arg)} IN ({', '.join(map(expression, node.values))}))"
        case tree.And():
            return f"({' AND '.join(map(expression, node.args))})"
        case tree.Or():
            return f"({' OR '.join(map(expression, node.args))})"
        case tree.Not():
            return f"(NOT {expression(node.arg)})"
        case tree.Aggregate():
            return aggregate(node)
        case tree.Member():
            return f"(user_id IN ({relation(node.relation)}))"


def aggregate(node: tree.Aggregate) -> str:
    arg = "*" if node.arg is None else expression(node.arg)
    order = ", event_time" if node.function.startswith("arg_") else ""
    condition = f" FILTER (WHERE {expression(node.filter)})" if node.filter is not None else ""
    return f"{node.function}({'DISTINCT ' if node.distinct else ''}{arg}{order}){condition}"


def literal(node: tree.Literal) -> str:
    value = node.value
    if value is None:
        return "NULL"
    if node.type.kind is Kind.INTERVAL:
        assert isinstance(value, int)
        return _interval(value)
    if node.type.kind is Kind.TIMESTAMPTZ:
        assert isinstance(value, int)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
        return f"TIMESTAMPTZ '{moment.isoformat(sep=' ').removesuffix(':00')}'"
    if node.type.kind is Kind.TIMESTAMP:
        assert isinstance(value, int)
        return f"TIMESTAMP '{(datetime(1970, 1, 1) + timedelta(microseconds=value)).isoformat(sep=' ')}'"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return str(value).upper()
    if value == pi:
        return "pi()"
    if isinstance(value, float):
        return f"{value!r}::double"
    return str(value)


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def bare(condition: str) -> str:
    """A condition without the parentheses around the whole of it."""
    depth = 0
    for place, sign in enumerate(condition):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return condition[1:-1] if sign == ")" and place == len(condition) - 1 and condition[0] == "(" else condition
    return condition


def _after_now(offset: int) -> str:
    if not offset:
        return "now()"
    return f"(now() {'+' if offset > 0 else '-'} {_interval(abs(offset))})"


def moved(time: str, months: int, micros: int) -> str:
    """The SQL of a time, and what is added to it, months first; in parentheses if there is anything."""
    for size, unit in ((months, "month"), (micros, "")):
        if size:
            length = _interval(abs(size)) if not unit else f"INTERVAL '{abs(size)} {unit}{'s' * (abs(size) != 1)}'"
            time = f"({time} {'+' if size > 0 else '-'} {length})"
    return time


def _interval(micros: int) -> str:
    return f"INTERVAL '{duration(micros)}'"


def duration(micros: int) -> str:
    """In the largest unit of which it is a whole number."""
    size, unit = next((size, unit) for size, unit in _UNITS if micros % size == 0)
    return f"{micros // size} {unit}"
