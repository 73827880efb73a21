"""The optional leading block comment of a definition: YAML with description, owner, tags, enabled, guard.

`split(text)` takes the file apart into header and query. Problems name the line of the key.
Plain remarks belong in `--` comments or after the query's first word, so that a mistyped header
is never mistaken for prose.
"""

import re
from dataclasses import dataclass
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from segmentation.compile.problems import Position, Refused
from segmentation.compile.suggest import did_you_mean

_START = re.compile(r"\ufeff?(?:\s|--[^\n]*(?:\n|$))*/\*")

_REMEDIES = {
    "description": "Write one text: description: What this segment is for",
    "owner": "Write one name: owner: growth",
    "tags": "Write a list of texts: tags: [shop, growth]",
    "enabled": "Write enabled: true or enabled: false",
    "guard": "Write percent of the segment's members, 0 or more: guard: 10",
}


class Header(BaseModel):
    """What a definition says about itself; everything else about it is derived."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: StrictStr = ""
    owner: StrictStr = ""
    tags: tuple[Annotated[StrictStr, Field(min_length=1)], ...] = ()
    enabled: StrictBool = True
    guard: Annotated[StrictInt | StrictFloat, Field(ge=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """`start` is the index in the file of the query's first character."""

    header: Header
    start: int
    problems: tuple[Refused, ...] = ()


def position(text: str, index: int) -> Position:
    """1-based line and column of a character of the file."""
    before = text[:index].removeprefix("\ufeff")
    return Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def split(text: str) -> Split:
    opening = _START.match(text)
    if opening is None:
        return Split(Header(), 1 if text.startswith("\ufeff") else 0)
    begin = opening.end()
    end = text.find("*/", begin)
    if end < 0:
        at = position(text, begin - 2)
        return Split(Header(), len(text), (Refused(at, "The comment does not end.", "Close it with */."),))
    nested = text.find("/*", begin, end)
    if nested >= 0:
        # PostgreSQL and DuckDB nest comments, so this header would end elsewhere for them.
        problem = Refused(position(text, nested), "A comment inside the header comment.", "Remove the inner /*.")
        return Split(Header(), len(text), (problem,))
    header, problems = _read(text, begin, end)
    return Split(header, end + 2, tuple(problems))


def _read(text: str, begin: int, end: int) -> tuple[Header, list[Refused]]:
    inside = text[begin:end]
    try:
        tree = yaml.compose(inside, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = position(text, begin + (mark.index if mark else 0))
        reason = f"The header is not YAML: {error.problem or error.context}."
        return Header(), [Refused(at, reason, "Write lines such as: owner: growth. Put texts with : or # in quotes.")]
    except (yaml.YAMLError, RecursionError):
        reason = "The header is not YAML: a character or nesting that cannot be read."
        return Header(), [Refused(position(text, begin), reason, "Write lines such as: owner: growth.")]
    if tree is None:
        return Header(), []
    if not isinstance(tree, yaml.MappingNode):
        return Header(), [
            Refused(
                position(text, begin + tree.start_mark.index),
                "The first comment is the definition's header, and this is not YAML with keys.",
                "Write for example: description: what it is for. For a remark use -- instead.",
            )
        ]
    return _check(tree, text, begin)


def _check(tree: yaml.MappingNode, text: str, begin: int) -> tuple[Header, list[Refused]]:
    places: dict[str, Position] = {}
    problems: list[Refused] = []
    for key, _ in tree.value:
        at = position(text, begin + key.start_mark.index)
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        if name not in Header.model_fields:
            known = did_you_mean(name, Header.model_fields, "Known keys: description, owner, tags, enabled, guard.")
            problems.append(Refused(at, f"Unknown key {name} in the header.", known))
        elif name in places:
            problems.append(Refused(at, f"The key {name} is written twice.", "Keep one of them."))
        places.setdefault(name, at)
    if problems:
        return Header(), problems
    loader = yaml.SafeLoader("")
    try:
        return Header.model_validate(loader.construct_document(tree)), []
    except yaml.MarkedYAMLError as error:
        at = position(text, begin + (error.problem_mark.index if error.problem_mark else 0))
        return Header(), [Refused(at, f"The header is not YAML: {error.problem}.", "Write plain texts in quotes.")]
    except ValidationError as invalid:
        for name in dict.fromkeys(str(error["loc"][0]) for error in invalid.errors(include_input=False)):
            problems.append(Refused(places[name], f"The header's {name} has the wrong type.", _REMEDIES[name]))
        return Header(), problems
    finally:
        loader.dispose()
