"""Rows of several polls that are taken together: what a shard does with new events has a fixed cost each time, and one
read of all partitions of a busy topic gives each of its shards a few rows of each.

Rows that follow each other and have their dictionaries in common become one; the outcome for each is the same as by
itself, since the watermark at its arrival is worked out before, poll by poll.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from segmentation.events.rows import Int32, Int64, Rows, TextColumn, ValueColumn

_Part = tuple[Rows, Int64, int]


class Gathered:
    """Rows in order of arrival, each poll's with the watermark at each arrival (int64[n], µs) and their partition."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def add(self, rows: Rows, watermark: Int64, partition: int) -> None:
        self._parts.append((rows, watermark, partition))

    def take(self) -> Iterator[tuple[Rows, Int64, Int32]]:
        """All of them, in order; (rows, watermark [n], partition [n]). Then there are none."""
        parts, self._parts = self._parts, []
        start = 0
        for end in range(1, len(parts) + 1):
            if end == len(parts) or not _share(parts[start][0], parts[end][0]):
                yield _joined(parts[start:end])
                start = end


def _share(a: Rows, b: Rows) -> bool:
    return a.user_ids is b.user_ids and all(
        not isinstance(column, TextColumn) or column.values is getattr(b.columns[name], "values", None)
        for name, column in a.columns.items()
    )


def _joined(parts: Sequence[_Part]) -> tuple[Rows, Int64, Int32]:
    polls = [rows for rows, _, _ in parts]
    partition = np.repeat(np.array([each for _, _, each in parts], np.int32), [len(rows) for rows in polls])
    first = polls[0]
    if len(parts) == 1:
        return first, parts[0][1], partition
    rows = Rows(
        np.concatenate([rows.offset for rows in polls]), np.concatenate([rows.user for rows in polls]), first.user_ids,
        np.concatenate([rows.time for rows in polls]), np.concatenate([rows.high for rows in polls]),
        np.concatenate([rows.event_id for rows in polls]),
        {name: _column([rows.columns[name] for rows in polls]) for name in first.columns},
    )  # fmt: skip
    return rows, np.concatenate([watermark for _, watermark, _ in parts]), partition


def _column(columns: Sequence[TextColumn | ValueColumn]) -> TextColumn | ValueColumn:
    if isinstance(columns[0], TextColumn):  # then all are, with one dictionary
        texts = [column for column in columns if isinstance(column, TextColumn)]
        return TextColumn(np.concatenate([column.codes for column in texts]), columns[0].values)
    values = [column for column in columns if isinstance(column, ValueColumn)]
    data = np.concatenate([column.data for column in values])
    if all(column.valid is None for column in values):
        return ValueColumn(data)
    some = [np.ones(len(each.data), np.bool_) if each.valid is None else each.valid for each in values]
    return ValueColumn(data, np.concatenate(some))
