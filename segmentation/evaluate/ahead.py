"""Events that arrived ahead of the clock and wait for it.

A fast client clock, or somebody's bad will, may put every event of the last minutes here, so one
look at them must cost little: they are kept in a few pieces, each in order of known_at, of which the
beginning falls due. A user's known_at never decreases from one arrival to the next, so each
user's events stay in order of arrival; the order between users means nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.state.log import Columns
from segmentation.state.order import stable_order


class InOrder(dict[str, NDArray[Any]]):
    """Columns whose rows are in order of `known`."""


def split(arrived: Sequence[Columns], clock: int) -> tuple[list[Columns], list[Columns]]:
    """(what is known by `clock`, what goes on waiting): of pieces in order of arrival; so are the results."""
    due: list[Columns] = []
    waiting: list[Columns] = []
    for rows in arrived:
        if not isinstance(rows, InOrder):
            ahead = rows["known"] > clock
            if not ahead.any():
                if len(ahead):
                    due.append(rows)
                continue
            if not ahead.all():
                due.append(_where(rows, ~ahead))
            _keep(_in_order(_where(rows, ahead)), waiting)
            continue
        first = int(np.searchsorted(rows["known"], clock, "right"))
        if first:
            due.append({name: column[:first] for name, column in rows.items()})
        if first < len(rows["known"]):
            _keep(_rest(rows, first), waiting)
    return due, waiting


def _keep(rows: InOrder, waiting: list[Columns]) -> None:
    """Puts them last; pieces of like size become one, so that there are few and rows are rarely copied."""
    waiting.append(rows)
    while len(waiting) > 1 and 2 * len(waiting[-1]["known"]) > len(waiting[-2]["known"]):
        after, before = waiting.pop(), waiting.pop()
        both = {name: np.concatenate((column, after[name])) for name, column in before.items()}
        waiting.append(_in_order(both))


def _in_order(rows: Columns) -> InOrder:
    order = stable_order(rows["known"])
    return InOrder((name, column[order]) for name, column in rows.items())


def _rest(rows: InOrder, first: int) -> InOrder:
    """From row `first` on; copied where that gives back more memory than it takes."""
    if not first:
        return rows
    whole = rows["known"].base
    left = len(rows["known"]) - first
    copy = left < (len(rows["known"]) if whole is None else len(whole)) // 2
    return InOrder((name, column[first:].copy() if copy else column[first:]) for name, column in rows.items())


def _where(rows: Columns, chosen: NDArray[np.bool_]) -> Columns:
    return {name: column[chosen] for name, column in rows.items()}
