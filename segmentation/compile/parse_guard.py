"""What definitions do not have, told from the words alone: each with its reason and what to write instead."""

from sqlglot.tokenizer_core import TokenType

from segmentation.compile.parse_tokens import SHAPE, Word, Words, shown
from segmentation.compile.problems import Position, Refused

DEPTH_MAX = 200

_NO_ORDER = "A segment is a set of users, so their order means nothing."
_NO_CUT = "A segment is the set of all users that match; a cut of it would depend on chance."
_FILTERED = "Use FILTER: sum(amount) FILTER (WHERE event_type = 'purchase')."

_REFUSED: dict[str, tuple[str, str]] = {
    "LATERAL": ("LATERAL is not supported.", "Use only the columns of events: FROM events."),
    "OVER": ("Window functions (OVER) are not supported.", _FILTERED),
    "WINDOW": ("Window functions are not supported.", _FILTERED),
    "QUALIFY": ("QUALIFY is not supported.", "Put conditions on aggregates into HAVING."),
    "LIMIT": ("LIMIT is not supported.", f"Remove it. {_NO_CUT}"),
    "OFFSET": ("OFFSET is not supported.", f"Remove it. {_NO_CUT}"),
    "FETCH": ("FETCH is not supported.", f"Remove it. {_NO_CUT}"),
    "TABLESAMPLE": ("TABLESAMPLE is not supported.", f"Remove it. {_NO_CUT}"),
    "SIMILAR": ("SIMILAR TO is not supported.", "Use LIKE with % and _, or several of them with OR."),
    "GLOB": ("GLOB is not supported.", "Use LIKE with % and _."),
    "ANY": ("ANY is not supported.", "Use IN ('a', 'b'), IN (SELECT ...), or several comparisons with OR."),
    "SOME": ("SOME is not supported.", "Use IN ('a', 'b'), IN (SELECT ...), or several comparisons with OR."),
    "ALL": ("ALL is not supported.", "Leave it out, or write several comparisons with AND."),
    "COLLATE": ("COLLATE is not supported: text is compared by code points.", "Remove it."),
    "WITHIN": ("WITHIN GROUP is not supported.", "Use mode(x), count, sum, avg, min, max, arg_min or arg_max."),
    "VALUES": ("VALUES is not supported.", "Use IN ('a', 'b') with the values in it."),
    "ARRAY": ("Arrays are not supported.", "Use IN ('a', 'b') with the values in it."),
}

#: Behind these a name is no alias.
_BEFORE_NAMES = (
    "AS", "SELECT", "DISTINCT", "FROM", "JOIN", "WHERE", "ON", "AND", "OR", "NOT", "BY", "HAVING", "IN", "LIKE",
    "ILIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "WITH", "RECURSIVE",
)  # fmt: skip

_PARAMETERS = (
    TokenType.PARAMETER, TokenType.PLACEHOLDER, TokenType.COLON, TokenType.L_BRACE, TokenType.BLOCK_START,
    TokenType.SESSION_PARAMETER, TokenType.DOLLAR,
)
_ODD_TEXTS = (
    TokenType.BYTE_STRING, TokenType.RAW_STRING, TokenType.HEREDOC_STRING, TokenType.UNICODE_STRING,
    TokenType.NATIONAL_STRING, TokenType.BIT_STRING, TokenType.HEX_STRING, TokenType.NATIONAL_RAW_STRING,
)


def check(words: Words) -> list[Refused]:
    """Problems, in order of the text; an empty list says that the query is worth parsing."""
    if not len(words):
        return [Refused(words.position(words.at_index(0)), "The file has no query.", SHAPE)]
    if words.at_index(0).upper not in ("SELECT", "WITH") and words.at_index(0).kind is not TokenType.L_PAREN:
        reason = f"A definition starts with SELECT, not with {shown(words.at_index(0).text)}."
        return [Refused(words.first(), reason, SHAPE)]
    problems: list[Refused] = []
    depth = 0
    for index in range(len(words)):
        word = words.at_index(index)
        if word.kind is TokenType.L_PAREN:
            depth += 1
            if depth > DEPTH_MAX:
                return [*problems, too_deep(words.position(word))]
        elif word.kind is TokenType.R_PAREN:
            depth -= 1
        elif word.kind is TokenType.SEMICOLON and index + 1 < len(words):
            after = words.position(words.at_index(index + 1))
            problems.append(Refused(after, "A file holds one query.", "Put the second query into its own file."))
            break
        found = _wrong(words, index)
        if found:
            problems.append(Refused(words.position(word), *found))
    return problems


def too_deep(at: Position) -> Refused:
    return Refused(at, f"The query is nested more than {DEPTH_MAX} deep.", "Split it into several definitions.")


def _wrong(words: Words, index: int) -> tuple[str, str] | None:
    word, before, after = words.at_index(index), words.at_index(index - 1), words.at_index(index + 1)
    if before.kind in _PARAMETERS:
        return None
    if word.kind in _PARAMETERS:
        return f"{shown(word.text)} looks like a parameter, and a definition has none.", "Write the value itself."
    if word.kind in _ODD_TEXTS:
        return f"{shown(word.text)} is not a plain text.", "Write it in single quotes: 'text'."
    if word.kind is TokenType.L_BRACKET:
        return "Square brackets are not supported.", "Use IN ('a', 'b') for a list of values."
    if word.kind in (TokenType.ARROW, TokenType.DARROW, TokenType.HASH_ARROW, TokenType.DHASH_ARROW):
        remedy = "Declare the field as a column in schema.yml, with its path."
        return f"The operator {word.text} is not supported: an event's fields are columns.", remedy
    if not word.name or before.kind is TokenType.DOT:
        return None
    return _wrong_keyword(word, before, after)


def _wrong_keyword(word: Word, before: Word, after: Word) -> tuple[str, str] | None:
    upper = word.upper
    if upper == "ORDER":
        return "ORDER BY is not supported.", f"Remove it. {_NO_ORDER}"
    if upper == "DISTINCT" and after.upper == "ON":
        return "DISTINCT ON is not supported.", "Write GROUP BY user_id."
    if upper == "AT" and after.upper != "TIME" and before.name and before.upper not in _BEFORE_NAMES:
        return "AT is a keyword in DuckDB, and no name for a table.", 'Put the name into double quotes: "at".'
    if upper == "ALL" and before.upper == "BY":
        return "GROUP BY ALL is not supported.", "Write GROUP BY user_id."
    if upper == "ALL" and before.upper in ("UNION", "INTERSECT", "EXCEPT"):
        return None
    return _REFUSED.get(upper)
