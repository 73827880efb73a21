"""What is generated into docs/: `make docs` writes it, test_generated.py says when it is out of date."""

import json
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr

from segmentation.events.json_schema import producer_schema
from segmentation.events.schema import load_schema
from storage.settings import Settings
from tests.architecture.source import ROOT
from tests.docs.sql_reference import reference

OPERATIONS = ROOT / "docs/operations.md"
SQL = ROOT / "docs/sql.md"
JSON_SCHEMA = ROOT / "docs/events.schema.json"
_BLOCK = re.compile(r"(<!-- settings: [^\n]*-->\n).*?(<!-- end of settings -->)", re.S)


def kind(annotation: Any) -> str:
    """A setting's type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return kind(next(each for each in inner if each is not type(None)))
    if origin is dict:
        return "mapping (JSON in a variable)"
    names = {str: "text", Path: "path", bool: "true or false", int: "number", float: "seconds", SecretStr: "secret"}
    return names[annotation]


def default(value: Any) -> str:
    shown = value.get_secret_value() if isinstance(value, SecretStr) else value
    if shown is None or shown == {}:
        return ""
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


#: Settings with fractions that are no times.
PLAIN = {"guard", "grpc_rate"}


def settings_table() -> str:
    rows = ["| setting | type | default | |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
        type_ = "number" if name in PLAIN else kind(field.annotation)
        rows.append(f"| `{name}` | {type_} | {default(value)} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def operations(text: str) -> str:
    """docs/operations.md with the present table."""
    made, count = _BLOCK.subn(lambda found: found[1] + settings_table() + found[2], text)
    assert count == 1, "docs/operations.md has lost the marks around its settings table"
    return made


def json_schema() -> str:
    file = ROOT / "segment_defs/schema.yml"
    return json.dumps(producer_schema(load_schema(file.read_text(), str(file))), indent=2) + "\n"


def main() -> None:
    OPERATIONS.write_text(operations(OPERATIONS.read_text()))
    JSON_SCHEMA.write_text(json_schema())
    SQL.write_text(reference())


if __name__ == "__main__":
    main()
