"""What is generated into docs/ is up to date, and what is written there by hand names everything."""

import json
import re
from typing import get_args

import numpy as np
import pytest

from segmentation.events.decode import Decoder
from segmentation.events.rejects import Reason
from segmentation.events.rows import ValueColumn
from segmentation.events.schema import load_schema
from storage.settings import Settings
from tests.architecture.source import ROOT
from tests.compile.fixtures import blocks
from tests.docs import generate
from tests.docs.sql_reference import reference

REMEDY = "run `make docs`"


def test_the_settings_table_is_up_to_date() -> None:
    text = generate.OPERATIONS.read_text()
    assert generate.operations(text) == text, REMEDY


def test_every_setting_has_a_description_or_a_name_that_says_it() -> None:
    silent = {name for name, field in Settings.model_fields.items() if not field.description}
    assert silent <= {
        "events_topic", "transitions_topic", "dead_letter_topic", "grpc_listen", "grpc_tls_cert",
        "grpc_tls_key", "grpc_tokens", "grpc_reflection", "metrics_host", "log_format",
    }  # fmt: skip


def test_the_json_schema_is_up_to_date() -> None:
    assert generate.JSON_SCHEMA.read_text() == generate.json_schema(), REMEDY
    schema = json.loads(generate.JSON_SCHEMA.read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_reference_of_sql_is_up_to_date() -> None:
    text = generate.SQL.read_text()
    assert text == reference(), REMEDY
    for block in blocks("definitions.sql"):
        assert f"-- {block.title}\n" in text
    for block in blocks("definitions__invalid.sql"):
        assert f"| {block.title} | " in text


def test_the_example_for_producers_is_accepted_whole() -> None:
    example = re.search(r"^```json\n(.*?)^```", (ROOT / "docs/events.md").read_text(), re.M | re.S)
    assert example is not None
    schema = load_schema((ROOT / "segment_defs/schema.yml").read_text())
    decoded = Decoder(schema, None).decode([example[1].encode()], np.array([0]), np.array([0]))
    assert decoded.rejects == []
    amount = decoded.rows.columns["amount"]
    assert isinstance(amount, ValueColumn) and amount.data.tolist() == [4990]


@pytest.mark.parametrize("reason", list(Reason))
def test_producers_find_every_reason(reason: Reason) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs/events.md").read_text()


def test_operators_find_every_metric() -> None:
    """And no metric is documented that does not exist."""
    from flows import metrics as engine
    from grpc_server import metrics as server

    exist = {family.name for registry in (engine.REGISTRY, server.Metrics().registry) for family in registry.collect()}
    shown = {
        name.removesuffix("_total")
        for name in re.findall(r"^\| `(tidegate_\w+)", (ROOT / "docs/operations.md").read_text(), re.M)
    }
    assert shown == {name for name in exist if name.startswith("tidegate_")}


def test_kinds_of_settings_are_known() -> None:
    for field in Settings.model_fields.values():
        assert generate.kind(field.annotation)
    assert get_args(Settings.model_fields["clock"].annotation)
