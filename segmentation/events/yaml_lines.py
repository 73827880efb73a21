"""YAML text as plain Python data that still knows the line of everything.

`read(text)` gives `Document(data, lines)`: data of dict, list, str, int, bool, None and `Decimal` (a number
with a point keeps its digits; times stay text), and `lines` from the way to a value, such as
("events", "amount", "type"), to the 1-based line of its key or list item. `YamlError(line, reason, remedy)`
for what is not YAML, for a key given twice and for anchors and aliases.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

Way = tuple[str | int, ...]


class YamlError(Exception):
    def __init__(self, line: int, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.line, self.reason, self.remedy = line, reason, remedy


@dataclass(frozen=True, slots=True)
class Document:
    data: Any
    lines: dict[Way, int]

    def line(self, way: Way) -> int:
        """The line of `way`, or of the nearest thing around it that the file has."""
        while way and way not in self.lines:
            way = way[:-1]
        return self.lines.get(way, 1)


def read(text: str) -> Document:
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise YamlError(line, "anchors and aliases are not read.", "Write it out.")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part) or "it does not parse"
        line = mark.line + 1 if mark else 1
        raise YamlError(line, f"this is not YAML: {reason}.", "Correct this line or the one above.") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow: no mark, but a place in the text
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise YamlError(line, f"this is not YAML: {str(error).splitlines()[0]}.", "Remove the character.") from None
    except RecursionError:
        raise YamlError(1, "this is nested too deeply.", "A schema has three levels.") from None
    document = Document(None, {})
    return Document(None if node is None else _value(node, (), document.lines), document.lines)


def _value(node: yaml.Node, way: Way, lines: dict[Way, int]) -> Any:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(line, "a key must be a name.", "Write `name: ...`.")
            key = key_node.value  # as it was written: a column may be called `on` or `no`
            if key in mapping:
                first = lines[*way, key]
                raise YamlError(line, f"`{key}` is given twice, first in line {first}.", "Keep one of them.")
            lines[*way, key] = line
            mapping[key] = _value(value_node, (*way, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*way, index] = item.start_mark.line + 1
        return [_value(item, (*way, index), lines) for index, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | int | Decimal | bool | None:
    text: str = node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return bool(yaml.constructor.SafeConstructor.bool_values[text.lower()])
    if kind in ("int", "float"):
        try:
            number = Decimal(text.replace("_", ""))
        except InvalidOperation:  # hexadecimal, sexagesimal, .inf: nothing that a schema needs
            return text
        if not number.is_finite():
            return text
        return int(number) if kind == "int" else number
    return text
