"""From definitions' texts to their checked trees, in visible steps; every problem of every file in one run.

    file (name, header, parse) -> order of segments that read others -> queries, tables -> columns, types and sugar
"""

from collections.abc import Mapping
from pathlib import PurePath

from segmentation.compile import tree
from segmentation.compile.bind_file import Draft, read
from segmentation.compile.bind_query import Queries
from segmentation.compile.bind_segments import Segments, circle, in_order
from segmentation.compile.parse import deep_recursion
from segmentation.compile.problems import DefinitionErrors, Position, Problem, Refused
from segmentation.events.schema import Schema


def bind(name: str, file: str, text: str, schema: Schema) -> tree.Definition:
    """The definition `name` in `file` (of its bands the first), which reads no other segment.

    Raises DefinitionErrors with all its problems.
    """
    draft = read(name, file, text)
    definitions = _definitions(draft, schema, Segments())
    if not definitions:
        raise DefinitionErrors(_problems(draft))
    return definitions[0]


def bind_all(files: Mapping[str, str], schema: Schema) -> list[tree.Definition]:
    """The enabled definitions among `files` (path -> text, only *.sql count), by name.

    Raises DefinitionErrors with all problems of all files. Of a disabled definition only the name
    and the header are checked: switching a broken one off must help.
    """
    definitions, problems = bind_each(files, schema)
    if problems:
        raise DefinitionErrors(problems)
    return definitions


def bind_each(files: Mapping[str, str], schema: Schema) -> tuple[list[tree.Definition], list[Problem]]:
    """Like `bind_all`: the definitions that have no problem, and the problems of the others."""
    drafts, problems = read_each(files)
    enabled = {name: draft for name, draft in drafts.items() if draft.header.enabled}
    segments = Segments(enabled, drafts.keys() - enabled.keys())
    reads = {name: draft.reads() for name, draft in enabled.items()}
    order, waiting = in_order(reads)
    for name in [*order, *waiting]:
        path_back = circle(name, reads) if name in waiting else None
        if path_back is not None:
            reason = f"The segment reads itself: {' reads '.join(path_back)}."
            enabled[name].problems.append(Refused(reads[name][path_back[1]], reason, "Take one of these out."))
            continue
        for definition in _definitions(enabled[name], schema, segments):
            segments.bound[definition.name] = definition
    for draft in drafts.values():
        problems.extend(_problems(draft))
    # One place may be read in two ways, and be wrong in both.
    return [segments.bound[name] for name in sorted(segments.bound)], sorted(set(problems))


def read_each(files: Mapping[str, str]) -> tuple[dict[str, Draft], list[Problem]]:
    """By name in lower case, each definition up to its parsed query, with problems of its own; and two of one name."""
    problems: list[Problem] = []
    drafts: dict[str, Draft] = {}
    for file in sorted(files):
        path = PurePath(file)
        if path.suffix.lower() != ".sql":
            continue
        name = path.stem.lower()
        if name in drafts:
            reason = f"{drafts[name].file} has the same name, {name}."
            problems.append(Problem(file, Position(), reason, "Rename one of the two files."))
            continue
        drafts[name] = read(path.stem, file, files[file], only_enabled=True)
    return drafts, problems


def _definitions(draft: Draft, schema: Schema, segments: Segments) -> list[tree.Definition]:
    """One, or one per band; none where the draft has problems, which are then in it."""
    found: dict[str, tree.Relation] = {}
    if draft.query is not None:
        with deep_recursion():
            found = Queries(schema, draft.problems, segments).root(draft.query)
    if draft.problems:
        return []
    head = draft.header
    return [
        tree.Definition(
            f"{draft.name}/{band}" if band else draft.name, draft.file, draft.sql, query,
            head.description, head.owner, tuple(head.tags), head.enabled, head.guard,
        )
        for band, query in found.items()
    ]  # fmt: skip


def _problems(draft: Draft) -> list[Problem]:
    return [Problem(draft.file, each.at, each.reason, each.remedy) for each in draft.problems]
