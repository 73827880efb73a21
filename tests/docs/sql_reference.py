"""docs/sql.md: every supported form and every refused one, written from the fixtures and the corpus.

What is supported comes from tests/compile/fixtures/definitions.sql, each block in the section of the rows of the table
of SQL that its checked tree uses, and from the corpus, by name; what is refused from definitions__invalid.sql. So what
the document says is what the tests show.
"""

import re
import textwrap
from collections.abc import Iterator

from segmentation.compile.bind import bind
from tests.compile.fixtures import Block, blocks, whole
from tests.compile.shop import SCHEMA
from tests.corpus import corpus, rows
from tests.docs.sql_sections import REFUSED, SECTIONS, Section

WIDTH = 120


#: Words before which a long line is best broken.
_BEGINNINGS = {
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "AND", "OR", "UNION", "EXCEPT", "INTERSECT", "JOIN", "LEFT",
    "WHEN", "ELSE",
}  # fmt: skip


HEAD = """\
# The SQL of definitions

<!-- Written by `make docs` from tests/compile/fixtures and tests/corpus/fixtures: change those. -->

What a definition may say, and what is refused and why. Every form below is compiled and compared with DuckDB by the
tests. What is not here is refused when definitions are checked (`tidegate validate`), with the place, the reason and
what to write instead. `WHERE ...` and `HAVING ...` alone stand for whole definitions. The examples of a shop are from
[tests/corpus/fixtures](../tests/corpus/fixtures), where there are many more.
"""


def reference() -> str:
    """The whole document."""
    parts = [HEAD]
    by_section: dict[str, list[Block]] = {section.title: [] for section in SECTIONS}
    for block in blocks("definitions.sql"):
        by_section[_section_of(block).title].append(block)
    sqls = corpus.everything()
    for section in SECTIONS:
        text = textwrap.fill(" ".join(section.text.split()), WIDTH)
        parts.append(f"## {section.title}\n\n{text}\n")
        if found := by_section[section.title]:
            parts.append(_sql((block.title, block.sql) for block in found))
        parts.append("As a shop would write it:\n")
        parts.append(_sql((name, sqls[name]) for name in section.examples))
    parts.append("# What is refused\n")
    parts += _refused()
    return "\n".join(parts)


def _section_of(block: Block) -> Section:
    used = rows.rows_of(bind("x", "x.sql", whole(block.sql), SCHEMA))
    return [SECTIONS[0], *(section for section in SECTIONS if used & set(section.rows))][-1]


def _sql(texts: Iterator[tuple[str, str]]) -> str:
    shown = [f"-- {title}\n" + "\n".join(map(_wrapped, sql.split("\n"))) for title, sql in texts]
    return "```sql\n" + "\n\n".join(shown) + "\n```\n"


def _wrapped(line: str) -> str:
    """Broken before words that begin something, and else at spaces; never inside of quotes."""
    if len(line) <= WIDTH:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    pieces: list[str] = []
    for word in re.findall(r"(?:'(?:[^']|'')*'|\"[^\"]*\"|[^\s'\"])+", line):
        if not pieces or word.lstrip("(") in _BEGINNINGS or len(pieces[-1]) + 1 + len(word) > WIDTH - 10:
            pieces.append(word)
        else:
            pieces[-1] += f" {word}"
    found = [indent + pieces[0]]
    for piece in pieces[1:]:
        if len(found[-1]) + 1 + len(piece) > WIDTH - 10:
            found.append(f"{indent}  {piece}")
        else:
            found[-1] += f" {piece}"
    return "\n".join(found)


def _refused() -> Iterator[str]:
    starts = {first: title for title, first in REFUSED}
    wrong = blocks("definitions__invalid.sql")
    missing = starts.keys() - {block.title for block in wrong}
    assert not missing, f"REFUSED names fixtures that are gone: {missing}"
    assert wrong[0].title in starts, "the first fixture begins the first section"
    table: list[str] = []
    for block in wrong:
        if block.title in starts:
            if table:
                yield "\n".join([*table, ""])
            yield f"## {starts[block.title]}\n"
            table = ["| | for example | because | write |", "|---|---|---|---|"]
        title = block.title
        for line in block.expected.split("\n"):
            place = re.fullmatch(r"(?:-- =>)?\s*(\d+):(\d+) (.*?) \| (.*)", line)
            assert place is not None, line
            row, column, reason, remedy = int(place[1]), int(place[2]), place[3], place[4]
            example = _around(block.sql.split("\n")[row - 1], column - 1)
            table.append(f"| {' | '.join(map(_cell, (title, example, reason, remedy)))} |")
            title = ""
    yield "\n".join([*table, ""])


def _around(line: str, place: int) -> str:
    """The piece of a line that a problem is about, as code."""
    start = max([0, *(found.end() for found in re.finditer(r"\b(?:WHERE|HAVING|AND|OR|ON) ", line[: place + 1]))])
    start = max([start, *(found.start() for found in re.finditer(r"\b(?:FROM|SELECT) ", line[: place + 1]))])
    if place - start > 40:
        start = place
    end = line.find(" OR ", place)
    piece = line[start : len(line) if end < 0 else end]
    if len(piece) > 60:
        piece = piece[: max(piece.rfind(" ", place - start + 1, 60), place - start + 20)]
    more = start + len(piece) < len(line)
    return f"`{'… ' if start else ''}{piece.strip()}{' …' if more else ''}`" if piece.strip() else ""


def _cell(text: str) -> str:
    """For a table: nothing in it is markup, but what stands between backticks."""
    parts = text.split("`")
    parts[::2] = [part.replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")
