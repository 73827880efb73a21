"""One file, up to its parsed query: name, header, text.

    name -> header -> parse (guard, sqlglot, places)
"""

import re
from dataclasses import dataclass, field

from sqlglot import exp

from segmentation.compile import header
from segmentation.compile.bind_shape import folded, place_of
from segmentation.compile.header import Header
from segmentation.compile.parse import FILE_BYTES_MAX, Unreadable, deep_recursion, parse
from segmentation.compile.problems import Position, Refused

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(slots=True)
class Draft:
    """A definition that is not bound yet; without a query where it could not be read. `problems` grows."""

    name: str
    file: str
    sql: str
    header: Header
    query: exp.Query | None
    problems: list[Refused] = field(default_factory=list)

    def reads(self) -> dict[str, Position]:
        """The definitions of the segments that it names as tables, with the first place of each."""
        found: dict[str, Position] = {}
        if self.query is not None:
            tables = [table for table in self.query.find_all(exp.Table) if len(table.parts) == 2]
            for table in sorted(tables, key=place_of):
                schema, name = map(folded, table.parts)
                if schema == "segments":
                    found.setdefault(name.partition("/")[0], place_of(table))
        return found


def read(name: str, file: str, text: str, only_enabled: bool = False) -> Draft:
    """only_enabled: of a disabled definition only name and header are checked, so that disabling a broken one helps."""
    problems = _name_problems(name)
    if len(text.encode(errors="replace")) > FILE_BYTES_MAX:
        reason = f"The file is larger than {FILE_BYTES_MAX // 1024} KiB."
        return Draft(name, file, "", Header(), None, [*problems, Refused(Position(), reason, "Split the definition.")])
    if "\0" in text:
        at = header.position(text, text.index("\0"))
        problems.append(Refused(at, "The file holds a NUL character.", "Save it as plain UTF-8 text."))
        return Draft(name, file, "", Header(), None, problems)
    split = header.split(text)
    problems.extend(split.problems)
    draft = Draft(name, file, text[split.start :].strip(), split.header, None, problems)
    if (draft.header.enabled or not only_enabled) and split.start <= len(text):
        try:
            with deep_recursion():
                draft.query = parse(text, split.start)
        except Unreadable as unreadable:
            # With a header that does not end there is no query to speak of.
            problems.extend(unreadable.problems if split.start < len(text) or not split.problems else [])
    return draft


def _name_problems(name: str) -> list[Refused]:
    if _NAME.fullmatch(name):
        return []
    better = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:63]
    better = better if _NAME.fullmatch(better) else "my_segment"
    rule = "a-z, 0-9 and _, first a letter, at most 63"
    reason = f"The file's name is the segment's, and '{name}' is not a name: {rule}."
    return [Refused(Position(), reason, f"Rename it to {better}.sql.")]
