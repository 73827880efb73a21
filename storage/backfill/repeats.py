"""Rows with the same user, time and event id, within a batch and among chunks that are staged.

Which rows may be such is told by a hash of user and time, kept sorted for each chunk; event ids are compared only where
that says so, and the rows themselves agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64
from segmentation.state.archive import ROW_BITS, ChunkRef
from storage.reservoir import Reservoir

#: The event ids of rows, by their places.
Ids = Callable[[Int64], Sequence[str]]
Hashes = NDArray[np.uint64]


@dataclass(slots=True)
class Seen:
    """Of one shard. 8 bytes of memory for each row."""

    reservoir: Reservoir
    _chunks: list[tuple[ChunkRef, Hashes]] = field(default_factory=list)

    def add(self, ref: ChunkRef, user: Int64, time: Int64) -> None:
        self._chunks.append((ref, np.sort(_hashes(user, time))))

    def repeats(self, user: Int64, time: Int64, ids: Ids) -> Bool:
        """bool[n], in order of time: which rows are repeats of a staged one or of an earlier row."""
        out = np.zeros(len(time), np.bool_)
        if not len(time):
            return out
        hashes = _hashes(user, time)
        ranked = np.sort(hashes)
        twice = [ranked[1:][ranked[1:] == ranked[:-1]]]
        touching = [each for each in self._chunks if each[0].last >= time[0] and each[0].first <= time[-1]]
        for _, theirs in touching:
            place = np.minimum(np.searchsorted(theirs, ranked), len(theirs) - 1)
            twice.append(ranked[theirs[place] == ranked])
        if not any(map(len, twice)):
            return out
        rows = np.flatnonzero(np.isin(hashes, np.concatenate(twice)))
        found = set().union(*(self._ids(ref, user[rows], time[rows]) for ref, _ in touching)) if touching else set()
        for row, key in zip(rows.tolist(), zip(user[rows].tolist(), time[rows].tolist(), ids(rows))):
            if key in found:
                out[row] = True
            found.add(key)
        return out

    def _ids(self, ref: ChunkRef, user: Int64, time: Int64) -> set[tuple[int, int, str]]:
        """(user, time, event id) of the chunk's rows that agree with one of (user, time)."""
        chunk = self.reservoir.open(ref)
        wanted = set(zip(user.tolist(), time.tolist()))
        keys = chunk.key[np.isin(chunk.key >> ROW_BITS, user)]
        rows = keys & ((1 << ROW_BITS) - 1)
        near = np.isin(chunk.time[rows], time)
        found: set[tuple[int, int, str]] = set()
        groups = rows[near] // self.reservoir.group_rows
        for group in np.unique(groups).tolist():
            ids = chunk.event_ids(group)
            for key, row in zip(keys[near][groups == group].tolist(), rows[near][groups == group].tolist()):
                who, when = key >> ROW_BITS, int(chunk.time[row])
                if (who, when) in wanted:
                    found.add((who, when, ids[row % self.reservoir.group_rows]))
        return found


def _hashes(user: Int64, time: Int64) -> Hashes:
    with np.errstate(over="ignore"):
        mixed = time.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ user.astype(np.uint64) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        return np.asarray((mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9), np.uint64)
