"""A mismatch as a test of segments: `tidegate test FILE` asks the production evaluator about the same events.

If the test passes, evaluating the user's events anew is right, and what is stored had gone wrong before. If it fails,
the evaluator is wrong. Files lie below storage_url, in `audit/`, and hold the user's events; one that no stored
mismatch names is deleted, so those of an erased user are.
"""

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from segmentation.events.schema import Schema
from segmentation.events.times import text_of
from segmentation.types import Kind, Type
from storage.audit.columns import KNOWN_AT, TIME, VERSION
from storage.audit.sample import Sample, User
from storage.disk import explained, write_whole

FOLDER = "audit"


def write(storage_url: Path, sample: Sample, user: User, segment: str, judged: bool, schema: Schema) -> str:
    """The name of the file, below storage_url. StorageError where it cannot be written."""
    digest = blake2b(f"{user.user_id}\0{segment}".encode(), digest_size=6).hexdigest()
    name = f"{FOLDER}/{segment.replace('/', '-')}-{digest}.yml"
    path = Path(storage_url) / name
    text = as_test(sample, user, segment, judged, schema)
    with explained(path, "file"):
        write_whole(path, path.with_suffix(".yml.tmp"), [text.encode()])
    return name


def as_test(sample: Sample, user: User, segment: str, judged: bool, schema: Schema) -> str:
    inside = f"[{_scalar(user.user_id)}]" if judged else "[]"
    lines = [
        "# Written by the audit. `tidegate test FILE` evaluates these events anew: where that fails, the evaluator is",
        "# wrong; where it passes, the stored membership is, and `tidegate rebuild` or `run --rebuild` mends it.",
        f"clock: {text_of(user.at)}", "", "tests:", f"  {_scalar(f'{segment}, found by the audit')}:",
    ]  # fmt: skip
    events = _of(sample.events, user, "event_time")
    versions = _of(sample.versions, user, TIME)
    if versions:
        lines.append("    profiles:")
        lines += [f"    - {{{', '.join(_profile(one, schema))}}}" for one in versions]
    lines.append("    events:" if events else "    events: []")
    lines += [f"    - {{{', '.join(_event(one, schema))}}}" for one in events]
    return "\n".join([*lines, "    members:", f"      {_scalar(segment)}: {{now: {inside}}}", ""])


def clean(storage_url: Path, keep: Collection[str]) -> None:
    """Deletes the files that are not among `keep`."""
    for path in (Path(storage_url) / FOLDER).glob("*.yml*"):
        if f"{FOLDER}/{path.name}" not in keep:
            path.unlink(missing_ok=True)


def _of(table: pa.Table, user: User, time: str) -> list[dict[str, Any]]:
    """The user's rows that are known by then, in order of time; times as µs."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    ties = "event_id" if "event_id" in table.column_names else VERSION
    rows = [
        row for row in table.to_pylist() if row["user_id"] == user.user_id and row[KNOWN_AT] <= user.at
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row[time], row[ties]))


def _event(row: Mapping[str, Any], schema: Schema) -> list[str]:
    return [
        f"{name}: {_value(row[name], column.type)}" for name, column in schema.events.items()
        if row.get(name) is not None
    ]  # fmt: skip


def _profile(row: Mapping[str, Any], schema: Schema) -> list[str]:
    found = [f"user: {_scalar(row['user_id'])}", f"at: {text_of(row[TIME])}"]
    return found + [
        f"{name}: {_value(row[name], column.type)}" for name, column in schema.users.items()
        if row.get(name) is not None
    ]  # fmt: skip


def _value(value: Any, type_: Type) -> str:
    match type_.kind:
        case Kind.TIMESTAMPTZ:
            return text_of(value)
        case Kind.NUMERIC:
            return f"{value:f}"
        case Kind.DOUBLE:
            return f"{Decimal(repr(value)):f}"
        case Kind.BOOLEAN:
            return str(value).lower()
        case Kind.TEXT:
            return _scalar(value)
    return str(value)


def _scalar(text: str) -> str:
    """JSON's strings are YAML's, too."""
    return json.dumps(text)
