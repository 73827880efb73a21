"""Two-valued forms of three-valued conditions.

SQL asks whether a condition IS TRUE. `form` turns a condition into an equivalent two-valued one in
which NOT stands only on atoms, so that AND and OR can become gates (group conditions) or be split
by age (row conditions). Atoms are read as "IS TRUE": `Not(a)` is "a is false", `Not(IsTrue(a))`
is "a is not true".
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from segmentation.compile import tree
from segmentation.compile.bind_shape import USER_ID
from segmentation.compile.bind_types import is_number, literal_number
from segmentation.compile.plan import walk
from segmentation.compile.problems import Refused
from segmentation.compile.turning import is_turn
from segmentation.types import BOOLEAN, Kind

TRUE = tree.Literal(True, BOOLEAN)
FALSE = tree.Literal(False, BOOLEAN)
OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
#: How many atoms a condition may come to; each condition compared with a condition doubles its parts.
_SIZE_MAX = 20_000
#: What stands on the right of a comparison with something else.
_LATER = (tree.Scalar, tree.Literal)
SWAPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def two_valued(node: tree.Expr) -> tree.Expr:
    """`form` of a whole condition, refused where it would grow beyond all use."""
    if _size(node) > _SIZE_MAX:
        raise Refused(
            node.at, "Conditions are compared with conditions, one inside the other, too many times.",
            "Split the definition, or write the cases with AND and OR.",
        )
    return form(node)


def form(node: tree.Expr, *, true: bool = True, complement: bool = False) -> tree.Expr:
    """`node IS TRUE` (true) or `node IS FALSE` (not true), or the complement of that, two-valued."""
    match node:
        case tree.And() | tree.Or():
            parts = [form(arg, true=true, complement=complement) for arg in node.args]
            # "a AND b" is false where one is false, and not true where one is not true.
            return conjunction(parts) if isinstance(node, tree.And) == (true != complement) else disjunction(parts)
        case tree.Not():
            return form(node.arg, true=not true, complement=complement)
        case tree.IsTrue():
            # Never NULL: "is false" is "is not true".
            return form(node.arg, true=True, complement=complement == true)
        case tree.Compare() if node.left.type.kind is Kind.BOOLEAN and _turns(node):
            return _equal((node.left, node.right), (node.op == "=") == true, complement)
        case tree.Coalesce() if node.type.kind is Kind.BOOLEAN and _turns(node):
            return _first(node.args, true, complement)
        case tree.In() if node.arg.type.kind is Kind.BOOLEAN and _turns(node):
            one_of = tree.Or(tuple(tree.Compare("=", node.arg, value, at=node.at) for value in node.values), at=node.at)
            return form(one_of, true=true, complement=complement)
        case tree.IsNull(tree.Not(arg)):
            return form(tree.IsNull(arg, at=node.at), true=true, complement=complement)
        case tree.IsNull() if node.arg.type.kind is Kind.BOOLEAN and _compound(node.arg):
            unknown = [form(node.arg, true=True, complement=True), form(node.arg, true=False, complement=True)]
            known = [form(node.arg, true=True), form(node.arg, true=False)]
            return conjunction(unknown) if true != complement else disjunction(known)
        case tree.Literal():
            holds = node.value is not None and bool(node.value) == true
            return TRUE if holds != complement else FALSE
        case tree.Age():
            return node if true != complement else tree.Age(OPPOSITE[node.op], node.micros, at=node.at)
        case tree.Compare() if is_turn(node):
            return _turned(node, true != complement)
        case tree.Compare() if not complement:
            return node if true else tree.Compare(OPPOSITE[node.op], node.left, node.right, at=node.at)
        case tree.IsNull():
            return node if true != complement else tree.Not(node, at=node.at)
        case tree.Member():
            return node if true != complement else tree.Not(tree.IsTrue(node, at=node.at), at=node.at)
    atom = node if true else form(node, true=False) if isinstance(node, tree.Compare) else tree.Not(node, at=node.at)
    return tree.Not(tree.IsTrue(atom, at=node.at), at=node.at) if complement else atom


def _turned(node: tree.Compare, holds: bool) -> tree.Expr:
    """A comparison with a boundary of the calendar, whose sides are never NULL, or its opposite; each with an order."""
    op = node.op if holds else OPPOSITE[node.op]
    if op not in ("=", "<>"):
        return replace(node, op=op)
    parts: list[tree.Expr] = [replace(node, op=each) for each in (("<=", ">=") if op == "=" else ("<", ">"))]
    return conjunction(parts) if op == "=" else disjunction(parts)


def _turns(node: tree.Expr) -> bool:
    """Whether the truth depends on time, aggregates or profiles, so that its parts must be seen one by one."""
    turning = tree.Aggregate | tree.Now | tree.Age | tree.UserColumn | tree.Scalar
    return any(isinstance(part, turning) for part in walk(node))


def _equal(sides: tuple[tree.Expr, tree.Expr], same: bool, complement: bool) -> tree.Expr:
    """Both sides true or both false; unless `same`, one true and the other false. Or the complement of that."""
    inner, outer = (disjunction, conjunction) if complement else (conjunction, disjunction)
    left, right = sides
    return outer([
        inner([form(left, true=truth, complement=complement), form(right, true=truth == same, complement=complement)])
        for truth in (True, False)
    ])


def _first(args: tuple[tree.Expr, ...], true: bool, complement: bool) -> tree.Expr:
    """The first argument that is not NULL is true (false), or the complement of that."""
    inner, outer = (disjunction, conjunction) if complement else (conjunction, disjunction)
    arg, rest = args[0], args[1:]
    here = form(arg, true=true, complement=complement)
    if not rest:
        return here
    unknown = form(tree.IsNull(arg, at=arg.at), complement=complement)
    return outer([here, inner([unknown, _first(rest, true, complement)])])


def _compound(node: tree.Expr) -> bool:
    if isinstance(node, tree.Compare | tree.Coalesce | tree.In):
        return _turns(node)
    return isinstance(node, tree.And | tree.Or | tree.Not | tree.IsTrue | tree.Age | tree.IsNull)


def _size(node: tree.Expr) -> int:
    """How many atoms `form` makes of a condition, at most."""
    match node:
        case tree.And() | tree.Or():
            return sum(map(_size, node.args))
        case tree.Not() | tree.IsTrue():
            return _size(node.arg)
        case tree.IsNull() if node.arg.type.kind is Kind.BOOLEAN:
            return 2 * _size(node.arg)
        case tree.Compare() if node.left.type.kind is Kind.BOOLEAN:
            return 2 * (_size(node.left) + _size(node.right))
        case tree.Coalesce() if node.type.kind is Kind.BOOLEAN:
            return 3 * sum(map(_size, node.args))
        case tree.In() if node.arg.type.kind is Kind.BOOLEAN:
            return 2 * len(node.values) * (_size(node.arg) + 1)
    return 1


def conjunction(parts: list[tree.Expr]) -> tree.Expr:
    return _joined(parts, tree.And, TRUE, FALSE)


def disjunction(parts: list[tree.Expr]) -> tree.Expr:
    return _joined(parts, tree.Or, FALSE, TRUE)


def _joined(
    parts: list[tree.Expr], join: type[tree.And] | type[tree.Or], empty: tree.Expr, absorbing: tree.Expr
) -> tree.Expr:
    """Flat, without repeats, in one order for all spellings."""
    found: dict[str, tree.Expr] = {}
    for part in parts:
        for piece in part.args if isinstance(part, join) else (part,):
            if piece == absorbing:
                return absorbing
            if piece != empty:
                found.setdefault(repr(piece), piece)
    if not found:
        return empty
    ordered = tuple(found[key] for key in sorted(found))
    return ordered[0] if len(ordered) == 1 else join(ordered)


def canonical(node: tree.Expr) -> tree.Expr:
    """One spelling for all expressions that say the same, so that equal parts are found to be equal.

    What is exchanged gives the same value for every row, NULL included: the sides of a comparison, the operands of
    + and *, the order of AND, OR and of a list; NOT is worked into comparisons, and 5.0 is 5 where it is compared.
    What a FILTER asks becomes two-valued. Relations are not entered.
    """
    if isinstance(node, tree.Aggregate):
        return _aggregate(node)
    if isinstance(node, tree.Literal | tree.Column | tree.Member):
        return node
    result: tree.Expr = _shaped(_inside(node))
    return result


def _inside(node: Any) -> Any:
    """With all parts in their one spelling."""
    changed = {}
    for name in node.__dataclass_fields__:
        part = getattr(node, name)
        if isinstance(part, tree.Node):
            new: Any = canonical(part)  # type: ignore[arg-type]
        elif isinstance(part, tuple) and part and all(isinstance(each, tree.Node) for each in part):
            new = tuple(map(canonical, part))
        else:
            continue
        changed[name] = new
    return replace(node, **changed) if changed else node


def _aggregate(node: tree.Aggregate) -> tree.Aggregate:
    arg = None if node.arg is None else canonical(node.arg)
    filter = None if node.filter is None else canonical(two_valued(node.filter))
    return replace(node, arg=arg, filter=None if filter == TRUE else filter)


def _shaped(node: tree.Expr) -> tree.Expr:
    match node:
        case tree.And(args):
            return conjunction(list(args))
        case tree.Or(args):
            return disjunction(list(args))
        case tree.Not(tree.Not(arg)):
            return arg
        case tree.Not(tree.Compare() as arg):
            return replace(arg, op=OPPOSITE[arg.op])
        case tree.Not(tree.And(args)):
            return disjunction([_shaped(tree.Not(arg, at=arg.at)) for arg in args])
        case tree.Not(tree.Or(args)):
            return conjunction([_shaped(tree.Not(arg, at=arg.at)) for arg in args])
        case tree.IsNull(tree.Not(arg)):
            return _shaped(replace(node, arg=arg))
        case tree.IsNull(tree.Compare() as arg):  # NULL where a side is, whatever is asked
            return replace(node, arg=replace(arg, op="="))
        case tree.Compare(op, left, right):
            left, right = _short(left), _short(right)
            if _rank(left) > _rank(right):
                op, left, right = SWAPPED[op], right, left
            if left == right:  # true, or false, or NULL where it is NULL
                if isinstance(left, tree.Column) and left.name == USER_ID:
                    return TRUE if op in ("=", "<=", ">=") else FALSE
                op = "=" if op in ("=", "<=", ">=") else "<>"
            return _length_of_time(replace(node, op=op, left=left, right=right))
        case tree.In(arg, values):
            different = {repr(value): value for value in map(_short_literal, values)}
            listed = tuple(different[key] for key in sorted(different))
            if len(listed) == 1:
                return tree.Compare("=", arg, listed[0], at=node.at)
            return replace(node, values=listed)
        case tree.Arithmetic("+" | "*", left, right) if is_number(node.type):
            return node if _rank(left) <= _rank(right) else replace(node, left=right, right=left)
    return node


def _length_of_time(node: tree.Compare) -> tree.Compare:
    """a - b < 1 day is b - a > -1 day."""
    match node:
        case tree.Compare(op, tree.Arithmetic("-", a, b) as left, tree.Literal(int() as micros) as right):
            if left.type.kind is Kind.INTERVAL:
                other = replace(left, left=b, right=a)
                turned = replace(node, op=SWAPPED[op], left=other, right=replace(right, value=-micros))
                return min(node, turned, key=repr)
    return node


def _rank(side: tree.Expr) -> tuple[int, str]:
    """Constants are on the right, values of the user beside rows before them."""
    return next((place for place, kind in enumerate(_LATER, 1) if isinstance(side, kind)), 0), repr(side)


def _short(side: tree.Expr) -> tree.Expr:
    return _short_literal(side) if isinstance(side, tree.Literal) else side


def _short_literal(literal: tree.Literal) -> tree.Literal:
    """5.0 as 5: digits that say nothing are no difference where numbers are compared."""
    if literal.type.kind is not Kind.NUMERIC or not isinstance(literal.value, Decimal):
        return literal
    text = format(literal.value, "f")
    return literal_number(Decimal(text.rstrip("0").rstrip(".") if "." in text else text), literal.at)
