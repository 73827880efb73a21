"""SQL text to sqlglot's tree (dialect postgres), with every node's place in the file, or problems.

sqlglot reads far more than definitions may say, and tidies what it reads. So the tree is trusted
only as far as the text bears it out: `parse_guard` refuses, with reasons, what definitions do not
have, and `parse_places` then walks the tree along the tokens, token by token. A word that the tree
does not account for, or parentheses that are in the tree but not in the text, are problems. Nothing
can be dropped or regrouped silently, whatever sqlglot's next version does.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from segmentation.compile import parse_guard, parse_places
from segmentation.compile.parse_functions import PlainParser
from segmentation.compile.parse_tokens import SHAPE, Source, Word, Words, shown
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest

FILE_BYTES_MAX = 256 * 1024
#: sqlglot takes some twenty frames for a pair of parentheses; parse_places stops at DEPTH_MAX pairs.
_FRAMES_MAX = 12_000
#: After these there must come something.
_WANTING = (
    "SELECT", "FROM", "WHERE", "BY", "HAVING", "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "IS",
    "FILTER", "AS", "UNION", "INTERSECT", "EXCEPT", "EXISTS", "JOIN", "ON", "USING",
    "CASE", "WHEN", "THEN", "ELSE",
)  # fmt: skip


class Unreadable(Exception):
    """The text is no definition; carries one or more problems."""

    def __init__(self, problems: list[Refused]) -> None:
        super().__init__()
        self.problems = problems


def parse(text: str, start: int) -> exp.Query:
    """The query that begins at `text[start]`. Nodes carry meta "at" and "op": Position; raises Unreadable."""
    source = Source(text, start)
    dialect = Dialect.get_or_raise("postgres")
    try:
        words = Words(source, dialect.tokenize(text[start:]))
    except TokenError as error:
        raise Unreadable([_unfinished(error, source)]) from None
    problems = parse_guard.check(words)
    if problems:
        raise Unreadable(problems)
    try:
        with deep_recursion():
            statements = PlainParser(dialect=dialect, error_level=ErrorLevel.IMMEDIATE).parse(words.raw, text[start:])
            return parse_places.place(statements[0], words)
    except ParseError as error:
        raise Unreadable([_syntax(error, words)]) from None
    except Refused as refused:
        raise Unreadable([refused]) from None
    except RecursionError:
        raise Unreadable([parse_guard.too_deep(words.first())]) from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # The parser's own slips on odd input: no reason to show anybody a traceback.
        problem = Refused(words.first(), "This is not a query that can be read.", SHAPE)
        raise Unreadable([problem]) from None


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for the depth that definitions may have."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _FRAMES_MAX))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _closes(word: Word) -> bool:
    """Whether an expression may end with this word."""
    return word.name or word.kind in (TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER, TokenType.R_PAREN)


def _unfinished(error: TokenError, source: Source) -> Refused:
    text = source.text[source.start :]
    for quote, name in (("'", "text"), ('"', "name in double quotes")):
        opening = _unclosed(text, quote)
        if opening is not None:
            at = source.position(opening)
            return Refused(at, f"The {name} that starts here does not end.", f"Close it with {quote}.")
    start = getattr(error, "start", None) or 0
    return Refused(source.position(min(start, len(text))), "This cannot be read as SQL.", SHAPE)


def _unclosed(text: str, quote: str) -> int | None:
    """Where the last quote opens, if the number of quotes of this kind is odd."""
    if text.count(quote) % 2 == 0:
        return None
    other = '"' if quote == "'" else "'"
    index, opened, inside = 0, 0, ""
    while index < len(text):
        if not inside and text.startswith("--", index):
            index = text.find("\n", index) if "\n" in text[index:] else len(text)
            continue
        if not inside and text.startswith("/*", index):
            end = text.find("*/", index)
            index = len(text) if end < 0 else end + 2
            continue
        char = text[index]
        if inside == char:
            inside = ""
        elif not inside and char in (quote, other):
            inside, opened = char, index
        index += 1
    return opened if inside == quote else None


def _syntax(error: ParseError, words: Words) -> Refused:
    details = error.errors[0] if error.errors else {}
    index = words.index_of(details.get("line"), details.get("col"))
    before = words.at_index(index - 1)
    for candidate in (before, words.at_index(index)):
        # `FROM events WHRE x = 1`: WHRE was taken for an alias, the error comes one word later.
        word = closest(candidate.text, ("WHERE", "GROUP BY", "HAVING", "FROM", "FILTER", "AND"))
        if candidate.name and word and candidate.upper not in word.split() and len(candidate.text) > 3:
            at = words.position(candidate)
            return Refused(at, f"{shown(candidate.text)} is not expected here.", f"Did you mean {word}?")
    token = words.at_index(index)
    description = str(details.get("description") or "")
    wants_more = not description.startswith("Invalid expression") or token.upper in _WANTING or not _closes(token)
    if index + 1 >= len(words) and wants_more:
        token = words.at_index(len(words))  # sqlglot names the last word when it misses one more
    expecting = description.removeprefix("Expecting ") if description.startswith("Expecting ") else ""
    reason = f"{shown(token.text)} is not expected here." if token.text else "The query ends too early."
    if expecting:
        remedy = f"{shown(expecting)} is missing: write it, or remove what should not be there."
    elif not token.text:
        remedy = f"Finish it: {SHAPE}"
    else:
        remedy = "Look for a missing AND, comma, quote or operand before it."
    return Refused(words.position(token), reason, remedy)
