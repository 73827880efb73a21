"""All who enter and leave, as a file: user_id, segment, change (`enters` or `leaves`); by segment, then user id."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from segmentation.errors import TidegateError
from segmentation.evaluate.differences import Difference

COLUMNS = ("user_id", "segment", "change")
_ROWS_AT_ONCE = 65_536
_KINDS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}


def check(path: Path) -> None:
    """Before the work: TidegateError where the file cannot be written, or its ending says no format."""
    if path.suffix.lower() not in _KINDS:
        raise TidegateError(f"--members {path}: the ending says no format. Name it *.csv, *.ndjson or *.parquet.")
    if not path.absolute().parent.is_dir():
        raise TidegateError(f"--members {path}: there is no folder {path.parent}. Make it first.")


def write(path: Path, found: Mapping[str, Difference]) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    kind = _KINDS[path.suffix.lower()]
    try:
        {"csv": _csv, "ndjson": _ndjson, "parquet": _parquet}[kind](temporary, _rows(found))
        temporary.replace(path)
    except OSError as error:
        raise TidegateError(f"--members {path}: cannot be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _rows(found: Mapping[str, Difference]) -> Iterator[tuple[str, str, str]]:
    for segment, one in sorted(found.items()):
        changes = {user: "enters" for user in one.enter} | {user: "leaves" for user in one.leave}
        yield from ((user, segment, changes[user]) for user in sorted(changes))


def _csv(path: Path, rows: Iterator[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _ndjson(path: Path, rows: Iterator[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(COLUMNS, row)), ensure_ascii=False) + "\n")


def _parquet(path: Path, rows: Iterator[tuple[str, str, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.table([list(column) for column in zip(*chunk)], schema))
