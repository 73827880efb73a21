"""Segments as tables: which may be read, and in which order they are bound."""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from segmentation.compile import tree
from segmentation.compile.problems import Position, Refused
from segmentation.compile.suggest import did_you_mean, listed


@dataclass(slots=True)
class Segments:
    """What `segments.NAME` may stand for. bound: so far; names: of all enabled ones; disabled: names of the others."""

    names: Iterable[str] = ()
    disabled: Iterable[str] = ()
    bound: dict[str, tree.Definition] = field(default_factory=dict)

    def bands(self, file: str, at: Position) -> list[tuple[str, tree.Segment]]:
        """The bands of a definition; none where it has none, or is not there."""
        names = [name for name in self.bound if name.startswith(f"{file}/")]
        return [(name.partition("/")[2], self.relation(name, at)) for name in names]

    def relation(self, name: str, at: Position) -> tree.Segment:
        """Raises Refused for a segment that is not there, or has problems itself."""
        if name in self.bound:
            definition = self.bound[name]
            meaning = hashlib.sha256(definition.meaning.encode()).hexdigest()
            return tree.Segment(name, meaning, definition.query, at=at)
        file, _, band = name.partition("/")
        bands = [each.partition("/")[2] for each in self.bound if each.startswith(f"{file}/")]
        if band and bands:
            remedy = did_you_mean(band, bands, f"There are {listed(bands)}.")
            raise Refused(at, f"The segment {file} has no band {band}.", remedy)
        if band and file in self.bound:
            raise Refused(at, f"The segment {file} has no bands.", f"Write segments.{file}.")
        name = file
        if name in self.disabled:
            raise Refused(at, f"The segment {name} is disabled.", "Enable it in its header, or do not read it.")
        if name in self.names:
            raise refused_itself(name, at)
        known = listed(self.names)
        otherwise = f"There are {known}." if known else "There are no others."
        raise Refused(at, f"There is no segment {name}.", did_you_mean(name, self.names, otherwise))


def refused_itself(name: str, at: Position) -> Refused:
    return Refused(at, f"The segment {name} has problems of its own.", "Correct those first.")


def in_order(reads: Mapping[str, Iterable[str]]) -> tuple[list[str], list[str]]:
    """The names (keys) so that what one reads comes before it; and those on circles, or behind one."""
    waiting = {name: {other for other in others if other in reads} for name, others in reads.items()}
    readers: dict[str, list[str]] = {name: [] for name in reads}
    for name, others in waiting.items():
        for other in others:
            readers[other].append(name)
    ready = deque(sorted(name for name, others in waiting.items() if not others))
    ordered: list[str] = []
    while ready:
        name = ready.popleft()
        ordered.append(name)
        for reader in readers[name]:
            waiting[reader].discard(name)
            if not waiting[reader]:
                ready.append(reader)
    done = set(ordered)
    return ordered, sorted(name for name in reads if name not in done)


def circle(name: str, reads: Mapping[str, Iterable[str]]) -> list[str] | None:
    """The shortest way from the segment back to itself: name, ..., name. None: there is none."""
    came_from: dict[str, str] = {}
    todo = deque([name])
    while todo:
        here = todo.popleft()
        for other in sorted(reads.get(here, ())):
            if other == name:
                path = [here]
                while path[-1] != name:
                    path.append(came_from[path[-1]])
                return [*reversed(path), name]
            if other not in came_from:
                came_from[other] = here
                todo.append(other)
    return None
