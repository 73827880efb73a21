"""Events as a shard keeps them: its own numbers for users and texts, one code for the index."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.plan import Plan
from segmentation.evaluate.environments import Frame
from segmentation.evaluate.index import Index
from segmentation.evaluate.vector import Vector, text_vector
from segmentation.events.rows import Int64, Rows, TextColumn
from segmentation.state.dictionary import Dictionary
from segmentation.state.log import Columns
from segmentation.types import Kind

Array = NDArray[Any]
_ALWAYS = ("user_id", "event_id", "event_time")
_DTYPES: dict[Kind, type[np.generic]] = {Kind.TEXT: np.int32, Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}


class Columnar:
    """Log columns: time, known (int64 µs), user, code (int32), event_id (str), and for each column of
    the plan `=name` (data; texts as codes, -1 is NULL) and, but for texts, `?name` (valid)."""

    def __init__(self, plan: Plan, index: Index) -> None:
        self.users = Dictionary()
        self.texts = Dictionary()
        self._index = index
        self._code_columns = plan.code_columns
        self._types = {name: type_ for name, type_ in plan.columns.items() if name not in _ALWAYS}

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        dtypes: dict[str, np.dtype[Any]] = {name: np.dtype(np.int64) for name in ("time", "known")}
        dtypes |= {"user": np.dtype(np.int32), "code": np.dtype(np.int32), "event_id": np.dtype(object)}
        for name, type_ in self._types.items():
            dtypes[f"={name}"] = np.dtype(_DTYPES.get(type_.kind, np.int64))
            if type_.kind is not Kind.TEXT:
                dtypes[f"?{name}"] = np.dtype(np.bool_)
        return dtypes

    def user_numbers(self, rows: Rows) -> Int64:
        """The shard's number of each row's user; new users get the next ones."""
        used, place = np.unique(rows.user, return_inverse=True)
        ids = rows.user_ids
        numbers: Int64 = self.users.codes([ids[i] for i in used.tolist()])[place]
        return numbers

    def columns(self, rows: Rows, user: Int64, known: Int64) -> Columns:
        n = len(rows)
        texts = {
            name: self._own_codes(column)
            for name in {*self._code_columns, *self._types}
            if isinstance(column := rows.columns[name], TextColumn)
        }
        out: Columns = {
            "time": rows.time, "known": known, "user": user, "event_id": rows.event_id,
            "code": self._index.encode(texts, n, self.texts),
        }
        for name in self._types:
            column = rows.columns[name]
            if isinstance(column, TextColumn):
                out[f"={name}"] = texts[name].codes
            else:
                out[f"={name}"] = column.data
                out[f"?{name}"] = np.ones(n, np.bool_) if column.valid is None else column.valid
        return out

    def _own_codes(self, column: TextColumn) -> TextColumn:
        used, place = np.unique(column.codes, return_inverse=True)
        code, values = self.texts.code, column.values
        own = np.array([code(values[c]) if c >= 0 else -1 for c in used.tolist()], np.int32)
        return TextColumn(own[place], self.texts.values)

    def frame(self, rows: Columns) -> Frame:
        """The rows as an environment for row expressions."""

        def make(name: str) -> Vector:
            if name == "event_time":
                return Vector(Kind.TIMESTAMPTZ, rows["time"])
            if name == "event_id":
                return text_vector(rows["event_id"].tolist())
            if name == "user_id":
                return text_vector([self.users.values[user] for user in rows["user"].tolist()])
            type_, data = self._types[name], rows[f"={name}"]
            if type_.kind is Kind.TEXT:
                return Vector(Kind.TEXT, data, data >= 0, texts=self.texts)
            valid = rows[f"?{name}"]
            return Vector(type_.kind, data, None if valid.all() else valid, type_.scale)

        return Frame(len(rows["time"]), make)
