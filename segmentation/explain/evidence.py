"""The events that an aggregate counts for one user, and those of them that decide what it comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from segmentation.compile import tree, written
from segmentation.explain import words
from segmentation.reference_eval import group_value, passes, place, row_value, settled
from segmentation.reference_users import Event

#: Functions whose value is that of some events.
_PICKING = ("min", "max", "arg_min", "arg_max", "mode", "bool_or", "bool_and")


@dataclass(frozen=True, slots=True)
class Counted:
    """total: events that count, that is pass every filter and have a value. deciding: those that have the value which
    it comes to, where it is the value of some events, else all. events: of those (id, time µs), the newest first;
    not all, where there are many."""

    words: str
    sql: str
    total: int
    deciding: int
    events: tuple[tuple[str, int], ...]


def counted(
    aggregate: tree.Aggregate, shown: tree.Aggregate, rows: Sequence[Event], known: Sequence[Event], t: int, most: int
) -> Counted:
    """Of `rows`, which have passed WHERE. shown: the aggregate as it is said; known: all that is known of the user."""
    condition, arg = settled(aggregate.filter, known, t), settled(aggregate.arg, known, t)
    pairs = [
        (None if arg is None else row_value(arg, event, t), event) for event in rows if passes(condition, event, t)
    ]
    if arg is not None:
        pairs = [pair for pair in pairs if pair[0] is not None]
    decide = pairs
    if pairs and aggregate.function in _PICKING:
        value = group_value(replace(aggregate, filter=condition, arg=arg), rows, t)
        decide = [pair for pair in pairs if pair[0] == value]
        if aggregate.function in ("arg_min", "arg_max"):
            decide = [(min if aggregate.function == "arg_min" else max)(pairs, key=place)]
    newest = sorted((event for _, event in decide), key=lambda event: (event.time, event.event_id), reverse=True)
    named = tuple((event.event_id, event.time) for event in newest[:most])
    return Counted(words.aggregate(shown), written.aggregate(shown), len(pairs), len(decide), named)
