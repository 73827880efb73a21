"""Events as a shard keeps them: its own numbers for users and texts, one code for the index."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.compile.plan import BY_TIME, Bag, Plan, Register, walk
from segmentation.distinct import used_codes
from segmentation.evaluate.environments import Frame
from segmentation.evaluate.index import Index
from segmentation.evaluate.vector import text_vector
from segmentation.evaluate.vectors import Vector
from segmentation.events.rows import PROFILES, Int32, Int64, Rows, TextColumn, ValueColumn
from segmentation.state.archive import FoundRows, StoredRows
from segmentation.state.chunks import Columns, Format
from segmentation.state.dictionary import Dictionary, Translation
from segmentation.state.users import new_users
from segmentation.types import FOREVER, Kind, Type

Array = NDArray[Any]


class _Unread:
    """In the place of an event id that no definition was known to read: to compare it is an error."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("an event id is needed that was not read from the archive")

    __lt__ = __gt__ = __le__ = __ge__ = __eq__

    def __hash__(self) -> int:
        raise AssertionError("an event id is needed that was not read from the archive")


UNREAD = _Unread()
_ALWAYS = ("user_id", "event_id", "event_time")
_DTYPES: dict[Kind, type[np.generic]] = {Kind.TEXT: np.int32, Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}


class Columnar:
    """Log columns: time, known (int64 µs), user, code (int32), event_id (str), and for each column of
    the plan `=name` (data; texts as codes, -1 is NULL) and, but for texts, `?name` (valid).

    declared: further columns that only the log's archive gets: partition, offset, and every declared
    column that the plan does not read, texts as they are.
    """

    def __init__(self, plan: Plan, index: Index, declared: Mapping[str, Type] | None = None) -> None:
        self.users = new_users()
        self.texts = Dictionary()
        self._index = index
        self._code_columns = plan.code_columns
        self._types = {name: type_ for name, type_ in plan.columns.items() if name not in _ALWAYS}
        self._event_ids = reads_event_ids(plan)
        self._archived = declared is not None
        #: The columns that are asked for when events and passing time take effect, and their dtypes.
        self.settled = {
            name: dtype for name, dtype in self.dtypes().items() if name != "event_id" or needs_event_ids(plan)
        }
        self._declared = {name: type_ for name, type_ in (declared or {}).items() if name not in self._types}

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        dtypes: dict[str, np.dtype[Any]] = {name: np.dtype(np.int64) for name in ("time", "known")}
        dtypes |= {"user": np.dtype(np.int32), "code": np.dtype(np.int32), "event_id": np.dtype(object)}
        for name, type_ in self._types.items():
            dtypes[f"={name}"] = np.dtype(_DTYPES.get(type_.kind, np.int64))
            if type_.kind is not Kind.TEXT:
                dtypes[f"?{name}"] = np.dtype(np.bool_)
        return dtypes

    def wide_dtypes(self) -> dict[str, np.dtype[Any]]:
        """Of the columns for the archive only; empty without one."""
        if not self._archived:
            return {}
        dtypes: dict[str, np.dtype[Any]] = {"partition": np.dtype(np.int32), "offset": np.dtype(np.int64)}
        for name, type_ in self._declared.items():
            text = type_.kind is Kind.TEXT
            dtypes[f"={name}"] = np.dtype(object if text else _DTYPES.get(type_.kind, np.int64))
            if not text:
                dtypes[f"?{name}"] = np.dtype(np.bool_)
        return dtypes

    def text_columns(self) -> list[str]:
        """Those of the log columns that are codes of texts."""
        return [f"={name}" for name, type_ in self._types.items() if type_.kind is Kind.TEXT]

    def user_numbers(self, rows: Rows) -> Int64:
        """The shard's number of each row's user; new users get the next ones."""
        ids = rows.user_ids
        used, place = used_codes(rows.user, len(ids))
        numbers: Int64 = self.users.numbers(ids, used)[place]
        return numbers

    def columns(self, rows: Rows, user: Int64, known: Int64, partition: Int32) -> Columns:
        """Rows of one topic, by partition [n]."""
        n = len(rows)
        versions = bool(n and partition[0] >= PROFILES)
        given = rows.columns
        names = self._types if versions else {*self._code_columns, *self._types}
        texts = {
            name: self._own_codes(column)
            for name in names
            if isinstance(column := given.get(name), TextColumn)
        }
        code = np.full(n, self._index.profile) if versions else self._index.encode(texts, n, self.texts)
        out: Columns = {"time": rows.time, "known": known, "user": user, "event_id": rows.event_id, "code": code}
        for name, type_ in self._types.items():
            _put(out, name, texts.get(name) or given.get(name) or _nulls(type_, n))
        if self._archived:
            out |= {"partition": partition, "offset": rows.offset}
            for name, type_ in self._declared.items():
                _put(out, name, given.get(name) or _nulls(type_, n), as_codes=False)
        return out

    def format(self) -> Format:
        """How the archive's files and these columns go into each other."""
        columns = sorted({"event_type", *self._code_columns, *self._types})
        return Format(self._stored, self._restored, columns, self._event_ids)

    def _stored(self, columns: Columns) -> StoredRows:
        out: dict[str, TextColumn | ValueColumn | Array] = {}
        for name, type_ in {**self._types, **self._declared}.items():
            data = columns[f"={name}"]
            if type_.kind is not Kind.TEXT:
                out[name] = ValueColumn(data, columns[f"?{name}"])
            else:
                out[name] = TextColumn(data, self.texts.values) if name in self._types else data
        return StoredRows(
            columns["time"], columns["known"], columns["user"], self.users, columns["event_id"],
            columns["partition"], columns["offset"], out,
        )

    def _restored(self, found: FoundRows) -> Columns:
        n = len(found.time)
        texts = {
            name: self._own_codes(column) for name, column in found.columns.items() if isinstance(column, TextColumn)
        }
        versions = texts["event_type"].codes < 0  # every event has a type
        code = np.where(versions, self._index.profile, self._index.encode(texts, n, self.texts))
        out: Columns = {
            "time": found.time, "known": found.known, "user": found.user,
            "event_id": np.full(n, UNREAD, object) if found.event_id is None else found.event_id,
            "code": code.astype(np.int32),
        }
        for name in self._types:
            _put(out, name, texts.get(name, found.columns[name]))
        return out

    def taken_over(self, found: StoredRows) -> Columns:
        """The rows of a shard with the same users and an archive, of another plan perhaps, as all our columns."""
        n = len(found.time)
        columns = {
            name: _as_text_column(column) if isinstance(column, np.ndarray) else column
            for name, column in found.columns.items()
        }
        read = {name: columns.get(name) or _nulls(type_, n) for name, type_ in self._types.items()}
        text = Type(Kind.TEXT)
        read |= {name: columns.get(name) or _nulls(text, n) for name in {"event_type", *self._code_columns}}
        plain = FoundRows(found.time, found.known, np.asarray(found.user), found.event_id, read)
        out = self._restored(plain) | {"partition": found.partition, "offset": found.offset}
        for name, type_ in self._declared.items():
            _put(out, name, columns.get(name) or _nulls(type_, n), as_codes=False)
        return out

    def adopted(self, rows: Columns, numbers: Int64, texts: Translation) -> Columns:
        """Another shard's rows as ours: those of users whose number there has one here (numbers[there] >= 0)."""
        user = numbers[rows["user"]]
        mine = user >= 0
        out = {name: column[mine] for name, column in rows.items()}
        out["user"] = user[mine].astype(rows["user"].dtype)
        for name, type_ in self._types.items():
            if type_.kind is Kind.TEXT:
                out[f"={name}"] = texts(out[f"={name}"])
        return out

    def _own_codes(self, column: TextColumn) -> TextColumn:
        code, values = self.texts.code, column.values
        used, place = used_codes(column.codes, len(values))
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
                return text_vector(self.users.names(rows["user"]))
            type_, data = self._types[name], rows[f"={name}"]
            if type_.kind is Kind.TEXT:
                return Vector(Kind.TEXT, data, data >= 0, texts=self.texts)
            valid = rows[f"?{name}"]
            return Vector(type_.kind, data, None if valid.all() else valid, type_.scale)

        return Frame(len(rows["time"]), make)


def _as_text_column(values: Array) -> TextColumn:
    """Texts as they are, None for NULL."""
    codes: dict[str | None, int] = {None: -1}
    found = [codes.setdefault(value, len(codes) - 1) for value in values.tolist()]
    return TextColumn(np.array(found, np.int32), [text for text in codes if text is not None])


def _nulls(type_: Type, n: int) -> TextColumn | ValueColumn:
    """A column that these rows do not have."""
    if type_.kind is Kind.TEXT:
        return TextColumn(np.full(n, -1, np.int32), [])
    return ValueColumn(np.zeros(n, _DTYPES.get(type_.kind, np.int64)), np.zeros(n, np.bool_))


def _put(out: Columns, name: str, column: TextColumn | ValueColumn, as_codes: bool = True) -> None:
    if isinstance(column, ValueColumn):
        out[f"={name}"] = column.data
        out[f"?{name}"] = np.ones(len(column.data), np.bool_) if column.valid is None else column.valid
    elif as_codes:
        out[f"={name}"] = column.codes
    else:
        values = np.empty(len(column.values) + 1, object)
        values[:-1] = column.values  # code -1 takes the last: None
        out[f"={name}"] = values[column.codes]


def reads_event_ids(plan: Plan) -> bool:
    """Does a row that is read again after its arrival need its event id? What goes by time compares them where
    times tie; else only a condition on event_id itself."""
    cells: list[Register | Bag] = [*plan.registers, *plan.bags]
    by_time = [cell for cell in cells if cell.function in BY_TIME]
    if any(term.start != 0 or term.end != FOREVER for cell in by_time for term in cell.terms):
        return True
    return _named(plan)


def needs_event_ids(plan: Plan) -> bool:
    """Does anything need an event id when the event takes effect, or passes an edge? Only counts and sums, and nothing
    that is kept beside values of the user, can do without."""
    terms = [term for cell in plan.cells for term in cell.terms]
    linear = not (plan.registers or plan.distincts or plan.bags)
    return not linear or any(term.beside is not None for term in terms) or _named(plan)


def _named(plan: Plan) -> bool:
    """Does a condition or a value name the column event_id?"""
    terms = [term for cell in plan.cells for term in cell.terms]
    nodes = [node for term in terms for node in (term.arg, term.residual, term.beside) if node is not None]
    return any(
        isinstance(inner, tree.Column) and inner.name == "event_id" for node in nodes for inner in walk(node)
    )
