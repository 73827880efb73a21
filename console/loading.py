"""A file's records as events: mapped, decoded, and what was refused with its row, for `evaluate` and `replay`."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from segmentation.errors import TidegateError
from storage.files import RefusedRow

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

CHUNK_ROWS = 50_000
SHOWN_PER_REASON = 3
HINTS = {
    "time_without_zone": "say which zone: --timezone UTC, or `timezone` in schema.yml",
    "missing_field": "where the field has another name: --map COLUMN=FIELD",
}
#: Below this many bytes a progress bar is only noise.
PROGRESS_BYTES = 4 * 2**20


class ColumnMap(click.ParamType[dict[str, str]]):
    """`column=field,column=field`; a field may be a path with dots."""

    name = "map"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        result: dict[str, str] = {}
        for part in str(value).split(","):
            column, equals, field = (text.strip() for text in part.partition("="))
            if not (column and equals and field):
                self.fail(f"{part!r} is not column=field, such as event_time=timestamp.", param, ctx)
            if column in result:
                self.fail(f"{column!r} is mapped twice.", param, ctx)
            result[column] = field
        return result


def mapping_flags(command: Decorated) -> Decorated:
    """--map, --timezone and --strict, as keyword arguments mapping, timezone and strict."""
    command = click.option("--strict", is_flag=True, help="A refused row is an error: nothing else is done, code 2.")(
        command
    )
    command = click.option(
        "--timezone", metavar="ZONE", help="Zone of times that carry none, such as UTC or Europe/Berlin."
    )(command)
    return click.option(
        "--map", "mapping", type=ColumnMap(), default=dict, metavar="COLUMN=FIELD,...",
        help="Which field of the file each column is in, where the names differ.",
    )(command)


@dataclass(slots=True)
class Loaded:
    """rows: accepted, in the file's order, `offset` being the row in the file; refused: the others.

    messages: what `rows` were decoded from, if it was asked for; same order and length.
    """

    rows: Any
    refused: list[RefusedRow]
    messages: list[bytes]


def load_events(
    path: Path, schema: Any, mapping: Mapping[str, str], timezone: str | None, with_messages: bool
) -> Loaded:
    """Reads the whole file. A bad row costs only itself; TidegateError for a bad file, mapping or zone."""
    import numpy as np

    from console.evaluation import join
    from segmentation.events.decode import Decoder
    from segmentation.events.tables import Messages, file_event_id
    from storage.files import EventFile, Unreadable

    file = EventFile(path)
    maker, decoder, digest = Messages(schema, mapping, timezone), Decoder(schema, None), file.digest()
    _check_names(file, mapping)
    parts, refused, messages = [], [], []
    records = file.records()
    with progress(f"reading {path.name}", file.size, file.size >= PROGRESS_BYTES) as advance:
        while chunk := list(islice(records, CHUNK_ROWS)):
            good = []
            for row, record in chunk:
                if isinstance(record, Unreadable):
                    refused.append(RefusedRow(row, "unreadable", record.detail))
                else:
                    good.append((row, record))
            ids = [file_event_id(digest, row) for row, _ in good]
            # Messages that are sent must carry their id; those that are only evaluated get it from beside.
            values = [
                maker.of(record, event_id if with_messages else None) for (_, record), event_id in zip(good, ids)
            ]
            numbers = np.array([row for row, _ in good], np.int64)
            # -1: a row has no Kafka time stamp.
            decoded = decoder.decode(values, numbers, np.full(len(good), -1, np.int64), event_ids=ids)
            refused += [RefusedRow(good[one.index][0], str(one.reason), one.detail) for one in decoded.rejects]
            parts.append(decoded.rows)
            if with_messages:
                out = {one.index for one in decoded.rejects}
                messages += [value for index, value in enumerate(values) if index not in out]
            advance(file.position)
    if not parts:
        parts.append(decoder.decode([], np.zeros(0, np.int64), np.zeros(0, np.int64)).rows)
    refused.sort(key=lambda one: one.row)
    return Loaded(join(parts), refused, messages)


def report_refused(refused: list[RefusedRow], path: Path, strict: bool) -> None:
    """On stderr: a count per reason and its first rows. TidegateError when `strict` and there are any."""
    if not refused:
        return
    counts = Counter(one.reason for one in refused)
    for reason, count in counts.most_common():
        click.echo(f"{path}: {count:,} {'row' if count == 1 else 'rows'} refused: {reason}", err=True)
        first = [one for one in refused if one.reason == reason][:SHOWN_PER_REASON]
        for one in first:
            click.echo(f"  row {one.row}: {one.detail}", err=True)
        if count > len(first):
            click.echo(f"  and {count - len(first):,} more", err=True)
        if reason in HINTS:
            click.echo(f"  {HINTS[reason]}", err=True)
    if strict:
        raise TidegateError(f"{path}: {len(refused):,} rows are refused, and --strict was given.")


@contextmanager
def progress(title: str, total: float, wanted: bool = True) -> Iterator[Callable[[float], None]]:
    """A bar on stderr if that is a terminal; the function given sets how far it is."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def _check_names(file: Any, mapping: Mapping[str, str]) -> None:
    """A mapping to a field that no record of a table can have is a slip, not a missing value."""
    from storage.files import Unreadable

    if not mapping or file.format == "ndjson":
        return
    first = next((record for _, record in file.records() if not isinstance(record, Unreadable)), None)
    if not isinstance(first, dict):
        return
    for column, field in mapping.items():
        if field not in first and field.split(".")[0] not in first:
            import difflib

            near = difflib.get_close_matches(field, first, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(first)}."
            raise TidegateError(f"--map {column}={field}: {file.path} has no column {field!r}. {advice}")
