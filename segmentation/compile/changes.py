"""What a new set of definitions changes against the deployed one: in meaning, in spelling only, or not at all.

Both sets are lowered into one plan, in which equal truths have one number. So a segment means what it meant
exactly where the old and the new definition come to the same signal; a definition that reads another has that
one's truth inside, and so changes with it. Two definitions that are not found to be the same may still have the
same members: then the comparison of members says that nobody enters and nobody leaves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from segmentation.compile.bind import bind_all, bind_each, read_each
from segmentation.compile.bind_file import Draft
from segmentation.compile.depends import dependencies
from segmentation.compile.lower import lower
from segmentation.compile.schema_changes import SchemaChange, schema_changes
from segmentation.compile.tree import Definition
from segmentation.events.schema import Schema

_HEADER = ("description", "owner", "tags", "guard")
_WAS = "was "


class Kind(StrEnum):
    """ADDED and ENABLED: there are members from now on; REMOVED and DISABLED: none any more. THROUGH: its own text
    means what it meant, but something that it reads does not."""

    ADDED = "added"
    REMOVED = "removed"
    ENABLED = "enabled"
    DISABLED = "disabled"
    MEANING = "changed in meaning"
    THROUGH = "changed through what it reads"
    SPELLING = "changed only in spelling"
    HEADER = "changed only in its header"
    SAME = "unchanged"


#: Kinds with which nobody's membership can change.
HARMLESS = (Kind.SPELLING, Kind.HEADER, Kind.SAME)


@dataclass(frozen=True, slots=True)
class Side:
    """A set of definitions: path -> text, of which only *.sql count."""

    files: Mapping[str, str]
    schema: Schema


@dataclass(frozen=True, slots=True)
class Change:
    """One definition, which has several segments where it has bands.

    before, after: its segments, () where it is not there or disabled; affected: those whose members may differ,
    of both. header: the keys of the header that differ. through: what it reads directly and has changed, for
    THROUGH and where its own text changed as well: definitions, and columns as `events.amount`. readers: the
    definitions, old or new, that read it, directly or not; so they change with it.
    """

    name: str
    kind: Kind
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    affected: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """definitions: all that there are on either side, by name."""

    definitions: list[Change]
    schema: list[SchemaChange]

    @property
    def affected(self) -> list[str]:
        """The segments whose members may differ."""
        return sorted(segment for change in self.definitions for segment in change.affected)

    @property
    def harmless(self) -> bool:
        """Can nobody's membership differ, now or later?"""
        return all(change.kind in HARMLESS for change in self.definitions) and not self.schema


def compare(before: Side, after: Side) -> Changes:
    """Raises DefinitionErrors with the problems of `before`, or else of `after`."""
    old, new = _Set(before), _Set(after)
    same = _same(old, new)
    schema = schema_changes(before.schema, after.schema)
    changes: dict[str, Change] = {}
    changed_columns = {change.column for change in schema}
    for name in _in_order(old, new):
        changes[name] = _change(name, old, new, same, changes, changed_columns)
    readers = _readers(old, new)
    columns = [replace(one, readers=tuple(sorted(_reading(one.column, old, new, readers)))) for one in schema]
    definitions = [replace(changes[name], readers=tuple(sorted(readers[name]))) for name in sorted(changes)]
    return Changes(definitions, columns)


class _Set:
    """A side, bound: its drafts by name, and the segments of those that are enabled."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.definitions = bind_all(side.files, side.schema)
        self.drafts, _ = read_each(side.files)
        self.reads = {name: set(draft.reads()) for name, draft in self.drafts.items() if draft.header.enabled}

    def enabled(self, name: str) -> bool:
        return name in self.reads

    def segments(self, name: str) -> tuple[str, ...]:
        return tuple(one.name for one in self.definitions if of_file(one.name) == name)

    def columns(self, name: str) -> set[str]:
        """That the definition's own text names."""
        return set(dependencies(self.drafts[name].sql).columns) if self.enabled(name) else set()


def of_file(segment: str) -> str:
    """The definition of a segment: itself, or the one that has the band."""
    return segment.partition("/")[0]


def _same(old: _Set, new: _Set) -> set[str]:
    """The segments of both that have the same truth."""
    return _same_roots(old.definitions, new.definitions, new.side.schema)


def _same_roots(old: Iterable[Definition], new: Iterable[Definition], schema: Schema) -> set[str]:
    plan = lower([*new, *(replace(one, name=_WAS + one.name) for one in old)], schema)
    roots = dict(zip(plan.names, plan.roots))
    return {name for name in roots if _WAS + name in roots and roots[name] == roots[_WAS + name]}


def _in_order(old: _Set, new: _Set) -> list[str]:
    """Every definition after those that it reads, on either side; what is on a circle of both, at the end."""
    waiting = {name: _read_by(name, old, new) for name in sorted(old.drafts.keys() | new.drafts.keys())}
    ordered: list[str] = []
    while waiting:
        ready = [name for name, reads in waiting.items() if not reads & waiting.keys()] or list(waiting)
        ordered += ready
        for name in ready:
            del waiting[name]
    return ordered


def _read_by(name: str, *sides: _Set) -> set[str]:
    return set().union(*(side.reads.get(name, set()) for side in sides))


def _change(
    name: str, old: _Set, new: _Set, same: set[str], changes: Mapping[str, Change], columns: set[str]
) -> Change:
    before, after = old.segments(name), new.segments(name)
    was, is_ = old.drafts.get(name), new.drafts.get(name)
    if not old.enabled(name) or not new.enabled(name):
        affected = tuple(sorted({*before, *after}))
        header = () if was is None or is_ is None else _header(was, is_)
        return Change(name, _coming_or_going(name, old, new, header), before, after, affected, header)
    assert was is not None and is_ is not None
    affected = tuple(sorted({*before, *after} - (same & {*before} & {*after})))
    header = _header(was, is_)
    through = _through(name, old, new, changes, columns)
    if not affected:
        kind = Kind.SPELLING if was.sql != is_.sql else Kind.HEADER if header else Kind.SAME
        return Change(name, kind, before, after, (), header)
    kind = Kind.THROUGH if through and (was.sql == is_.sql or _only_spelling(name, old, new)) else Kind.MEANING
    return Change(name, kind, before, after, affected, header, through)


def _through(name: str, old: _Set, new: _Set, changes: Mapping[str, Change], columns: set[str]) -> tuple[str, ...]:
    segments = sorted(each for each in _read_by(name, old, new) if each in changes and changes[each].affected)
    named = old.columns(name) | new.columns(name)
    return (*segments, *sorted(column for column in columns if column.partition(".")[2] in named))


def _coming_or_going(name: str, old: _Set, new: _Set, header: tuple[str, ...]) -> Kind:
    if new.enabled(name):
        return Kind.ENABLED if name in old.drafts else Kind.ADDED
    if old.enabled(name):
        return Kind.DISABLED if name in new.drafts else Kind.REMOVED
    if name not in old.drafts or name not in new.drafts:
        return Kind.ADDED if name in new.drafts else Kind.REMOVED
    if old.drafts[name].sql != new.drafts[name].sql:
        return Kind.SPELLING
    return Kind.HEADER if header else Kind.SAME


def _header(was: Draft, is_: Draft) -> tuple[str, ...]:
    return tuple(key for key in _HEADER if getattr(was.header, key) != getattr(is_.header, key))


def _only_spelling(name: str, old: _Set, new: _Set) -> bool:
    """Would the new text, over all that it reads as it was, mean what the old one meant?"""
    files = {draft.file: old.side.files[draft.file] for draft in old.drafts.values() if draft.name != name}
    files[new.drafts[name].file] = new.side.files[new.drafts[name].file]
    definitions, _ = bind_each(files, old.side.schema)
    now = [one for one in definitions if of_file(one.name) == name]
    was = [one for one in old.definitions if of_file(one.name) == name]
    if {one.name for one in now} != {one.name for one in was}:
        return False
    return len(_same_roots(was, now, old.side.schema)) == len(was)


def _readers(old: _Set, new: _Set) -> dict[str, set[str]]:
    """By definition, who reads it on either side, directly or not."""
    names = old.drafts.keys() | new.drafts.keys()
    direct: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for each in _read_by(name, old, new):
            direct.setdefault(each, set()).add(name)
    return {name: _reached(name, direct) for name in names}


def _reached(name: str, direct: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for reader in direct.get(todo.pop(), set()) - found:
            found.add(reader)
            todo.append(reader)
    return found - {name}


def _reading(column: str, old: _Set, new: _Set, readers: Mapping[str, set[str]]) -> set[str]:
    section, _, name = column.partition(".")
    direct = {
        each for side in (old, new) for each in side.reads
        if name in side.columns(each) and (section != "users" or "users" in side.drafts[each].sql.lower())
    }  # fmt: skip
    return direct.union(*(readers[each] for each in direct))
