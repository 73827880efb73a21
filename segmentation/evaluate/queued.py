"""What is due and waits for its slice, found once instead of in every step.

While a front waits (segmentation.evaluate.slices), each step asks which of its own users' changes are due, and each
slice which changes are the next. Both are in the log, among all that wait. So these are taken out of it once, in layers
of instants that follow each other, each of which knows its users and, when slices come to it, the order of the front.

A layer is complete for good: an event that is logged later is known at the watermark or after it, and so passes no
edge at an instant below. What is in a layer may have been applied since, with an event of its user: that is seen by
`applied`, as for rows of the log.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from segmentation.distinct import distinct
from segmentation.evaluate.due import Due, Progress, due_rows
from segmentation.evaluate.ranks import Front, Ranks
from segmentation.events.rows import Int64
from segmentation.state.log import Columns
from segmentation.state.order import rows_at, stable_order

#: Changes that are looked at together.
_LEAST = 256


class Layer:
    """Changes at instants below `until` (µs), ordered by user: the rows that pass, of each the edge's number and the
    instant, int64[n]."""

    def __init__(self, rows: Columns, edge: Int64, at: Int64, until: int) -> None:
        order = stable_order(rows["user"].astype(np.int64))
        self.rows = {name: column[order] for name, column in rows.items()}
        self.user = self.rows["user"].astype(np.int64)
        self.edge, self.at, self.until = edge[order], at[order], until
        self._order: Int64 | None = None
        self._rank = np.zeros(0, np.int64)
        self._done = 0  # of the order

    def __len__(self) -> int:
        return len(self.at) - self._done

    @staticmethod
    def merged(layers: Sequence["Layer"]) -> "Layer":
        """One of all, without what slices have taken."""
        left = [layer._left() for layer in layers]
        rows = {
            name: np.concatenate([layer.rows[name][places] for layer, places in zip(layers, left)])
            for name in layers[0].rows
        }
        edge, at = (
            np.concatenate([values[places] for values, places in zip(each, left)])
            for each in ([layer.edge for layer in layers], [layer.at for layer in layers])
        )
        return Layer(rows, edge, at, layers[-1].until)

    def of_users(self, users: Int64) -> Int64:
        """Places of the rows of users (sorted, distinct)."""
        return rows_at(self.user, users)

    def next(self, most: int, progress: Progress, ranks: Ranks) -> Front | None:
        """How far the first `most` changes go that wait for nothing but time, at least one user's; None where there are
        no more than these."""
        order = self._ordered(ranks)
        begin, left, first = self._done, most, -1
        while begin < len(order):
            some = order[begin : begin + max(left + 1, _LEAST)]
            user = self.user[some]
            done = np.maximum(progress.applied[user], progress.reached[user])
            waits = np.flatnonzero((self.at[some] > done) & (self.at[some] >= progress.applied_to))
            first = begin + int(waits[0]) if first < 0 and len(waits) else first
            if len(waits) > left:
                last = begin + int(waits[left])
                begun, front = (Front(int(self.at[order[i]]), int(self._rank[i])) for i in (first, last))
                return front if front > begun else Front(front.at, front.rank + 1)
            begin, left = begin + len(some), left - len(waits)
        return None

    def up_to(self, front: Front, ranks: Ranks) -> Int64:
        """Places of what comes before the front, and did not come before one that was given earlier."""
        order = self._ordered(ranks)
        at = self.at[order]
        first, last = np.searchsorted(at, front.at, "left"), np.searchsorted(at, front.at, "right")
        end = int(first + np.searchsorted(self._rank[first:last], front.rank, "left"))
        found, self._done = order[self._done : end], max(self._done, end)
        return found

    def due(self, places: Int64, progress: Progress) -> Iterator[Due]:
        """Those of the changes at `places` that are due now, by edge."""
        edge = self.edge[places]
        for number in distinct(edge).tolist():
            here = places[edge == number]
            rows, at = {name: column[here] for name, column in self.rows.items()}, self.at[here]
            if len(due := due_rows(rows, at, progress, progress.applied_to)):
                yield Due(number, rows, at, due)

    def _ordered(self, ranks: Ranks) -> Int64:
        if self._order is None:
            rank = ranks.of(self.user)
            order = stable_order(rank)
            self._order = order[stable_order(self.at[order])]
            self._rank = rank[self._order]
        return self._order

    def _left(self) -> Int64:
        return np.arange(len(self.at)) if self._order is None else self._order[self._done :]


class Queue:
    """Layers of changes, of instants from `until` (µs) on as it is at first, strictly below it as it is then."""

    def __init__(self, until: int) -> None:
        self._layers: list[Layer] = []
        self.until = until

    def add(self, found: Iterable[Due], names: Iterable[str], until: int) -> None:
        """What is due from where the queue ended up to `until`; names: of the columns that are kept."""
        self.until, names = until, list(names)
        kept = [(due, due.places[due.at[due.places] < until]) for due in found]
        if not sum(len(places) for _, places in kept):
            return
        rows = {name: np.concatenate([due.rows[name][places] for due, places in kept]) for name in names}
        edge = np.concatenate([np.full(len(places), due.number) for due, places in kept])
        at = np.concatenate([due.at[places] for due, places in kept])
        self._layers.append(Layer(rows, edge, at, until))
        while len(self._layers) > 1 and 2 * len(self._layers[-1]) > len(self._layers[-2]):
            self._layers[-2:] = [Layer.merged(self._layers[-2:])]

    def next(self, most: int, progress: Progress, ranks: Ranks) -> Front | None:
        """A front that lets in about `most` (> 0) changes, or fewer where a layer ends; None where the queue has no
        more than these."""
        front = self._layers[0].next(most, progress, ranks) if self._layers else None
        return Front(self._layers[0].until, 0) if front is None and len(self._layers) > 1 else front

    def due(self, progress: Progress, users: Int64, front: Front | None, ranks: Ranks) -> tuple[list[Due], Int64]:
        """What of it is due for the users (sorted, distinct), as far as they are `reached`, and up to the front, if one
        is given; and the users who are moved to the front's own instant, who are `reached` up to there then."""
        chosen, moved = [], [np.zeros(0, np.int64)]
        for layer in self._layers:
            places = layer.of_users(users)
            if front is not None:
                up_to = layer.up_to(front, ranks)
                here = up_to[layer.at[up_to] == front.at]
                user = layer.user[here]
                moved.append(user[np.maximum(progress.applied[user], progress.reached[user]) < front.at])
                places = distinct(np.concatenate((places, up_to)))
            chosen.append((layer, places))
        who = np.concatenate(moved)
        if front is not None:
            np.maximum.at(progress.reached, who, front.at)
            progress.watermark, progress.read_to = front.at, front.at + 1
        found = [due for layer, places in chosen for due in layer.due(places, progress)]
        if front is not None:
            self._layers = [layer for layer in self._layers if layer.until > front.at]
        return found, who
