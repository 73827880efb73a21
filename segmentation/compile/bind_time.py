"""Times as sums: terms, so many times now(), and microseconds. So every way of writing a window is one.

    event_time + INTERVAL '7 days' > now()
    now() - event_time < INTERVAL '7 days'      all become Age('>', 7 days)
    event_time > now() - INTERVAL '7 days'

Moving terms over the comparison is exact: instants and intervals of fixed length are integers here
and in DuckDB. Terms never cancel, since each may be NULL; now() and constants do.
"""

from dataclasses import dataclass, field

from segmentation.compile import tree
from segmentation.compile.bind_literals import LONGEST, too_long
from segmentation.compile.problems import Position, Refused
from segmentation.types import BOOLEAN, INTERVAL, TIMESTAMPTZ, Kind, Type

FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WINDOW = "Write event_time > now() - INTERVAL '7 days'."


@dataclass(frozen=True, slots=True)
class Span:
    """plus - minus + now * now() + micros; an instant if `instants` is 1, an interval if it is 0."""

    plus: tuple[tree.Expr, ...]
    minus: tuple[tree.Expr, ...]
    now: int
    micros: int
    instants: int
    at: Position = field(compare=False)

    @property
    def type(self) -> Type:
        return TIMESTAMPTZ if self.instants else INTERVAL


Operand = tree.Expr | Span


def is_time(operand: Operand) -> bool:
    return operand.type.kind in (Kind.TIMESTAMPTZ, Kind.INTERVAL)


def has_now(operand: Operand) -> bool:
    return isinstance(operand, Span) and operand.now != 0


def now(at: Position) -> Span:
    return Span((), (), 1, 0, 1, at)


def span(operand: Operand) -> Span:
    if isinstance(operand, Span):
        return operand
    instants = 1 if operand.type.kind is Kind.TIMESTAMPTZ else 0
    if isinstance(operand, tree.Literal) and isinstance(operand.value, int):
        return Span((), (), 0, operand.value, instants, operand.at)
    return Span((operand,), (), 0, 0, instants, operand.at)


def negated(operand: Operand, at: Position) -> Span:
    """Minus an interval."""
    one = span(operand)
    if one.instants:
        raise Refused(at, "A time cannot be negated.", "Subtract two times, or an interval from a time.")
    return Span(one.minus, one.plus, -one.now, -one.micros, 0, at)


def combined(op: str, left: Operand, right: Operand, at: Position, op_at: Position) -> Span:
    """`left + right` or `left - right` of times and intervals."""
    a, b = span(left), span(right)
    if (op == "+" and a.instants + b.instants > 1) or (op == "-" and a.instants < b.instants):
        wrong = "Two times cannot be added." if op == "+" else "A time cannot be subtracted from an interval."
        raise Refused(op_at, wrong, "Subtract two times, or add an interval to a time.")
    if op == "+":
        return Span(
            a.plus + b.plus, a.minus + b.minus, a.now + b.now, a.micros + b.micros, a.instants + b.instants, at
        )
    return Span(a.plus + b.minus, a.minus + b.plus, a.now - b.now, a.micros - b.micros, a.instants - b.instants, at)


def multiplied(operand: Operand, factor: int, at: Position) -> Span:
    """A constant interval a whole number of times."""
    one = span(operand)
    if one.instants or one.plus or one.minus or one.now:
        raise Refused(at, "Only a constant interval can be multiplied.", "Write the interval in full.")
    if abs(one.micros * factor) > LONGEST:
        raise too_long(at)
    return Span((), (), 0, one.micros * factor, 0, at)


def settled(operand: Operand) -> tree.Expr:
    """As a tree, without now()."""
    if not isinstance(operand, Span):
        return operand
    if operand.now:
        raise Refused(
            operand.at,
            "now() is supported only in a comparison with a time.",
            "Write event_time > now() - INTERVAL '7 days', or max(event_time) < now() - INTERVAL '30 days'.",
        )
    plus, minus = list(operand.plus), list(operand.minus)
    rest, at = operand.micros, operand.at
    balance = sum(_instants(each) for each in plus) - sum(_instants(each) for each in minus)
    if operand.instants != balance:  # one of the times is a constant
        constant = tree.Literal(rest if operand.instants > balance else -rest, TIMESTAMPTZ, at=at)
        (plus if operand.instants > balance else minus).append(constant)
        rest = 0
    if len(plus) > 1 or len(minus) > 1:
        raise Refused(at, "The expression has too many times in it.", "Subtract two times, or add an interval to one.")
    if not plus:
        plus, rest = [tree.Literal(rest, INTERVAL, at=at)], 0
    result = plus[0]
    if minus:
        result = tree.Arithmetic("-", result, minus[0], operand.type, at=at)
    if rest:
        offset = tree.Literal(abs(rest), INTERVAL, at=at)
        result = tree.Arithmetic("+" if rest > 0 else "-", result, offset, operand.type, at=at)
    return result


def _instants(node: tree.Expr) -> int:
    return 1 if node.type.kind is Kind.TIMESTAMPTZ else 0


def compared(op: str, left: Operand, right: Operand, rows: bool, at: Position, op_at: Position) -> tree.Expr:
    """`left op right` for two times, or two intervals; `rows`: below WHERE or FILTER, where now() means an age."""
    a, b = span(left), span(right)
    plus, minus = a.plus + b.minus, a.minus + b.plus
    times, rest = a.now - b.now, a.micros - b.micros
    if (found := _with_boundary(op, plus, minus, times, rest, at, op_at)) is not None:
        return found
    if times:
        return _with_now(op, plus, minus, times, rest, rows, at, op_at)
    if not plus and not minus:
        return tree.Literal(_holds(op, rest), BOOLEAN, at=at)
    if not plus:
        plus, minus, rest, op = minus, (), -rest, FLIPPED[op]
    if len(plus) == 1 and not minus:
        return tree.Compare(op, plus[0], tree.Literal(-rest, plus[0].type, at=b.at), at=at)
    if len(plus) == len(minus) == 1 and plus[0].type == minus[0].type and not rest:
        return tree.Compare(op, plus[0], minus[0], at=at)
    if len(plus) == len(minus) == 1 and plus[0].type == minus[0].type == TIMESTAMPTZ:
        difference = tree.Arithmetic("-", plus[0], minus[0], INTERVAL, at=a.at)
        return tree.Compare(op, difference, tree.Literal(-rest, INTERVAL, at=b.at), at=at)
    raise Refused(
        op_at,
        "The comparison has too many times in it.",
        "Compare one time, or the difference of two, with a constant or with now().",
    )


def _with_boundary(
    op: str, plus: tuple[tree.Expr, ...], minus: tuple[tree.Expr, ...], times: int, rest: int, at: Position,
    op_at: Position,
) -> tree.Expr | None:  # fmt: skip
    """Where one of the times is worked out from now() by the calendar, or there is now() alone: the comparison
    with what depends on now() on the right, moved by `rest`. None where it is none of these."""
    if times and not plus and not minus and abs(times) == 1:
        return tree.Compare(op if times > 0 else FLIPPED[op], tree.Now(0, at=op_at),
                            tree.Literal(-rest * times, TIMESTAMPTZ, at=at), at=at)  # fmt: skip
    if not any(map(_has_now, (*plus, *minus))):
        return None
    if times and abs(times) == 1:
        here = tree.Now(0, at=op_at)
        plus, minus = ((here, *plus), minus) if times > 0 else (plus, (here, *minus))
    elif times:
        plus = (*plus, *plus)  # too many
    if len(plus) == 1 and not minus and plus[0].type == TIMESTAMPTZ:
        return tree.Compare(op, plus[0], tree.Literal(-rest, TIMESTAMPTZ, at=at), at=at)
    if len(minus) == 1 and not plus and minus[0].type == TIMESTAMPTZ:
        return tree.Compare(FLIPPED[op], minus[0], tree.Literal(rest, TIMESTAMPTZ, at=at), at=at)
    if len(plus) != 1 or len(minus) != 1 or plus[0].type != TIMESTAMPTZ or minus[0].type != TIMESTAMPTZ:
        raise Refused(
            op_at, "The comparison has too many times in it.",
            "Compare event_time, max(event_time) or now() with one boundary of the calendar.",
        )
    (one,), (other,) = plus, minus
    if not _has_now(other) or isinstance(other, tree.Now):
        op, one, other, rest = FLIPPED[op], other, one, -rest
    if isinstance(other, tree.Now):
        other, rest = tree.Now(-rest, at=other.at), 0
    if rest:  # one + rest op other
        offset = tree.Literal(abs(rest), INTERVAL, at=at)
        other = tree.Arithmetic("-" if rest > 0 else "+", other, offset, TIMESTAMPTZ, at=other.at)
    return tree.Compare(op, one, other, at=at)


def _has_now(node: tree.Expr) -> bool:
    """Whether now() is in an expression of the calendar."""
    match node:
        case tree.Now():
            return True
        case tree.AtZone() | tree.Trunc() | tree.Shift():
            return _has_now(node.arg)
        case tree.Arithmetic():
            return _has_now(node.left) or _has_now(node.right)
    return False


def _with_now(
    op: str,
    plus: tuple[tree.Expr, ...],
    minus: tuple[tree.Expr, ...],
    times: int,
    rest: int,
    rows: bool,
    at: Position,
    op_at: Position,
) -> tree.Expr:
    terms = (*plus, *minus)
    if len(terms) != 1 or abs(times) != 1 or bool(plus) == (times > 0) or terms[0].type != TIMESTAMPTZ:
        raise Refused(op_at, "now() is compared with more than one time.", _WINDOW)
    if abs(rest) > 10 * LONGEST:  # no two instants are that far apart
        raise too_long(op_at)
    (term,) = terms
    if minus:  # now() + rest op term
        op, rest = FLIPPED[op], -rest
    # From here it is: term op now() - rest
    if isinstance(term, tree.UserColumn):
        raise Refused(
            op_at, f"now() is compared with {term.name}, a time in the user's profile: only times of events slide.",
            f"Compare {term.name} with a fixed TIMESTAMPTZ, or send what happened then as an event.",
        )
    if not rows:
        return tree.Compare(op, term, tree.Now(-rest, at=op_at), at=at)
    if not isinstance(term, tree.Column) or term.name != "event_time":
        raise Refused(
            op_at,
            "In a condition on events now() is supported only with event_time: any other time would change "
            "the answer for an event at moments that are not its age.",
            f"{_WINDOW[:-1]}, or compare this column with a fixed TIMESTAMPTZ.",
        )
    return _age(op, rest, at, op_at)


def _age(op: str, micros: int, at: Position, op_at: Position) -> tree.Expr:
    """An event is known from its own time on, so a comparison with the future has one answer only."""
    if micros < 0 or (micros == 0 and op == ">"):
        holds = op in ("<", "<=", "<>")
        raise Refused(
            op_at,
            f"This is {'always' if holds else 'never'} true: an event counts only from its own time on.",
            "Leave it out." if holds else _WINDOW,
        )
    return tree.Age(op, micros, at=at)


def _holds(op: str, difference: int) -> bool:
    return {
        "=": difference == 0,
        "<>": difference != 0,
        "<": difference < 0,
        "<=": difference <= 0,
        ">": difference > 0,
        ">=": difference >= 0,
    }[op]
