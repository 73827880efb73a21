"""The JSON Schema for producers, as a whole."""

from segmentation.events.json_schema import producer_schema
from segmentation.events.schema import load_schema


def test_it_says_what_schema_yml_says() -> None:
    schema = load_schema(
        """
events:
  event_time: {path: meta.at, timezone: UTC}
  event_id: {generated: true}
  region: {type: text, one_of: [a, b]}
  amount: {type: "numeric(18,2)", path: p.amount, empty_as_null: true, min: 0.5}
  n: {type: bigint, max: 10}
  ok: {type: boolean}
  seen: {type: timestamptz, min: "2026-01-01T00:00:00Z"}
"""
    )
    found = producer_schema(schema)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["required"] == ["user_id", "event_type", "meta"]
    properties = found["properties"]
    assert properties["user_id"] == {"type": "string", "minLength": 1, "maxLength": 512}
    assert properties["event_type"] == {"type": "string"}
    assert properties["region"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert properties["n"] == {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 10}
    assert properties["ok"] == {"type": ["boolean", "null"]}
    assert properties["seen"]["format"] == "date-time" and "2026-01-01" in properties["seen"]["description"]
    assert properties["meta"]["required"] == ["at"] and properties["meta"]["type"] == "object"
    assert "format" not in properties["meta"]["properties"]["at"]
    assert properties["p"]["type"] == ["object", "null"]
    amount = properties["p"]["properties"]["amount"]["anyOf"]
    assert amount[0] == {"type": "number", "minimum": 0.5}
    assert {"const": ""} in amount and {"type": "null"} in amount
    assert "event_id" not in properties
