"""Messages to columns, a batch at a time: `Decoder(schema, max_skew_us).decode(...)` gives `Decoded`.

What a message means, and why it is refused, is said in `exact`, `times` and `decimals`, one value at a time. The
usual messages are read in C (`quick`), where that is built; it leaves whatever it does not know at once, and this
goes through `structs`, which does the same with msgspec and numpy, and alone knows how to refuse. So the outcome for
a message depends on nothing but the message: a bad one is set aside and its neighbours never notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.events.columns import only
from segmentation.events.origin import generated_ids
from segmentation.events.quick import QuickDecoder, put_rows
from segmentation.events.rejects import Reason, Reject
from segmentation.events.rows import Bool, Int64, Rows
from segmentation.events.schema import Schema
from segmentation.events.structs import StructDecoder

__all__ = ["Decoded", "Decoder", "Reason", "Reject"]


@dataclass(slots=True)
class Decoded:
    """rows: what was accepted, in order of arrival; rejects: the rest, by index."""

    rows: Rows
    rejects: list[Reject]


class Decoder:
    """Decodes polls of one topic by one schema; no outcome depends on the polls before.

    max_skew_us: an event further than this ahead of its own Kafka timestamp is refused; None: none is.
    native: in C, if that is built; else with numpy alone, which gives the same.
    """

    def __init__(self, schema: Schema, max_skew_us: int | None, *, native: bool = True) -> None:
        self.schema, self.max_skew_us = schema, max_skew_us
        self.generates_ids = schema.events["event_id"].generated
        self._structs = StructDecoder(schema, max_skew_us)
        self._quick = QuickDecoder.of(schema) if native else None

    def decode(
        self,
        values: Sequence[bytes | None],
        offsets: Int64,
        timestamps: Int64,
        *,
        partition: int = 0,
        event_ids: Sequence[str] | None = None,
    ) -> Decoded:
        """values[n], offsets int64[n] increasing, timestamps int64[n]: Kafka's, µs (negative: none, no skew check).

        event_ids[n] stand in where a message has none (files). Where the schema says `event_id: {generated: true}`
        and none are given, the id is that of partition and offset.
        """
        if event_ids is None and self.generates_ids:
            event_ids = generated_ids(partition, offsets)
        if self._quick is None:
            return Decoded(*self._structs.decode(values, offsets, timestamps, event_ids))
        rows, left = self._quick.decode(values, offsets, event_ids)
        if self.max_skew_us is not None:
            left |= (rows.time - timestamps > self.max_skew_us) & (timestamps >= 0)
        rejects: list[Reject] = []
        if left.any():
            rejects = self._read_again(rows, left, values, timestamps, event_ids)
            kept = np.ones(len(values), np.bool_)
            kept[[reject.index for reject in rejects]] = False
            rows = only(rows, kept)
        rows.high = np.maximum.accumulate(rows.time)
        return Decoded(rows, rejects)

    def _read_again(
        self,
        rows: Rows,
        left: Bool,
        values: Sequence[bytes | None],
        timestamps: Int64,
        event_ids: Sequence[str] | None,
    ) -> list[Reject]:
        """The messages that were left, into their places in `rows`, or as rejects."""
        places = np.flatnonzero(left)
        whose = places.tolist()
        found, rejects = self._structs.decode(
            [values[place] for place in whose], places, timestamps[places],
            None if event_ids is None else [event_ids[place] for place in whose],
        )  # fmt: skip
        put_rows(rows, found)
        return [Reject(whose[reject.index], reject.reason, reject.detail) for reject in rejects]
