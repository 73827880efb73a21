"""A segment's condition as a tree of parts: which must all hold, or one of them, down to single conditions as SQL.

It is the tree that the engine evaluates, so a count of users for each part says where the others are lost. NOT has
been pushed down to the conditions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from segmentation.compile import written_signals
from segmentation.compile.plan import Gate, Plan
from segmentation.compile.rebuild import segments_in


@dataclass(frozen=True, slots=True)
class Part:
    """truth: its signal, and whether that must not hold. all: whether all of `parts` must hold or one of them; None
    for a single condition. text: of that, as SQL. segments: those that are exactly this part.
    label: of a group that stands in several places; in all but the first it is `again`, without its parts.
    """

    truth: tuple[int, bool]
    text: str
    all: bool | None = None
    parts: tuple["Part", ...] = ()
    segments: tuple[str, ...] = ()
    label: str = ""
    again: bool = False

    def walk(self) -> Iterator["Part"]:
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True, slots=True)
class Condition:
    """Of one segment. root None: its conditions exclude each other, so that nobody is ever in it.
    reads: the segments that its query names, with their truths, None for one that nobody is ever in."""

    segment: str
    root: Part | None
    reads: tuple[tuple[str, tuple[int, bool] | None], ...]

    @property
    def signals(self) -> list[int]:
        """Of which it must be known for how many users they hold."""
        found = [] if self.root is None else [part.truth[0] for part in self.root.walk()]
        return sorted({*found, *(truth[0] for _, truth in self.reads if truth is not None)})


def condition(plan: Plan, segment: int) -> Condition:
    """Of the segment of this number in the plan."""
    definition, root = plan.segments[segment], plan.roots[segment]
    numbers = {name: number for number, name in enumerate(plan.names)}
    named = sorted(segments_in(definition.query))
    reads = tuple((name, plan.roots[numbers[name]]) for name in named if name in numbers)
    return Condition(definition.name, None if root is None else _Tree(plan, definition.name, root).part(root), reads)


class _Tree:
    def __init__(self, plan: Plan, name: str, root: tuple[int, bool]) -> None:
        self._plan = plan
        self._names: dict[tuple[int, bool], list[str]] = {}
        for other, truth in zip(plan.names, plan.roots):
            if truth is not None and other != name:
                self._names.setdefault(truth, []).append(other)
        self._labels = {truth: f"#{number}" for number, truth in enumerate(self._repeated(root), 1)}
        self._written: set[tuple[int, bool]] = set()

    def _inputs(self, truth: tuple[int, bool]) -> list[tuple[int, bool]]:
        signal = self._plan.signals[truth[0]]
        return [(of, other != truth[1]) for of, other in signal.inputs] if isinstance(signal, Gate) else []

    def _repeated(self, root: tuple[int, bool]) -> list[tuple[int, bool]]:
        """The groups that stand in several places, in the order of the first."""
        seen: dict[tuple[int, bool], int] = {}
        todo = [root]
        while todo:
            truth = todo.pop()
            if not (inputs := self._inputs(truth)):
                continue
            seen[truth] = seen.get(truth, 0) + 1
            if seen[truth] == 1:
                todo.extend(reversed(inputs))
        return [truth for truth, times in seen.items() if times > 1]

    def part(self, truth: tuple[int, bool]) -> Part:
        signal, negated = self._plan.signals[truth[0]], truth[1]
        segments = tuple(self._names.get(truth, ()))
        if not isinstance(signal, Gate):
            return Part(truth, written_signals.signal(self._plan, signal, negated), segments=segments)
        label, again = self._labels.get(truth, ""), truth in self._written
        self._written.add(truth)
        parts = () if again else tuple(map(self.part, self._inputs(truth)))
        all_ = signal.all != negated
        return Part(truth, "all of" if all_ else "one of", all_, parts, segments, label, again)
