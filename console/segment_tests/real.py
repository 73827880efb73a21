"""Real events for a first test: of a file, or those that this deployment's engine has saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from console.segment_tests.given import nested
from console.segment_tests.times import as_text
from segmentation.errors import TidegateError
from segmentation.events.decode import Decoder
from segmentation.events.rows import Rows
from segmentation.events.schema import Schema
from segmentation.types import Kind

#: Of a deployment's events about so many are looked at, those of a part of its users.
SAVED_EVENTS = 200_000

_encode = msgspec.json.Encoder(decimal_format="number").encode


def of_file(path: Path, schema: Schema, mapping: Mapping[str, str], timezone: str | None, strict: bool) -> Rows:
    """TidegateError for a bad file; refused rows are said on stderr."""
    from console.loading import load_events, report_refused

    loaded = load_events(path, schema, mapping, timezone, with_messages=False)
    report_refused(loaded.refused, path, strict)
    rows: Rows = loaded.rows
    return rows


def of_deployment(settings: Any, schema: Schema) -> Rows:
    """What the shards' saved states and files hold. TidegateError where nothing was saved, or nobody answers."""
    from storage.reservoir import columns_of
    from storage.saved_events import saved_events
    from storage.saved_state import records

    found = records(settings.database_url.get_secret_value())
    columns = columns_of(schema)
    messages, ids = [], []
    for event in saved_events(settings.storage_url, found, columns, SAVED_EVENTS):
        ids.append(event.pop("event_id"))
        for name, column in schema.events.items():
            if column.type.kind is Kind.TIMESTAMPTZ and name in event:
                event[name] = as_text(event[name])
        messages.append(_encode(nested(event, schema.events)))
    if not messages:
        raise TidegateError("the engine has saved no events yet. Take a file of events: --events FILE.")
    # What the present schema refuses is no part of what the present definitions count.
    return Decoder(schema, None).decode(
        messages, np.arange(len(messages)), np.full(len(messages), -1, np.int64), event_ids=ids
    ).rows  # fmt: skip
