"""From a definition's text to its checked tree, in visible steps; every problem of every file in one run.

    name -> header -> parse (guard, sqlglot, places) -> queries, tables -> columns, types and sugar -> Definition
"""

import re
from collections.abc import Mapping
from pathlib import PurePath

from segmentation.compile import header, tree
from segmentation.compile.bind_query import Queries
from segmentation.compile.parse import FILE_BYTES_MAX, Unreadable, deep_recursion, parse
from segmentation.compile.problems import DefinitionErrors, Position, Problem, Refused
from segmentation.events.schema import Schema

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def bind(name: str, file: str, text: str, schema: Schema) -> tree.Definition:
    """The definition `name` in `file`; raises DefinitionErrors with all its problems."""
    definition, refused = _bind(name, file, text, schema)
    if definition is None:
        raise DefinitionErrors(Problem(file, each.at, each.reason, each.remedy) for each in refused)
    return definition


def bind_all(files: Mapping[str, str], schema: Schema) -> list[tree.Definition]:
    """The enabled definitions among `files` (path -> text, only *.sql count), by name.

    Raises DefinitionErrors with all problems of all files. Of a disabled definition only the name
    and the header are checked: switching a broken one off must help.
    """
    definitions: list[tree.Definition] = []
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for file in sorted(files):
        path = PurePath(file)
        if path.suffix.lower() != ".sql":
            continue
        taken = owners.setdefault(path.stem.lower(), file)
        if taken != file:
            reason = f"{taken} has the same name, {path.stem.lower()}."
            problems.append(Problem(file, Position(), reason, "Rename one of the two files."))
            continue
        definition, refused = _bind(path.stem, file, files[file], schema, only_enabled=True)
        problems.extend(Problem(file, each.at, each.reason, each.remedy) for each in refused)
        if definition is not None and definition.enabled:
            definitions.append(definition)
    if problems:
        raise DefinitionErrors(problems)
    return sorted(definitions, key=lambda definition: definition.name)


def _bind(
    name: str, file: str, text: str, schema: Schema, only_enabled: bool = False
) -> tuple[tree.Definition | None, list[Refused]]:
    """The definition, or None and its problems; with `only_enabled` a disabled one comes without its query bound."""
    problems = _name_problems(name)
    if len(text.encode(errors="replace")) > FILE_BYTES_MAX:
        reason = f"The file is larger than {FILE_BYTES_MAX // 1024} KiB."
        return None, [*problems, Refused(Position(), reason, "Split the definition.")]
    if "\0" in text:
        at = header.position(text, text.index("\0"))
        return None, [*problems, Refused(at, "The file holds a NUL character.", "Save it as plain UTF-8 text.")]
    split = header.split(text)
    problems.extend(split.problems)
    head = split.header
    query: tree.Relation = tree.Select(None, None)  # of a disabled definition
    if (head.enabled or not only_enabled) and split.start <= len(text):
        try:
            with deep_recursion():
                query = _query(text, split.start, schema, problems)
        except Unreadable as unreadable:
            # With a header that does not end there is no query to speak of.
            problems.extend(unreadable.problems if split.start < len(text) or not split.problems else [])
    if problems:
        return None, problems
    sql = text[split.start :].strip()
    definition = tree.Definition(
        name, file, sql, query, head.description, head.owner, tuple(head.tags), head.enabled
    )
    return definition, []


def _name_problems(name: str) -> list[Refused]:
    if _NAME.fullmatch(name):
        return []
    better = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:63]
    better = better if _NAME.fullmatch(better) else "my_segment"
    rule = "a-z, 0-9 and _, first a letter, at most 63"
    reason = f"The file's name is the segment's, and '{name}' is not a name: {rule}."
    return [Refused(Position(), reason, f"Rename it to {better}.sql.")]


def _query(text: str, start: int, schema: Schema, problems: list[Refused]) -> tree.Relation:
    return Queries(schema, problems).root(parse(text, start)) or tree.Select(None, None)
