"""From checked definitions to the plan: HAVING as gates over thresholds of shared cells.

The steps, in order: the group condition becomes two-valued (`forms.form`); AND and OR become
gates; each comparison becomes, by the first rule that fits, counts (min and max against a
constant), one threshold of a linear cell, or a formula. Equal parts get equal numbers.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, gcd, lcm

from segmentation.compile import tree
from segmentation.compile.anchors import over_all, own
from segmentation.compile.bind_segments import in_order
from segmentation.compile.cells import Cells, index_codes, terms_of
from segmentation.compile.forms import SWAPPED, TRUE, canonical, form, two_valued
from segmentation.compile.linear import Sum, linear
from segmentation.compile.lower_clock import by_clock
from segmentation.compile.lower_sets import Sets, Truth, negated
from segmentation.compile.lower_users import of_user_id, truth_of, user_terms, value_of, whoever, with_latest
from segmentation.compile.plan import Clock, Formula, Gate, Known, Met, Plan, Reach, Signal, Source, walk, walk_group
from segmentation.compile.problems import DefinitionErrors, Problem, Refused
from segmentation.compile.prune import prune
from segmentation.compile.rebuild import has_profile, mapped, of_profile, segments_in
from segmentation.compile.sources import add_anchors, source_of
from segmentation.compile.turning import cell_of, is_event_time, nows, of_cells
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.vector import evaluate
from segmentation.events.schema import Schema
from segmentation.types import BIGINT


def lower(definitions: Sequence[tree.Definition], schema: Schema) -> Plan:
    """The plan of a set of definitions; raises DefinitionErrors with all that cannot be exact."""
    plan = Plan(list(definitions))
    lowering = _Lowering(plan)
    problems = []
    numbers = {definition.name: number for number, definition in enumerate(definitions)}
    plan.roots = [None] * len(definitions)
    order, _ = in_order({definition.name: segments_in(definition.query) for definition in definitions})
    for name in order:
        definition = definitions[numbers[name]]
        try:
            plan.roots[numbers[name]] = lowering.root(definition.query)
            add_anchors(plan, lowering.cells)
        except Refused as refused:
            problems.append(Problem(definition.file, refused.at, str(refused), refused.remedy))
            lowering.cells.new.clear()
    if problems:
        raise DefinitionErrors(set(problems))  # the bands of one definition have their problems in common
    prune(plan)
    index_codes(plan)
    return plan


class _Lowering:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.cells = Cells(plan)
        self._signals: dict[Signal, int] = {}
        self._starts: list[bool] = []  # by signal: its value for a user without events
        self._where: tree.Expr | None = None
        self._everyone = False  # users without events count as well
        self._sets = Sets(plan, self)

    def root(self, query: tree.Relation) -> tuple[int, bool] | None:
        """The truth of a segment; None for one that nobody is ever in."""
        truth = self._sets.truth(query)
        assert truth is not True, "a user without events is nowhere"
        return None if truth is False else truth

    def plain(self, select: tree.Select) -> Truth:
        """Of a SELECT without queries in its conditions on rows: taken apart by what it asks the clock."""
        return by_clock(select, self)

    def everyone(self, query: tree.Everyone) -> Truth:
        return by_clock(query, self)

    def clockless(self, query: tree.Select | tree.Everyone) -> Truth:
        return self._of_events(query) if isinstance(query, tree.Select) else self._of_users(query)

    def _of_events(self, select: tree.Select) -> Truth:
        """A user whose events all fail WHERE is out: where HAVING holds of no events at all, the population is a
        condition of its own; else HAVING implies it."""
        if select.having is not None and any(isinstance(part, tree.Scalar) for part in own(select.having)):
            return self._beside_all(select.having, select.where)
        outer, self._where, self._everyone = (self._where, self._everyone), select.where, False
        having = TRUE if select.having is None else canonical(two_valued(select.having))
        condition = least = self._truth(having)
        if select.where is not None or has_profile(having):
            # A user without rows may be in another relation. One without events is in none but those of profiles.
            least = self._truth(mapped(having, whoever))
        if self._at_start(least):
            condition = self.gate(True, [condition, self._population()])
        self._where, self._everyone = outer
        return condition

    def _of_users(self, query: tree.Everyone) -> Truth:
        outer, self._where, self._everyone = (self._where, self._everyone), None, True
        condition = self._truth(TRUE if query.having is None else canonical(two_valued(over_all(query.having, None))))
        if self._at_start(condition):
            condition = self.gate(True, [condition, (self._signal(Met(), False), False)])
        self._where, self._everyone = outer
        return condition

    def _beside_all(self, having: tree.Expr, where: tree.Expr | None) -> Truth:
        """Of a HAVING with values over all events of the user, so that it may hold although no event passes WHERE."""
        outer, self._where, self._everyone = (self._where, self._everyone), None, False
        condition = self._truth(canonical(two_valued(over_all(having, where))))
        self._where = where
        population = self._population()
        self._where, self._everyone = outer
        return self.gate(True, [condition, population])

    def clock(self, condition: tree.Expr) -> Truth:
        return self._signal(Clock(condition), False), False

    def _population(self) -> Truth:
        if self._where is None:
            return self._signal(Known(), False), False
        return self._present(tree.Aggregate("count", None, None, BIGINT))

    def _at_start(self, truth: Truth) -> bool:
        return truth if isinstance(truth, bool) else self._starts[truth[0]] != truth[1]

    def _signal(self, signal: Signal, start: bool) -> int:
        if signal not in self._signals:
            self._signals[signal] = len(self._plan.signals)
            self._plan.signals.append(signal)
            self._starts.append(start)
        return self._signals[signal]

    def gate(self, all_: bool, inputs: Sequence[Truth]) -> Truth:
        """AND (all_) or OR of truths, folded where possible."""
        wanted: set[tuple[int, bool]] = set()
        for truth in inputs:
            if isinstance(truth, bool):
                if truth != all_:
                    return truth
                continue
            if self._is_gate(*truth, all_):  # AND inside AND is one AND; so is NOT OR inside AND
                wanted |= self._inputs(*truth)
            else:
                wanted.add(truth)
        if any((number, not negated) in wanted for number, negated in wanted):
            return not all_
        wanted -= {one for one in wanted if self._absorbed(*one, all_, wanted)}
        if not wanted:
            return all_
        if len(wanted) == 1:
            return wanted.pop()
        ordered = tuple(sorted(wanted))
        # OR of negations is the negation of AND: one shape for both spellings.
        if all(negated for _, negated in ordered):
            inner = self._build(not all_, tuple((number, False) for number, _ in ordered))
            return inner, True
        return self._build(all_, ordered), False

    def _absorbed(self, number: int, negated: bool, all_: bool, others: set[tuple[int, bool]]) -> bool:
        """a AND (a OR b) is a, and so is a OR (a AND b)."""
        for one in self._inputs(number, negated) if self._is_gate(number, negated, not all_) else ():
            if one in others or (self._is_gate(*one, all_) and self._inputs(*one) <= others):
                return True
        return False

    def _is_gate(self, number: int, negated: bool, all_: bool) -> bool:
        signal = self._plan.signals[number]
        return isinstance(signal, Gate) and (signal.all == all_) != negated

    def _inputs(self, number: int, negated: bool) -> set[tuple[int, bool]]:
        signal = self._plan.signals[number]
        return {(of, sign != negated) for of, sign in signal.inputs} if isinstance(signal, Gate) else set()

    def _build(self, all_: bool, ordered: tuple[tuple[int, bool], ...]) -> int:
        starts = [self._starts[number] != negated for number, negated in ordered]
        return self._signal(Gate(all_, ordered), all(starts) if all_ else any(starts))

    def _truth(self, node: tree.Expr) -> Truth:
        """`node` is two-valued (a result of `form`)."""
        if of_profile(node):
            found = truth_of(node, self.cells)
            return found if isinstance(found, bool) else (self._evaluated(*found), False)
        match node:
            case tree.Literal():
                return bool(node.value)
            case tree.And() | tree.Or():
                return self.gate(isinstance(node, tree.And), [self._truth(arg) for arg in node.args])
            case tree.Not(tree.IsTrue(atom)):
                return negated(self._truth(atom))
            case tree.Member(relation):
                return self._sets.truth(relation)
            case tree.Aggregate("bool_or" | "bool_and"):
                return self._some_or_all(node, true=True)
            case tree.Not(tree.Aggregate("bool_or" | "bool_and") as aggregate):
                return self._some_or_all(aggregate, true=False)
        if of_user_id(node):  # the same for all rows, so asked of any
            if self._everyone:
                return self._reach(Sum.of(self.cells.linear(user_terms(canonical(node))), 1), 1)
            return self._present(tree.Aggregate("count", None, node, BIGINT))
        match node:
            case tree.Not(tree.IsNull(arg)):
                return negated(self._null(arg, node))
            case tree.IsNull(arg):
                return self._null(arg, node)
            case tree.Compare():
                return self._compare(node)
        return self._formula(node)

    def _null(self, arg: tree.Expr, node: tree.Expr) -> Truth:
        match arg:
            case tree.Aggregate("count", _, _):
                return False
            case tree.Aggregate():
                return negated(self._present(arg))
        return self._formula(tree.IsNull(arg, at=node.at))

    def _present(self, aggregate: tree.Aggregate, also: tree.Expr | None = None) -> Truth:
        """At least one row with a non-NULL argument (for which `also` holds)."""
        terms = terms_of(self._where, aggregate, argument=False, also=also)
        return self._reach(Sum.of(self.cells.linear(terms), 1), 1) if terms else False

    def _some_or_all(self, aggregate: tree.Aggregate, true: bool) -> Truth:
        """bool_or or bool_and is true (false): there are rows, and some of them or none are of one truth."""
        arg = aggregate.arg
        assert arg is not None
        decisive = aggregate.function == "bool_or"  # one such row decides, whatever the others are
        rows = tree.Aggregate("count", None, aggregate.filter, BIGINT, at=aggregate.at)
        found = self._present(rows, also=arg if decisive else tree.Not(arg))
        if true == decisive:
            return found
        return self.gate(True, [self._present(aggregate), negated(found)])

    # comparisons

    def _compare(self, node: tree.Compare) -> Truth:
        op, left, right = node.op, node.left, node.right
        if not _grouped(left) and _grouped(right):
            op, left, right = SWAPPED[op], right, left
        for side, other, way in ((left, right, op), (right, left, SWAPPED[op])):
            if isinstance(side, tree.Coalesce) and len(side.args) > 1:
                return self._compare_coalesce(way, side, other, node)
        left = of_cells(left) if nows(right) else left
        extreme = isinstance(right, tree.Now | tree.Literal) or nows(right)
        if extreme and isinstance(left, tree.Aggregate) and left.function in ("min", "max"):
            return self._extreme(op, left, right)
        found = self._linear_compare(op, left, right)
        return found if found is not None else self._formula(tree.Compare(op, left, right, at=node.at))

    def _compare_coalesce(self, op: str, side: tree.Coalesce, other: tree.Expr, node: tree.Compare) -> Truth:
        """coalesce(a, b) op c is: a op c, or a is NULL and b op c. A sum with 0 for NULL is linear as it is."""
        found = self._linear_compare(op, side, other)
        if found is not None:
            return found
        first, rest = side.args[0], side.args[1:]
        remaining = rest[0] if len(rest) == 1 else tree.Coalesce(rest, side.type, at=side.at)
        absent = self._truth(form(tree.IsNull(first)))
        instead = self._truth(form(tree.Compare(op, remaining, other, at=node.at)))
        return self.gate(
            False, [self._compare(tree.Compare(op, first, other, at=node.at)), self.gate(True, [absent, instead])]
        )

    def _extreme(self, op: str, aggregate: tree.Aggregate, bound: tree.Expr) -> Truth:
        """min or max against a constant, by counting the rows on either side of it."""
        assert aggregate.arg is not None
        if isinstance(bound, tree.Literal) and bound.value is None:
            return False
        by_time = is_event_time(aggregate.arg) or cell_of(aggregate.arg) is not None
        if nows(bound) and not by_time:
            raise Refused(
                aggregate.at, f"{aggregate.function} of something other than event_time is compared with now().",
                "Only event_time slides with now(); compare other times with a fixed TIMESTAMPTZ.",
            )
        if aggregate.function == "min":  # min(x) < c is max(-x) > -c
            outward = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
        else:
            outward = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
        beyond, at_least = (">", ">=") if aggregate.function == "max" else ("<", "<=")

        def some(comparison: str) -> Truth:
            assert aggregate.arg is not None
            row: tree.Expr = (
                tree.Age(comparison, -bound.offset) if isinstance(bound, tree.Now)
                else tree.Compare(comparison, aggregate.arg, bound)
            )
            return self._present(aggregate, also=row)

        present = self._present(aggregate)
        if op in ("=", "<>"):
            equal = self.gate(True, [some(at_least), negated(some(beyond))])
            return equal if op == "=" else self.gate(True, [present, negated(equal)])
        match outward[op]:
            case ">":
                return some(beyond)
            case ">=":
                return some(at_least)
            case "<":
                return self.gate(True, [present, negated(some(at_least))])
        return self.gate(True, [present, negated(some(beyond))])

    def _linear_compare(self, op: str, left: tree.Expr, right: tree.Expr) -> Truth | None:
        """left op right as thresholds of one linear cell; None where it is not linear."""
        if not (left.type.exact and right.type.exact):
            return None
        a, b = linear(left, self._where, self.cells), linear(right, self._where, self.cells)
        if a is None or b is None:
            return None
        if a.divisor is not None or b.divisor is not None:
            if a.divisor is None:
                op, a, b = SWAPPED[op], b, a
            if b.null:
                return False
            if b.divisor is not None or b.weights:
                return None
            # x / n op c with n a count: n >= 1 and x - c n op 0.
            assert a.divisor is not None
            a, b = a.over_count(b.constant), Sum()
        difference = a.minus(b)
        guards = [self._reach(Sum.of(cell, 1), 1) for cell in sorted(difference.present)]
        if difference.null:
            return False
        return self.gate(True, [*guards, self._threshold(op, difference)])

    def _threshold(self, op: str, value: Sum) -> Truth:
        """value op 0."""
        match op:
            case ">=":
                return self._reach(value, 0)
            case ">":
                return self._reach(value, 0, strictly=True)
            case "<":
                return negated(self._reach(value, 0))
            case "<=":
                return negated(self._reach(value, 0, strictly=True))
        equal = self.gate(True, [self._reach(value, 0), negated(self._reach(value, 0, strictly=True))])
        return equal if op == "=" else negated(equal)

    def _reach(self, value: Sum, threshold: int, strictly: bool = False) -> Truth:
        """value >= threshold (> where strictly), the value being a combination of cells.

        The combination is divided by the greatest common divisor of its weights and given a
        positive first weight, so that all multiples of a comparison share one cell."""
        constant = Fraction(threshold) - value.constant
        weights = {cell: weight for cell, weight in value.weights.items() if weight}
        if not weights:
            return constant < 0 if strictly else constant <= 0
        denominators, numerators = [w.denominator for w in weights.values()], [w.numerator for w in weights.values()]
        factor = Fraction(lcm(*denominators), gcd(*numerators))
        ordered = sorted(weights, key=lambda cell: repr(self._plan.linears[cell]))
        if weights[ordered[0]] < 0:
            factor = -factor
        least = constant * factor
        if len(ordered) == 1:
            cell = ordered[0]
        else:
            cell = self.cells.combined([(number, int(weights[number] * factor)) for number in ordered])
        if factor > 0:  # cell >= least, or cell > least
            bound = floor(least) + 1 if strictly else ceil(least)
            return self._at_least(cell, bound)
        # cell <= least, or cell < least
        bound = ceil(least) if strictly else floor(least) + 1
        return negated(self._at_least(cell, bound))

    def _at_least(self, cell: int, bound: int) -> Truth:
        if bound <= 0 and self.cells.is_count(cell):
            return True
        return self._signal(Reach(cell, bound), bound <= 0), False

    # formulas

    def _formula(self, node: tree.Expr) -> Truth:
        """Any other condition: evaluated whenever one of its cells changes."""
        node = canonical(node)
        sources: dict[tree.Aggregate, Source] = {}
        columns: dict[tree.UserColumn, tree.Aggregate] = {}
        for part in walk_group(node):
            if isinstance(part, tree.UserColumn) and part not in columns:
                columns[part], source = value_of(part, self.cells)
                sources[columns[part]] = source
            if isinstance(part, tree.Now):
                raise Refused(
                    part.at, "now() stands in an expression whose instants of change are not known beforehand.",
                    "Compare max(event_time) or min(event_time) with now() directly, or put the window into FILTER.",
                )
            if isinstance(part, tree.Aggregate) and part not in sources:
                sources[part] = source_of(part, self._where, self.cells)
        if not sources:
            return _constant_truth(node)
        return self._evaluated(with_latest(node, columns), tuple(sources.items())), False

    def _evaluated(self, node: tree.Expr, sources: tuple[tuple[tree.Aggregate, Source], ...]) -> int:
        return self._signal(Formula(node, sources), _constant_truth(node))


def _grouped(node: tree.Expr) -> bool:
    return any(isinstance(part, tree.Aggregate) for part in walk(node))


def _constant_truth(node: tree.Expr) -> bool:
    """The condition for a user without events: counts are 0, other aggregates NULL."""
    return bool(evaluate(node, NoEvents()).truth(1)[0])
