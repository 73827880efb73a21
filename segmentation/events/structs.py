"""Messages to columns without C: structs built from the schema, then whole columns in numpy.

Whatever looks unusual (it does not fit its struct, a number close to a half, a time of an odd shape) is read again
alone by `exact`, whose word counts. This is what `decode` has where the C part is not built, the slow twin that the
C part is held against, and what reads the messages that the C part leaves.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmentation.events.columns import Codes, Column, Values, column_of, only
from segmentation.events.decimals import BIGINT_MAX, BIGINT_MIN
from segmentation.events.exact import ID_BYTES_MAX, MESSAGE_BYTES_MAX, Exact
from segmentation.events.paths import REQUIRED, Field, Node, struct, tree
from segmentation.events.rejects import Reason, Refusal, Reject
from segmentation.events.rows import Bool, Int64, Rows
from segmentation.events.schema import EventColumn, Schema
from segmentation.events.times import text_of
from segmentation.types import Kind

_JSON_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.BIGINT: Annotated[int, msgspec.Meta(ge=BIGINT_MIN, le=BIGINT_MAX)],
    Kind.NUMERIC: float,
    Kind.DOUBLE: float,
    Kind.BOOLEAN: bool,
    Kind.TIMESTAMPTZ: str,
}
# Messages at a time: few enough that what is made of them stays in the processor's cache, many enough for numpy.
_CHUNK = 2048
# Messages to join and look at as one text: few enough that the memory for it is at hand.
_BLOCK = 256


class _Shape:
    """A node of the schema's tree as a struct, and the way from a list of its structs to lists of values.

    A required column has no default, so a message without it fails at once, and so does one without an object on
    the way to it. event_id is not among them: it may be given from outside.
    """

    def __init__(self, node: Node) -> None:
        self.columns: list[list[EventColumn]] = list(node.leaves.values())
        self.inner: list[_Shape] = [_Shape(inner) for inner in node.inner.values()]
        fields: list[Field] = []
        for columns in self.columns:
            kind = _json_type(columns[0])
            required = any(column.required and column.name != "event_id" for column in columns)
            fields.append(Field(kind, "") if required else Field(kind | None, None, None))
        for shape in self.inner:
            struct_type: Any = shape.struct
            fields.append(Field(struct_type, shape.blank) if shape.required else Field(struct_type | None, None, None))
        self.required: bool = any(field.default is REQUIRED for field in fields)
        self.struct: type[msgspec.Struct] = struct(node, fields)
        self.getters = [attrgetter(name) for name in node.fields]
        self.blank: msgspec.Struct = self.struct(**{name: field.blank for name, field in zip(node.fields, fields)})

    def lists(self, messages: list[msgspec.Struct], into: dict[str, Sequence[Any]]) -> None:
        """Every column's values by its name."""
        # one pass a column: tuples of all fields at once would be tracked by the garbage collector
        lists = [list(map(get, messages)) for get in self.getters]
        for columns, values in zip(self.columns, lists):
            for column in columns:
                into[column.name] = values
        for shape, structs in zip(self.inner, lists[len(self.columns) :]):
            if None in structs:
                structs = [shape.blank if each is None else each for each in structs]
            shape.lists(structs, into)


def _json_type(column: EventColumn) -> Any:
    kind = _JSON_TYPES[column.type.kind]
    return kind | str if column.empty_as_null and column.type.kind not in (Kind.TEXT, Kind.TIMESTAMPTZ) else kind


class StructDecoder:
    """As `decode.Decoder`; keeps nothing between polls."""

    def __init__(self, schema: Schema, max_skew_us: int | None) -> None:
        self.schema, self.max_skew_us = schema, max_skew_us
        self._exact = Exact(schema.events)
        self._shape = _Shape(tree(schema.events.values()))
        self._decode: Callable[[Any], msgspec.Struct] = msgspec.json.Decoder(self._shape.struct).decode
        self._others = [name for name in schema.events if name not in ("user_id", "event_id", "event_time")]

    def decode(
        self, values: Sequence[bytes | None], offsets: Int64, timestamps: Int64, event_ids: Sequence[str] | None
    ) -> tuple[Rows, list[Reject]]:
        """As `decode.Decoder.decode`: (what was accepted, the rest); a generated event id is in `event_ids`."""
        built = {name: column_of(column) for name, column in self.schema.events.items() if name != "event_id"}
        ids: list[str | None] = []
        odd: set[int] = set()
        for first in range(0, len(values), _CHUNK):
            messages, longest, unread = self._structs(values[first : first + _CHUNK])
            odd.update(first + row for row in unread)
            lists: dict[str, Sequence[Any]] = {}
            self._shape.lists(messages, lists)
            for name, column in built.items():
                column.add(lists[name])
            sent = self._event_ids(lists.get("event_id"), event_ids, first, len(messages))
            # an id is no longer than its message
            if longest > ID_BYTES_MAX or not all(sent) or event_ids is not None:
                odd.update(first + row for row in _doubtful_ids(sent))
                odd.update(first + row for row in _doubtful_ids(lists["user_id"]))
            ids += sent
        event_id = np.empty(len(ids), np.object_)
        event_id[:] = ids
        for column in built.values():
            column.close()
            odd |= column.odd
        rejects = []
        kept = np.ones(len(values), np.bool_)
        for row in sorted(odd):
            try:
                held = self._exact.read(values[row], None if event_ids is None else event_ids[row])
            except Refusal as refusal:
                rejects.append(Reject(row, refusal.reason, refusal.detail))
                kept[row] = False
                continue
            for name, column in built.items():
                column.put(row, held[name])
            event_id[row] = held["event_id"]
        time = built["event_time"]
        assert isinstance(time, Values)
        for row in self._ahead(time.data, timestamps, kept).tolist():
            rejects.append(Reject(row, Reason.EVENT_TIME_IN_FUTURE, self._skew(time.data[row], timestamps[row])))
            kept[row] = False
        rejects.sort(key=lambda reject: reject.index)
        return self._rows(built, event_id, offsets, None if not odd and kept.all() else kept), rejects

    def _structs(self, values: Sequence[bytes | None]) -> tuple[list[msgspec.Struct], int, set[int]]:
        """(a struct for every message, a blank one where it does not fit; the longest's bytes; rows to look at)."""
        blank = self._shape.blank
        messages: list[msgspec.Struct] = []
        odd: set[int] = set()
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            if not _plain(block):
                odd.update(first + row for row, value in enumerate(block) if not _plain([value]))
        if odd:
            values = [b"" if row in odd else value for row, value in enumerate(values)]
        longest = max(map(len, values))  # type: ignore[arg-type]
        if longest > MESSAGE_BYTES_MAX:
            odd.update(row for row, value in enumerate(values) if len(value or b"") > MESSAGE_BYTES_MAX)
        rest = iter(values)
        while len(messages) < len(values):
            try:
                messages.extend(map(self._decode, rest))
            except (msgspec.MsgspecError, RecursionError):
                # extend has kept what came before; the iterator stands behind the message that failed
                odd.add(len(messages))
                messages.append(blank)
        return messages, longest, odd

    def _event_ids(
        self, sent: Sequence[str | None] | None, given: Sequence[str] | None, first: int, count: int
    ) -> Sequence[str | None]:
        """The ids of `count` rows from `first`; None where there is none."""
        if sent is None:
            assert given is not None
            return given[first : first + count]
        if given is None or None not in sent:
            return sent
        return [other if own is None else own for own, other in zip(sent, given[first : first + count], strict=True)]

    def _ahead(self, time: Int64, timestamps: Int64, kept: Bool) -> NDArray[np.intp]:
        if self.max_skew_us is None:
            return np.zeros(0, np.intp)
        return np.flatnonzero((time - timestamps > self.max_skew_us) & (timestamps >= 0) & kept)

    def _skew(self, time: int, timestamp: int) -> str:
        assert self.max_skew_us is not None
        ahead = (int(time) - int(timestamp)) / 1_000_000
        return (
            f"event_time: expected at most {self.max_skew_us / 1_000_000:g} s after the message's Kafka timestamp; "
            f"{text_of(int(time))} is {ahead:.6g} s after"
        )

    def _rows(self, built: dict[str, Column], ids: NDArray[np.object_], offsets: Int64, kept: Bool | None) -> Rows:
        user, time = built["user_id"], built["event_time"]
        assert isinstance(user, Codes) and isinstance(time, Values)
        columns = {name: built[name].finished() for name in self._others}
        rows = Rows(offsets, user.codes, user.texts, time.data, time.data, ids, columns)
        if kept is not None:
            rows = only(rows, kept)
        rows.high = np.maximum.accumulate(rows.time)
        return rows


def _plain(values: Sequence[bytes | None]) -> bool:
    """Whether all are there, and UTF-8, and without NUL in a text: JSON can only have it as an escape."""
    try:
        joined = b"\n".join(values)  # type: ignore[arg-type]
        joined.decode()
    except (TypeError, UnicodeDecodeError):
        return False
    return not (b"\\" in joined and b"\\u0000" in joined)


def _doubtful_ids(ids: Sequence[str | None]) -> list[int]:
    """Rows without an id, or with one that may be too long (a character has at most four bytes)."""
    return [row for row, each in enumerate(ids) if not each or len(each) > ID_BYTES_MAX // 4]
