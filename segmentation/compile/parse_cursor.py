"""A place in the words of a query, moving forward only; what does not fit is refused where it stands."""

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from segmentation.compile.parse_tokens import SHAPE, Word, Words, shown
from segmentation.compile.problems import Position, Refused

_TYPOGRAPHIC = "‘’‚‛“”„‟`´"


class Cursor:
    def __init__(self, words: Words) -> None:
        self.words, self.index = words, 0

    @property
    def word(self) -> Word:
        return self.words.at_index(self.index)

    @property
    def next(self) -> Word:
        return self.words.at_index(self.index + 1)

    @property
    def at(self) -> Position:
        return self.words.position(self.word)

    def is_next(self, *texts: str) -> bool:
        """Whether the words to come are these keywords or signs."""
        for offset, text in enumerate(texts):
            word = self.words.at_index(self.index + offset)
            if word.kind in (TokenType.STRING, TokenType.IDENTIFIER) or word.text.upper() != text:
                return False
        return True

    def take(self, *texts: str) -> Position:
        """Go past these words, or refuse."""
        at = self.at
        for text in texts:
            if not self.is_next(text):
                raise self.unexpected(text)
            self.index += 1
        return at

    def unexpected(self, wanted: str = "") -> Refused:
        word = self.word
        if word.kind is None:
            return Refused(self.at, "The query ends too early.", f"{shown(wanted)} is missing." if wanted else SHAPE)
        if word.kind is TokenType.STRING:
            second = self.words.position(self.next) if self.next.kind is TokenType.STRING else self.at
            return Refused(second, "A text is not expected here.", "Write one text alone, or an operator before it.")
        if word.text[0] in _TYPOGRAPHIC:
            return Refused(self.at, f"{word.text[0]} is a typographic quote.", "Write the plain one: 'text'.")
        if word.kind is TokenType.PLUS:
            return Refused(self.at, "A sign + is not expected here.", "Leave it out.")
        if wanted and wanted != word.text.upper():
            return Refused(self.at, f"{shown(word.text)} is not expected here.", f"Write {wanted} here.")
        return Refused(self.at, f"{shown(word.text)} is not supported here.", "Use a column, a constant or a function.")

    def identifier(self, node: exp.Expr) -> None:
        quoted = self.word.kind is TokenType.IDENTIFIER
        if not isinstance(node, exp.Identifier) or node.name != self.word.text or not (quoted or self.word.name):
            raise self.unexpected()
        self.index += 1
