"""The words of a query, each with its place in the file."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot.tokenizer_core import Token, TokenType

from segmentation.compile.problems import Position

SHAPE = "A definition is SELECT user_id FROM events [WHERE ...] GROUP BY user_id [HAVING ...]."

_NAME = re.compile(r"[^\W\d]\w*(\s+\w+)*")


def shown(text: str) -> str:
    """A piece of a query inside a message, cut where it is long."""
    flat = " ".join(text.split())
    return f"`{flat if len(flat) <= 40 else flat[:37] + '...'}`"


class Source:
    """A file's text, of which the query begins at index `start`."""

    def __init__(self, text: str, start: int) -> None:
        self.text, self.start = text, start
        self._mark = 1 if text.startswith("\ufeff") else 0
        self._lines = [0, *(index + 1 for index, char in enumerate(text) if char == "\n")]

    def position(self, index: int) -> Position:
        """Of the character `index` of the query."""
        absolute = self.start + index
        line = bisect_right(self._lines, absolute)
        column = absolute - self._lines[line - 1] + 1
        return Position(line, column - self._mark if line == 1 else column)


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `text` as written (of a string: its value), `name` true for bare words, `start` in the query."""

    text: str
    kind: TokenType | None
    start: int
    name: bool = False

    @property
    def upper(self) -> str:
        """The keyword that this may be; empty for strings, numbers and quoted names."""
        return self.text.upper() if self.name else ""


class Words:
    """The tokens of one query; past the end stands an empty one."""

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source, self.raw = source, tokens
        self._all = [word for token in tokens for word in self._words(token)]
        end = len(source.text) - source.start
        last = tokens[-1].end + 1 if tokens else 0
        self._end = Word("", None, min(last, end))

    def _words(self, token: Token) -> Iterator[Word]:
        kind, start = token.token_type, token.start
        if kind in (TokenType.STRING, TokenType.IDENTIFIER):
            yield Word(token.text, kind, start)
            return
        written = self.source.text[self.source.start + start : self.source.start + token.end + 1]
        if _NAME.fullmatch(written):
            for part in re.finditer(r"\S+", written):  # GROUP BY is one token
                yield Word(part[0], kind, start + part.start(), name=True)
        else:
            yield Word(written, kind, start)

    def __len__(self) -> int:
        return len(self._all)

    def at_index(self, index: int) -> Word:
        return self._all[index] if 0 <= index < len(self._all) else self._end

    def position(self, word: Word) -> Position:
        return self.source.position(word.start)

    def first(self) -> Position:
        return self.position(self.at_index(0))

    def index_of(self, line: int | None, column: int | None) -> int:
        """The token that sqlglot names by its line and last column; the end if there is none."""
        start = next((token.start for token in self.raw if token.line == line and token.col == column), None)
        places = [index for index, word in enumerate(self._all) if word.start == start]
        return places[0] if places else len(self._all)
