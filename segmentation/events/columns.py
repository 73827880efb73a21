"""Lists of values as msgspec gives them to numpy columns, with the rows that only `exact` can judge.

`column_of(column)` gives `Codes` for text and `Values` for the rest. Both take values with `add`, in as many parts
as one likes, until `close`. From then on there are `odd`, the rows in which nothing is certain yet (what they hold
there means nothing); `put(row, held)`, for what `exact` found instead; and `finished()`, the column.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.decimals import scaled_floats
from segmentation.events.exact import Held, allowed_as_held, read_number
from segmentation.events.rejects import Refusal
from segmentation.events.rows import Bool, Int32, Rows, TextColumn, ValueColumn
from segmentation.events.schema import EventColumn
from segmentation.events.schema_check import zone_of
from segmentation.events.times import instants
from segmentation.types import Kind

DTYPES: dict[Kind, Any] = {
    Kind.BIGINT: np.int64,
    Kind.NUMERIC: np.int64,
    Kind.DOUBLE: np.float64,
    Kind.BOOLEAN: np.bool_,
    Kind.TIMESTAMPTZ: np.int64,
}


class Codes:
    """A text column. `index` has the distinct values in order of first sight, after None, whose code is -1."""

    def __init__(self, column: EventColumn) -> None:
        self.column = column
        self.index: dict[str | None, int] = defaultdict(count(-1).__next__)
        self.index[None]
        self.parts: list[Int32] = []
        self.odd: set[int] = set()

    def add(self, values: Sequence[str | None]) -> None:
        if self.column.name == "user_id":  # mostly distinct, and then faster so, with one look-up each
            index, code = self.index, self.index.setdefault
            self.parts.append(np.array([code(text, len(index) - 1) for text in values], np.int32))
        else:
            self.parts.append(np.fromiter(map(self.index.__getitem__, values), np.int32, len(values)))

    def close(self) -> None:
        self.codes: Int32 = np.concatenate(self.parts) if self.parts else np.zeros(0, np.int32)
        empty = self.column.empty_as_null or self.column.name == "user_id"
        doubtful: list[str | None] = [""] if empty and "" in self.index else []
        if self.column.one_of is not None:
            doubtful += [text for text in self.texts if text not in self.column.one_of]
        if doubtful:
            codes = [self.index[text] for text in doubtful]
            self.odd.update(np.flatnonzero(np.isin(self.codes, codes)).tolist())

    @property
    def texts(self) -> list[str]:
        return [text for text in self.index if text is not None]

    def put(self, row: int, held: Held) -> None:
        assert held is None or isinstance(held, str)
        # by its length, not by its factory: user ids were added without that
        self.codes[row] = self.index.setdefault(held, len(self.index) - 1)

    def finished(self) -> TextColumn:
        return TextColumn(self.codes, self.texts)


class Values:
    """A column of any other type; `valid` is False where NULL, None if that is nowhere."""

    def __init__(self, column: EventColumn) -> None:
        self.column = column
        self.parts: list[tuple[NDArray[Any], Bool | None]] = []
        self.rows = 0
        self.odd: set[int] = set()

    def add(self, values: Sequence[Any]) -> None:
        data, valid, odd = _values(self.column, values)
        self.parts.append((data, valid))
        self.odd.update(self.rows + row for row in odd)
        self.rows += len(values)

    def close(self) -> None:
        self.data: NDArray[Any] = np.zeros(0, DTYPES[self.column.type.kind])
        self.valid: Bool | None = None
        if self.parts:
            self.data = np.concatenate([data for data, _ in self.parts])
        if any(valid is not None for _, valid in self.parts):
            whole = [np.ones(len(data), np.bool_) if valid is None else valid for data, valid in self.parts]
            self.valid = np.concatenate(whole)
        self.odd.update(np.flatnonzero(not_allowed(self.column, self.data, self.valid)).tolist())

    def put(self, row: int, held: Held) -> None:
        if held is None and self.valid is None:
            self.valid = np.ones(self.rows, np.bool_)
        if self.valid is not None:
            self.valid[row] = held is not None
        self.data[row] = 0 if held is None else held

    def finished(self) -> ValueColumn:
        return ValueColumn(self.data, None if self.valid is None or self.valid.all() else self.valid)


Column = Codes | Values


def column_of(column: EventColumn) -> Column:
    return Codes(column) if column.type.kind is Kind.TEXT else Values(column)


def not_allowed(column: EventColumn, data: NDArray[Any], valid: Bool | None) -> Bool:
    """bool[n]: values that one_of, min or max forbid."""
    one_of, least, most = allowed_as_held(column)
    wrong = np.zeros(len(data), np.bool_)
    if one_of is not None:
        wrong |= ~np.isin(data, np.array(one_of, data.dtype))
    if least is not None:
        wrong |= data < least
    if most is not None:
        wrong |= data > most
    return wrong if valid is None else wrong & valid


def only(rows: Rows, kept: Bool) -> Rows:
    """Those rows, with dictionaries of their texts alone."""
    rows = rows.take(np.flatnonzero(kept))
    rows.user, rows.user_ids = kept_dictionary(rows.user, rows.user_ids)
    for column in rows.columns.values():
        if isinstance(column, TextColumn):
            column.codes, column.values = kept_dictionary(column.codes, column.values)
    return rows


def kept_dictionary(codes: Int32, texts: list[str]) -> tuple[Int32, list[str]]:
    """The same codes into only those texts that occur."""
    used = np.flatnonzero(np.bincount(codes + 1, minlength=len(texts) + 1)[1:])
    if len(used) == len(texts):
        return codes, texts
    new = np.full(len(texts) + 1, -1, np.int32)  # the last one is for -1
    new[used] = np.arange(len(used), dtype=np.int32)
    return new[codes], [texts[code] for code in used.tolist()]


def _values(column: EventColumn, values: Sequence[Any]) -> tuple[NDArray[Any], Bool | None, set[int]]:
    """(data, valid, odd rows). NULL where the value is None, or "" where that means NULL; 0 is kept there."""
    kind = column.type.kind
    quoted: dict[int, Held] = {}
    odd: set[int] = set()
    if column.empty_as_null and str in set(map(type, values)):
        if kind is Kind.TIMESTAMPTZ:
            values = [value or None for value in values]
        else:
            quoted, odd = _quoted(column, values)
            values = [None if type(value) is str else value for value in values]
    read = _times if kind is Kind.TIMESTAMPTZ else _plain
    if None not in values:
        data, more = read(column, values)
        return data, None, odd.union(more)
    valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    present = np.flatnonzero(valid)
    part, more = read(column, [value for value in values if value is not None])
    data = np.zeros(len(values), DTYPES[kind])
    data[present] = part
    odd.update(present[more].tolist())
    for row, held in quoted.items():
        if held is not None:
            data[row], valid[row] = held, True
    return data, valid, odd


def _times(column: EventColumn, texts: Sequence[str]) -> tuple[NDArray[Any], list[int]]:
    return instants(texts, None if column.timezone is None else zone_of(column.timezone))


def _plain(column: EventColumn, values: Sequence[Any]) -> tuple[NDArray[Any], list[int]]:
    """(data, rows that are not certain) of numbers or booleans without None."""
    kind = column.type.kind
    if kind is Kind.NUMERIC:
        data, sure = scaled_floats(np.array(values, np.float64), column.type.precision, column.type.scale)
        return data, np.flatnonzero(~sure).tolist()
    data = np.array(values, DTYPES[kind])
    return (data + 0.0 if kind is Kind.DOUBLE else data), []


def _quoted(column: EventColumn, values: Sequence[Any]) -> tuple[dict[int, Held], set[int]]:
    """(what the strings among the values mean, by row; rows where they mean nothing)."""
    known: dict[str, Held] = {"": None}
    found: dict[int, Held] = {}
    odd: set[int] = set()
    for row, text in enumerate(values):
        if type(text) is str:
            if text not in known:
                if column.type.kind is Kind.BOOLEAN:  # only numbers may stand in quotes
                    odd.add(row)
                    continue
                try:
                    known[text] = read_number(column, text)
                except Refusal:
                    odd.add(row)
                    continue
            found[row] = known[text]
    return found, odd
