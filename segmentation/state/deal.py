"""Chunks of several logs dealt out to others by user, each file being read once whatever their number.

The new chunks are about as large as the old ones, and as far as possible in order of time: rows are
written once nothing older can follow, or when too many are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from segmentation.events.rows import Int64
from segmentation.state.archive import ChunkRef, Leaving
from segmentation.state.chunks import Chunks
from segmentation.types import FOREVER

#: So many chunks' worth of rows are held in memory, at most.
HELD_CHUNKS = 64


@dataclass(slots=True)
class Source:
    """owner, number int64[users of `chunks`]: which target a user goes to (-1: none), and his number there."""

    chunks: Chunks
    owner: Int64
    number: Int64

    def leaving(self, ref: ChunkRef, targets: int) -> Sequence[Leaving]:
        return self.chunks.archive.leaving(ref, self.owner, self.number, targets, self.chunks.hidden(ref))


def deal(sources: Sequence[Source], targets: Sequence[Chunks], chunk_rows: int) -> None:
    """The targets, empty before, have the rows of all sources; the sources stay as they are."""
    most = HELD_CHUNKS * chunk_rows
    enough = max(1, min(chunk_rows, most // len(targets)))
    for late in (False, True):
        found = ((ref, source) for source in sources for ref in source.chunks.refs if ref.late == late)
        refs = sorted(found, key=lambda pair: pair[0].first)
        held = [_Held(target, late) for target in targets]
        following = chain((ref.first for ref, _ in refs[1:]), [FOREVER])
        for (ref, source), next_first in zip(refs, following):
            for mine, piece in zip(held, source.leaving(ref, len(targets))):
                if len(piece.time):
                    mine.pieces.append(piece)
            # Late chunks span long times anyway.
            complete = next_first if not late and sum(mine.rows for mine in held) < most else FOREVER
            for mine in held:
                mine.write(complete, enough)
        for mine in held:
            mine.write(FOREVER, 1)


@dataclass(slots=True)
class _Held:
    """Rows for one target that are not written yet."""

    target: Chunks
    late: bool
    pieces: list[Leaving] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(len(piece.time) for piece in self.pieces)

    def write(self, until: int, enough: int) -> None:
        """The rows before `until`, if there are so many."""
        ends = [int(np.searchsorted(piece.time, until, "left")) for piece in self.pieces]
        if sum(ends) < enough:
            return
        heads = [piece.slice(0, end) for piece, end in zip(self.pieces, ends) if end]
        self.target.receive(self.target.archive.arrived(heads, self.late))
        self.pieces = [
            piece.slice(end, len(piece.time)) for piece, end in zip(self.pieces, ends) if end < len(piece.time)
        ]
