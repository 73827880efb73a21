"""The first events of a file as messages, for guessing a schema from them."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.events.decode import Decoder
from segmentation.events.schema import Schema
from segmentation.events.tables import file_event_id
from storage.files import EventFile, Unreadable

SAMPLE_ROWS = 5_000
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


def sample_messages(path: Path) -> list[bytes]:
    """Up to SAMPLE_ROWS; cells of CSV that read as numbers or booleans throughout their column become such."""
    file = EventFile(path)
    records = [one for _, one in islice(file.records(), SAMPLE_ROWS) if not isinstance(one, Unreadable)]
    tables: list[Mapping[str, Any]] = [one for one in records if isinstance(one, dict)]
    if file.format == "ndjson":
        return [one for one in records if isinstance(one, bytes)]
    plain = _plain_columns(tables)
    return [_message(one, plain) for one in tables]


def event_types(messages: list[bytes], schema: Schema) -> Counter[str]:
    found: Counter[str] = Counter()
    path = schema.events["event_type"].path
    for message in messages:
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            continue
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            found[value] += 1
    return found


def accepted(messages: list[bytes], schema: Schema) -> tuple[int, dict[str, tuple[int, str]]]:
    """(how many the decoder takes, reason -> (how many it refuses, what it says of the first))."""
    numbers = np.arange(len(messages), dtype=np.int64)
    ids = [file_event_id("0" * 16, row) for row in range(len(messages))]
    decoded = Decoder(schema, None).decode(messages, numbers, np.full(len(messages), -1, np.int64), event_ids=ids)
    refused: dict[str, tuple[int, str]] = {}
    for reject in decoded.rejects:
        count, detail = refused.get(reject.reason, (0, reject.detail))
        refused[str(reject.reason)] = (count + 1, detail)
    return len(decoded.rows), refused


def _plain_columns(records: list[Mapping[str, Any]]) -> set[str]:
    """Columns whose texts all are numbers, or all booleans. Not ids: they only look like numbers."""
    names = {name for record in records for name in record}
    return {
        name
        for name in names
        if not _is_id(name)
        and (
            all(_NUMBER.fullmatch(text) for text in _texts(records, name))
            or all(text.lower() in _BOOLEANS for text in _texts(records, name))
        )
    }


def _texts(records: list[Mapping[str, Any]], name: str) -> list[str]:
    return [text for record in records if isinstance(text := record.get(name), str)]


def _is_id(name: str) -> bool:
    return re.sub("[^a-z]", "", name.lower()).endswith(("id", "uuid", "zip", "postcode", "phone"))


def _message(record: Mapping[str, Any], plain: set[str]) -> bytes:
    fields = []
    for name, value in record.items():
        if value is None:
            continue
        if _is_id(name) and isinstance(value, int):
            value = str(value)
        if isinstance(value, str) and name in plain:
            text = json.dumps(_BOOLEANS[value.lower()]) if value.lower() in _BOOLEANS else value
        elif isinstance(value, Decimal) and value.is_finite():
            text = f"{value:f}"
        else:
            text = json.dumps(value, default=_text)
        fields.append(f"{json.dumps(name)}: {text}")
    return f"{{{', '.join(fields)}}}".encode()


def _text(value: object) -> str:
    iso = getattr(value, "isoformat", None)
    return str(iso()) if iso is not None else str(value)
