"""Expressions over columns: three-valued, exact, many rows at once.

`evaluate` is the fast twin of `segmentation.reference_eval`; what it works on is in `vectors`.
"""

import operator
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.evaluate import local_times
from segmentation.evaluate.mathematics import calculated
from segmentation.evaluate.vectors import Array, Vector, aligned, both, integers, plus, times, to_double
from segmentation.state.dictionary import Dictionary
from segmentation.text import like, simple_lower
from segmentation.types import Kind, Type

_INTEGERS = (Kind.BIGINT, Kind.NUMERIC, Kind.RATIO, Kind.TIMESTAMPTZ, Kind.TIMESTAMP, Kind.INTERVAL)
_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}


class Environment(Protocol):
    """Where the leaves of an expression come from."""

    def column(self, column: tree.Column) -> Vector: ...
    def aggregate(self, aggregate: tree.Aggregate) -> Vector: ...


def evaluate(node: tree.Expr, env: Environment) -> Vector:
    match node:
        case tree.Column():
            return env.column(node)
        case tree.Aggregate():
            return env.aggregate(node)
        case tree.Literal():
            return constant(node.value, node.type)
        case tree.Arithmetic():
            return _arithmetic(node.op, evaluate(node.left, env), evaluate(node.right, env))
        case tree.Compare():
            return compare(node.op, evaluate(node.left, env), evaluate(node.right, env))
        case tree.AtZone() | tree.Trunc() | tree.Shift() | tree.Part():
            return local_times.worked_out(node, evaluate(node.arg, env))
        case tree.Lower():
            return _lower(evaluate(node.arg, env))
        case tree.Function():
            return calculated(node.name, [evaluate(arg, env) for arg in node.args])
        case tree.Coalesce():
            return _coalesce([evaluate(arg, env) for arg in node.args])
        case tree.IsNull():
            arg = evaluate(node.arg, env)
            return Vector(Kind.BOOLEAN, np.zeros(arg.data.shape, np.bool_) if arg.valid is None else ~arg.valid)
        case tree.IsTrue():
            arg = evaluate(node.arg, env)
            return Vector(Kind.BOOLEAN, arg.data if arg.valid is None else arg.data & arg.valid)
        case tree.Like():
            return _like(node, evaluate(node.arg, env))
        case tree.In():
            arg = evaluate(node.arg, env)
            return _any([compare("=", arg, evaluate(value, env)) for value in node.values])
        case tree.And():
            return _negated(_any([_negated(evaluate(arg, env)) for arg in node.args]))
        case tree.Or():
            return _any([evaluate(arg, env) for arg in node.args])
        case tree.Not():
            return _negated(evaluate(node.arg, env))
    raise AssertionError(f"{type(node).__name__} is never evaluated over columns")


def constant(value: tree.Value, type_: Type) -> Vector:
    kind = type_.kind
    if value is None:
        return Vector(Kind.NULL, np.zeros(1, np.int64), np.zeros(1, np.bool_))
    if isinstance(value, str):
        return Vector(Kind.TEXT, np.zeros(1, np.int32), texts=Dictionary([value]))
    if isinstance(value, bool):
        return Vector(Kind.BOOLEAN, np.array([value]))
    if isinstance(value, float):
        return Vector(Kind.DOUBLE, np.array([value + 0.0]))
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        number = int("".join(map(str, digits))) * (-1 if sign else 1) * 10 ** max(exponent, 0)
        return Vector(Kind.NUMERIC, integers([number]), scale=max(-exponent, 0))
    return Vector(kind, integers([value]))


def compare(op: str, a: Vector, b: Vector) -> Vector:
    valid = both(a.valid, b.valid)
    if Kind.NULL in (a.kind, b.kind):
        return Vector(Kind.BOOLEAN, np.zeros(1, np.bool_), np.zeros(1, np.bool_))
    if a.kind is Kind.TEXT:
        return Vector(Kind.BOOLEAN, _compare_texts(op, a, b), valid)
    if a.kind is Kind.BOOLEAN:
        return Vector(Kind.BOOLEAN, _OPS[op](a.data.astype(np.int8), b.data.astype(np.int8)), valid)
    if Kind.DOUBLE in (a.kind, b.kind):
        return Vector(Kind.BOOLEAN, _OPS[op](to_double(a).data, to_double(b).data), valid)
    left, right, _ = aligned(a, b)
    if b.over is not None:
        left = times(left, b.over)
    if a.over is not None:
        right = times(right, a.over)
    return Vector(Kind.BOOLEAN, _OPS[op](left, right).astype(np.bool_), valid)


def _compare_texts(op: str, a: Vector, b: Vector) -> NDArray[np.bool_]:
    assert a.texts is not None and b.texts is not None
    function = _OPS[op]
    if len(b.data) == 1 and len(b.texts) == 1:
        other = b.texts.values[0]
        held = a.texts.derived((op, other), lambda text: int(function(text, other)), a.data)
        return np.equal(held, 1)
    if len(a.data) == 1 and len(a.texts) == 1:
        other = a.texts.values[0]
        held = b.texts.derived((op, other, "right"), lambda text: int(function(other, text)), b.data)
        return np.equal(held, 1)
    if a.texts is b.texts and op in ("=", "<>"):
        return np.asarray(function(a.data, b.data), np.bool_)
    left, right = np.broadcast_arrays(strings(a), strings(b))
    return np.fromiter((function(x, y) for x, y in zip(left.tolist(), right.tolist())), np.bool_, left.size)


def strings(v: Vector) -> NDArray[np.object_]:
    """Texts as Python strings ("" where NULL)."""
    assert v.texts is not None
    values = v.texts.values
    return np.array([values[code] if code >= 0 else "" for code in v.data.tolist()], object)


def text_vector(values: list[str], valid: NDArray[np.bool_] | None = None) -> Vector:
    texts = Dictionary()
    return Vector(Kind.TEXT, texts.codes(values), valid, texts=texts)


def _arithmetic(op: str, a: Vector, b: Vector) -> Vector:
    valid = both(a.valid, b.valid)
    if Kind.NULL in (a.kind, b.kind):
        return Vector(Kind.NULL, np.zeros(1, np.int64), np.zeros(1, np.bool_))
    if Kind.DOUBLE in (a.kind, b.kind):
        return _double_arithmetic(op, to_double(a).data, to_double(b).data, valid)
    kind = Kind.RATIO if op == "/" or a.over is not None or b.over is not None else _integer_kind(a.kind, b.kind, op)
    if op == "*":
        over = _product(a.over, b.over)
        return Vector(kind, times(a.data, b.data), valid, a.scale + b.scale, over)
    if op == "/":
        # (a / 10^s / p) / (b / 10^t / q)  =  a q 10^t / (b p 10^s); the sign moves to the numerator.
        zero = b.data == 0
        under = np.where(zero, 1, b.data)
        top = times(a.data, 10**b.scale)
        top = top if b.over is None else times(top, b.over)
        bottom = under if a.over is None else times(under, a.over)
        bottom = times(bottom, 10**a.scale)
        negative = bottom < 0
        top = times(top, np.where(negative, -1, 1))
        bottom = times(bottom, np.where(negative, -1, 1))
        return Vector(Kind.RATIO, top, both(valid, ~np.asarray(zero, np.bool_)), 0, bottom)
    left, right, scale = aligned(a, b)
    if b.over is not None:
        left = times(left, b.over)
    if a.over is not None:
        right = times(right, a.over)
    return Vector(kind, plus(left, right, 1 if op == "+" else -1), valid, scale, _product(a.over, b.over))


def _integer_kind(a: Kind, b: Kind, op: str) -> Kind:
    if Kind.TIMESTAMPTZ in (a, b):
        return Kind.INTERVAL if a is b and op == "-" else Kind.TIMESTAMPTZ
    return Kind.NUMERIC if Kind.NUMERIC in (a, b) else a


def _product(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return times(a, b)


def _double_arithmetic(op: str, a: Array, b: Array, valid: NDArray[np.bool_] | None) -> Vector:
    with np.errstate(all="ignore"):
        if op == "/":
            zero = b == 0
            return Vector(Kind.DOUBLE, a / np.where(zero, 1.0, b), both(valid, ~zero))
        result = a + b if op == "+" else a - b if op == "-" else a * b
    return Vector(Kind.DOUBLE, result + 0.0, valid)


def _lower(v: Vector) -> Vector:
    if v.texts is None:
        return v
    texts = v.texts
    if len(texts) == 1 and len(v.data) == 1:
        return replace(v, texts=Dictionary([simple_lower(texts.values[0])]), data=np.zeros(1, np.int32))
    return replace(v, data=texts.derived("lower", lambda text: texts.code(simple_lower(text)), v.data))


def _coalesce(args: list[Vector]) -> Vector:
    args = [arg for arg in args if arg.kind is not Kind.NULL] or args[:1]
    n = max(len(arg.data) for arg in args)
    kinds = {arg.kind for arg in args}
    if kinds == {Kind.TEXT}:
        return _coalesce_texts(args, n)
    if Kind.DOUBLE in kinds:
        args = [to_double(arg) for arg in args]
    out = args[0]
    for arg in args[1:]:
        if out.valid is None:
            break
        out = _first_of(out, arg, n)
    return _at_scale(out, max(arg.scale for arg in args))


def _at_scale(v: Vector, scale: int) -> Vector:
    """The scale of the result's type, whether or not a row of the batch needed the argument that has it."""
    return v if v.scale == scale else replace(v, data=times(v.data, 10 ** (scale - v.scale)), scale=scale)


def _first_of(a: Vector, b: Vector, n: int) -> Vector:
    use = np.broadcast_to(a.valid if a.valid is not None else np.ones(1, np.bool_), n)
    valid = None if b.valid is None else use | b.valid
    if a.kind not in _INTEGERS:
        return Vector(a.kind, np.where(use, a.data, b.data), valid)
    left, right, scale = aligned(a, b)
    over = None
    if a.over is not None or b.over is not None:
        one = np.ones(1, np.int64)
        over = np.where(use, one if a.over is None else a.over, one if b.over is None else b.over)
    kind = Kind.RATIO if over is not None else _integer_kind(a.kind, b.kind, "+") if a.kind is not b.kind else a.kind
    return Vector(kind, np.where(use, left, right), valid, scale, over)


def _coalesce_texts(args: list[Vector], n: int) -> Vector:
    out = np.full(n, "", object)
    valid = np.zeros(n, np.bool_)
    for arg in args:
        here = ~valid & np.broadcast_to(arg.valid if arg.valid is not None else np.ones(1, np.bool_), n)
        out = np.where(here, np.broadcast_to(strings(arg), n), out)
        valid |= here
    return text_vector(out.tolist(), valid)


def _like(node: tree.Like, v: Vector) -> Vector:
    if v.texts is None:
        return Vector(Kind.BOOLEAN, np.zeros(1, np.bool_), np.zeros(1, np.bool_))
    matches = like(node.pattern, node.escape, node.insensitive)
    key = ("like", node.pattern, node.escape, node.insensitive)
    return Vector(Kind.BOOLEAN, v.texts.derived(key, lambda text: int(matches(text)), v.data) == 1, v.valid)


def _negated(v: Vector) -> Vector:
    return Vector(Kind.BOOLEAN, ~v.data.astype(np.bool_), v.valid)


def _any(args: list[Vector]) -> Vector:
    """OR: true where one is true, else NULL where one is NULL."""
    true = np.zeros(1, np.bool_)
    null = np.zeros(1, np.bool_)
    for arg in args:
        data = arg.data.astype(np.bool_)
        true = true | (data if arg.valid is None else data & arg.valid)
        if arg.valid is not None:
            null = null | ~arg.valid
    return Vector(Kind.BOOLEAN, true, true | ~null)
