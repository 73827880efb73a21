"""Records of a file of events: NDJSON, CSV or Parquet, each also gzipped, one at a time.

The format comes from the name (`.ndjson .jsonl .json`, `.csv .tsv`, `.parquet .pq`, each with or
without `.gz`), else from the content; gzip always from the content. What is wrong with one record
is that record's own (`Unreadable`), so that the caller can report it with its row and go on; what
is wrong with the file is a TidegateError.

A record is `bytes` (one NDJSON line, not parsed here), or a `dict` from column to value: from CSV
str, an empty cell is None; from Parquet the Python value, time stamps cut to microseconds.
Rows count from 1; the header line of CSV is not counted, blank lines of NDJSON are (row = line).
"""

import contextlib
import csv
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from xxhash import xxh3_128

from segmentation.errors import TidegateError

Format = Literal["ndjson", "csv", "parquet"]

_SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
    ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_GZIP = b"\x1f\x8b"
_LARGEST_CELL = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no record: `detail` says why."""

    detail: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A record that is no event: its number in the file, and why."""

    row: int
    reason: str
    detail: str


Record = bytes | dict[str, Any] | Unreadable


class EventFile:
    """An open-on-demand file; iterate `records()` as often as you like.

    `position` is the number of bytes on disk read so far by the latest `records()`, out of `size`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        try:
            with path.open("rb") as file:
                start = file.read(4096)
            self.size = path.stat().st_size
        except FileNotFoundError:
            raise TidegateError(f"{path}: no such file.") from None
        except OSError as error:
            raise TidegateError(f"{path}: cannot be read: {error.strerror or error}.") from None
        self.gzipped = start.startswith(_GZIP)
        if self.gzipped:
            try:
                start = zlib.decompressobj(31).decompress(start, 4096)
            except zlib.error as error:
                raise _damaged(path, error) from None
        self.format: Format = _format(path, start)

    def digest(self) -> str:
        """XXH3 (128 bit) of the bytes on disk, hex: names the file's rows that carry no event id."""
        state = xxh3_128()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
        return state.hexdigest()

    def records(self) -> Iterator[tuple[int, Record]]:
        """(row, record) in the order of the file."""
        self.position = 0
        try:
            with self.path.open("rb") as raw:
                stream: Any = gzip.GzipFile(fileobj=raw) if self.gzipped else raw
                source = {"ndjson": _ndjson, "csv": self._csv, "parquet": self._parquet}[self.format](stream)
                for index, record in enumerate(source):
                    if not index & 0xFFF:
                        self.position = raw.tell()
                    yield record
                self.position = self.size
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(self.path, error) from None
        except OSError as error:
            raise TidegateError(f"{self.path}: cannot be read: {error.strerror or error}.") from None

    def _csv(self, stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
        # A byte that is not UTF-8 must cost its own row only, so it travels as a surrogate until then.
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        csv.field_size_limit(_LARGEST_CELL)
        rows = csv.reader(text, delimiter="\t" if ".tsv" in self.path.suffixes else ",", strict=True)
        row = 0
        try:
            header = next(rows, None)
            if not header:
                raise TidegateError(f"{self.path}: is empty; CSV starts with a line of column names.")
            names = [name.strip() for name in header]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise TidegateError(f"{self.path}: the column {twice[0]!r} appears twice in the header.")
            for cells in rows:
                if not cells:
                    continue
                row += 1
                if len(cells) != len(names):
                    yield row, Unreadable(f"{len(cells)} cells where the header names {len(names)}")
                    continue
                try:
                    "".join(cells).encode()
                except UnicodeEncodeError:
                    yield row, Unreadable("not UTF-8")
                    continue
                yield row, {name: cell or None for name, cell in zip(names, cells)}
        except csv.Error as error:
            raise TidegateError(f"{self.path}: row {row + 1} (line {rows.line_num}): not CSV: {error}.") from None
        finally:
            with contextlib.suppress(ValueError):  # closed already: the reading was broken off
                text.detach()

    def _parquet(self, stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with tempfile.TemporaryFile() as spool:
            if self.gzipped:
                while block := stream.read(1 << 20):
                    spool.write(block)
                spool.seek(0)
                stream = spool
            try:
                file = pq.ParquetFile(stream)
                row = 0
                for batch in file.iter_batches(batch_size=16_384):
                    for record in microseconds(batch).to_pylist():
                        row += 1
                        yield row, record
            except (pa.ArrowException, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise TidegateError(f"{self.path}: not a readable Parquet file: {reason}") from None


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """(row, record) of the file; see the module's docstring."""
    return EventFile(path).records()


def _damaged(path: Path, error: Exception) -> TidegateError:
    return TidegateError(f"{path}: the gzip data is damaged or cut off ({error}).")


def _format(path: Path, start: bytes) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    for suffix in reversed(suffixes):
        if suffix != ".gz":
            if suffix in _SUFFIXES:
                found = _SUFFIXES[suffix]
                if found == "ndjson" and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                    raise TidegateError(
                        f"{path}: is one JSON array. Write one object a line: jq -c '.[]' {path.name} > events.ndjson"
                    )
                return found
            break
    if start.startswith(b"PAR1"):
        return "parquet"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        return "ndjson"
    first_line = text.split(b"\n", 1)[0]
    if b"," in first_line and b"\x00" not in start:
        return "csv"
    raise TidegateError(
        f"{path}: neither NDJSON (one object a line), CSV (with a header) nor Parquet, each also gzipped; "
        "name it .ndjson, .csv or .parquet."
    )


def _ndjson(stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if line:
            yield number, line


def microseconds(batch: Any) -> Any:
    """Nanosecond time stamps cut to microseconds, before 1970 too; dictionaries made plain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(batch.schema):
        column = batch.column(index)
        if pa.types.is_dictionary(field.type):
            column = column.dictionary_decode()
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            cut = pc.floor_temporal(column, unit="microsecond")
            column = cut.cast(pa.timestamp("us", column.type.tz), safe=False)
        if column.type != field.type:
            batch = batch.set_column(index, field.name, column)
    return batch
