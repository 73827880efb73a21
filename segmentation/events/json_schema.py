"""What producers may send, as a JSON Schema (2020-12) that follows from `schema.yml`.

It is no wider than the decoder, except where JSON Schema has no words: digits before the point of a numeric, how
far in the future a time may be, lengths in bytes. It is narrower in one place: times are RFC 3339 proper there.
"""

from typing import Any

from segmentation.events.exact import ID_BYTES_MAX
from segmentation.events.paths import Node, tree
from segmentation.events.schema import EventColumn, Schema
from segmentation.events.times import text_of
from segmentation.types import Kind

_LOCAL_TIME = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})?$"
_NUMBER_TEXT = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"


def producer_schema(schema: Schema) -> dict[str, Any]:
    """For one event of the events topic; `json.dumps` writes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate event",
        "description": "The value of a message on the events topic. Other fields are allowed and not read.",
        **_object(tree(schema.events.values())),
    }


def _object(node: Node) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, columns in node.leaves.items():
        several = [_value(column) for column in columns]
        properties[key] = several[0] if len(several) == 1 else {"allOf": several}
        if any(column.required for column in columns):
            required.append(key)
    for key, inner in node.inner.items():
        properties[key] = _object(inner)
        if "required" in properties[key]:
            required.append(key)
        else:
            properties[key]["type"] = ["object", "null"]
    result: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result


def _value(column: EventColumn) -> dict[str, Any]:
    value = _typed(column)
    if not column.empty_as_null:
        if not column.required:
            value["type"] = [value["type"], "null"]
            if "enum" in value:
                value["enum"] = [*value["enum"], None]
        return value
    others: list[dict[str, Any]] = [{"type": "null"}, {"const": ""}]
    if column.type.kind in (Kind.BIGINT, Kind.NUMERIC, Kind.DOUBLE):
        others.append({"type": "string", "pattern": _NUMBER_TEXT})
    return {"anyOf": [value, *others]}


def _typed(column: EventColumn) -> dict[str, Any]:
    kind = column.type.kind
    if kind is Kind.TEXT:
        value: dict[str, Any] = {"type": "string"}
        if column.name in ("user_id", "event_id"):
            value |= {"minLength": 1, "maxLength": ID_BYTES_MAX}
    elif kind is Kind.BOOLEAN:
        value = {"type": "boolean"}
    elif kind is Kind.BIGINT:
        value = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    elif kind is Kind.TIMESTAMPTZ:
        value = {"type": "string"}
        value |= {"format": "date-time"} if column.timezone is None else {"pattern": _LOCAL_TIME}
        if column.min is not None or column.max is not None:
            bounds = [(text_of(int(at)) if at is not None else "any") for at in (column.min, column.max)]
            value["description"] = f"From {bounds[0]} to {bounds[1]}."
        return value
    else:
        value = {"type": "number"}
    if column.one_of is not None:
        value["enum"] = [_number(each) for each in column.one_of]
    if column.min is not None:
        value["minimum"] = _number(column.min)
    if column.max is not None:
        value["maximum"] = _number(column.max)
    return value


def _number(value: object) -> object:
    """A Decimal as JSON can write it: exact where a double is."""
    if value is None or isinstance(value, str | int | float):
        return value
    return int(str(value)) if str(value).lstrip("-").isdigit() else float(str(value))
