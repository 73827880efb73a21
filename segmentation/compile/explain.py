"""What definitions cost and have in common: the features that each reads, in words.

A feature is what is kept per user and shared by all definitions that read it: a running count or sum, the
best value so far, the different values, or rows while they are in a window.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd
from typing import assert_never

from segmentation.compile import tree, written, written_edges
from segmentation.compile.anchors import scalars_in
from segmentation.compile.plan import (
    Bag,
    Cell,
    Clock,
    Distinct,
    Formula,
    Gate,
    Known,
    LatestSource,
    Linear,
    Met,
    Plan,
    ProfileTerm,
    Reach,
    Register,
    Sources,
    Term,
    Values,
    below,
)
from segmentation.compile.sameness import same_as
from segmentation.types import FOREVER, Kind

#: Bytes for a user who has one, added up from the fields that are kept for it; texts are kept once per shard.
_NUMBER, _BEST, _VALUE, _ROW, _KEPT = 8, 24, 72, 200, 50


@dataclass(frozen=True, slots=True)
class Feature:
    """bytes: per user who has it, of each value or row where `each` says of what; heavy: why one should care."""

    text: str
    bytes: int
    each: str = ""
    heavy: str = ""
    windows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """shared: for each feature, the other definitions that read it. bytes: of what has a fixed size, per user."""

    name: str
    file: str
    features: tuple[Feature, ...]
    shared: tuple[tuple[str, ...], ...]
    same_as: str
    nobody: bool

    @property
    def windows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(window for feature in self.features for window in feature.windows))

    @property
    def bytes(self) -> int:
        return sum(feature.bytes for feature in self.features if not feature.each)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{feature.text}: {feature.heavy}" for feature in self.features if feature.heavy)


def explain(plan: Plan) -> list[Explained]:
    """One for each definition (each band), in the plan's order."""
    cells = [cells_of(plan, root) for root in plan.roots]
    readers: dict[Cell, list[str]] = {}
    for name, found in zip(plan.names, cells):
        for cell in found:
            readers.setdefault(cell, []).append(name)
    return [
        Explained(
            definition.name, definition.file, tuple(map(feature, found)),
            tuple(tuple(name for name in readers[cell] if name != definition.name) for cell in found),
            same, root is None,
        )
        for definition, found, same, root in zip(plan.segments, cells, same_as(plan), plan.roots)
    ]  # fmt: skip


def cells_of(plan: Plan, root: tuple[int, bool] | None) -> list[Cell]:
    """What a definition reads, in the order of its conditions."""
    found: dict[Cell, None] = {}
    seen: set[int] = set()
    todo = [] if root is None else [root[0]]
    while todo:
        number = todo.pop()
        if number in seen:
            continue
        seen.add(number)
        signal = plan.signals[number]
        match signal:
            case Known() | Met() | Clock():
                pass
            case Reach(cell):
                found.update(dict.fromkeys(_with_values(plan.linears[cell])))
            case Formula(_, sources):
                found.update(dict.fromkeys(_of_sources(plan, sources)))
            case Gate(_, inputs):
                todo.extend(of for of, _ in reversed(inputs))
            case _:
                assert_never(signal)
    waiting = list(found)
    while waiting:  # the values of the user beside which the rows of a cell stand
        terms = waiting.pop(0).terms
        for scalar in dict.fromkeys(scalar for term in terms for scalar in scalars_in(term.beside)):
            more = [cell for cell in _of_sources(plan, plan.anchors[scalar].sources) if cell not in found]
            found.update(dict.fromkeys(more))
            waiting += more
    return list(found)


def looks_back_for_ever(plan: Plan) -> set[str]:
    """The segments whose truth may depend on events of any age, or on who was ever seen."""
    return {
        name for name, root in zip(plan.names, plan.roots)
        if root is not None and (
            any(term.end == FOREVER for cell in cells_of(plan, root) for term in cell.terms)
            or any(isinstance(plan.signals[number], Known | Met) for number in below(plan, [root[0]]))
        )
    }  # fmt: skip


def _of_sources(plan: Plan, sources: Sources) -> Iterator[Cell]:
    for _, source in sources:
        for cell in (source.linear, source.present):
            if cell >= 0:
                yield from _with_values(plan.linears[cell])
        if source.register >= 0:
            yield plan.registers[source.register]
        if isinstance(source, LatestSource):
            yield plan.registers[source.null]
        if source.bag >= 0:
            yield plan.bags[source.bag]


def _with_values(cell: Linear) -> Iterator[Cell]:
    yield from dict.fromkeys(values.of for values in cell.values)
    yield cell


def feature(cell: Cell) -> Feature:
    if any(term.beside is not None for term in cell.terms):
        what = "keeps every row that may count, to look at it again when the value beside it moves"
        heavy = f"{what}, while in the window" if _leaves(cell.terms) else f"{what}, for ever"
        return replace(_alone(cell), bytes=_KEPT, each="row that may count", heavy=heavy)
    return _alone(cell)


def _alone(cell: Cell) -> Feature:
    """Of a cell as if its rows stood beside nothing."""
    match cell:
        case Linear(terms, values):
            return Feature(_sum([*map(_added, terms), *map(_different, values)]), _NUMBER, windows=_windows(terms))
        case Distinct(terms, type):
            text = f"the different values of {_argument(terms)}{_filter(terms)}"
            bounded = type.kind is Kind.BOOLEAN or _leaves(terms)
            heavy = "keeps every different value that a user ever has" if not bounded else ""
            return Feature(text, _VALUE, "different value", heavy, _windows(terms))
        case Register(_, (ProfileTerm(), *_) as terms):
            return Feature(f"{written.bare(_argument(terms))}, of the latest profile", _BEST)
        case Register(function, terms):
            return Feature(f"{_call(function, terms)}{_filter(terms)}", _BEST, windows=_windows(terms))
        case Bag(function, terms):
            text = f"{_call(function, terms)}{_filter(terms)}"
            if function == "mode" and not _leaves(terms):
                heavy = "keeps every different value that a user ever has"
                return Feature(text, _ROW, "different value", heavy, _windows(terms))
            if not _leaves(terms) and all(term.start == 0 for term in terms):
                return Feature(text, _ROW)
            rows = "every row" if function == "mode" else "rows that may still become the value"
            return Feature(text, _ROW, "row in the window", f"keeps {rows} while in the window", _windows(terms))
    assert_never(cell)


def _leaves(terms: tuple[Term, ...]) -> bool:
    return all(term.end != FOREVER for term in terms)


def _call(function: str, terms: tuple[Term, ...]) -> str:
    return f"{function}({_argument(terms)}{', event_time' if function.startswith('arg_') else ''})"


def _argument(terms: tuple[Term, ...]) -> str:
    arg = terms[0].arg if terms else None
    return "*" if arg is None else written.expression(arg)


#: What a part of a sum weighs, and what it is.
_Part = tuple[int, str]


def _added(term: Term) -> _Part:
    if term.arg is None:
        what = "count(versions of the profile)" if isinstance(term, ProfileTerm) else "count(*)"
        return term.coefficient, f"{what}{_filter((term,))}"
    # The running number is in units of the argument's last digit.
    return term.coefficient * 10**term.arg.type.scale, f"sum({_argument((term,))}){_filter((term,))}"


def _different(values: Values) -> _Part:
    scale = values.of.type.scale if values.summed else 0
    text = f"{'sum' if values.summed else 'count'}(DISTINCT {_argument(values.of.terms)}){_filter(values.of.terms)}"
    return values.coefficient * 10**scale, text


def _sum(parts: list[_Part]) -> str:
    common = gcd(*(weight for weight, _ in parts)) or 1
    text = ""
    for weight, what in parts:
        size = abs(weight) // common
        sign = ("-" if not text else " - ") if weight < 0 else ("" if not text else " + ")
        text += f"{sign}{'' if size == 1 else f'{size} * '}{what}"
    return text


def _filter(terms: tuple[Term, ...]) -> str:
    """WHERE and the window; several where the terms differ."""
    texts = []
    for term in terms:
        conditions = [
            f"{name} = {written.text(values[0])}" if len(values) == 1
            else f"{name} IN ({', '.join(map(written.text, values))})" if values else "FALSE"
            for name, values in term.codes
        ]
        rest = [
            part for each in (term.residual, term.beside) if each is not None
            for part in (each.args if isinstance(each, tree.And) else (each,))
        ]
        alone = not conditions and len(rest) == 1
        conditions += [_condition(part, alone) for part in rest]
        window = _window(term)
        texts.append((f" WHERE {' AND '.join(conditions)}" if conditions else "") + (f", {window}" if window else ""))
    return " or".join(dict.fromkeys(texts))


def _condition(node: tree.Expr, alone: bool) -> str:
    text = written.expression(node)
    return text if isinstance(node, tree.Or) and not alone else written.bare(text)


def _window(term: Term) -> str:
    """Between which edges an event counts."""
    return " and ".join(dict.fromkeys([*written_edges.start(term.start), *written_edges.end(term.end)]))


def _windows(terms: tuple[Term, ...]) -> tuple[str, ...]:
    """The ages, and the boundaries of the calendar, at which events are visited again: one cursor each."""
    edges = {edge for term in terms for edge in (term.start, term.end)}
    ages = sorted(edge for edge in edges if isinstance(edge, int))
    others = sorted((edge for edge in edges if not isinstance(edge, int)), key=repr)
    return tuple(dict.fromkeys(text for edge in (*ages, *others) for text in written_edges.windows(edge)))


def totals(explained: list[Explained]) -> dict[str, int]:
    """definitions, features (each counted once), shared ones, windows, bytes per user."""
    times = Counter(feature for one in explained for feature in one.features)
    return {
        "definitions": len(explained),
        "features": len(times),
        "shared": sum(readers > 1 for readers in times.values()),
        "windows": len({window for one in explained for window in one.windows}),
        "bytes_per_user": sum(feature.bytes for feature in times if not feature.each),
    }
