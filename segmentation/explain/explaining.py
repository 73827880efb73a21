"""Why a user is in a segment or not at an instant, since when, and when that changes if nothing arrives.

Two programs that have nothing in common but the checked tree look at the user: what each part of the condition comes
to is said by `segmentation.reference_eval`, when it changes by the engine's shard (`segmentation.explain.alone`). They
must agree on membership, at the instant asked for and at the next flip, or there is no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.compile.lower import lower
from segmentation.compile.parse import deep_recursion
from segmentation.compile.tree import Definition
from segmentation.errors import TidegateError
from segmentation.events.schema import Schema
from segmentation.explain.alone import Alone
from segmentation.explain.arrivals import Arrival, ordered
from segmentation.explain.arriving import event_types, unless
from segmentation.explain.conditions import Looking, Part
from segmentation.reference_users import Version, latest

#: Events that are named for an aggregate, unless another number is asked for.
EVENTS_SHOWN = 5


class Contradiction(TidegateError):
    """The two ways of looking at a user differ: a defect of Tidegate, and no answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A condition that is not the same any more at the next flip."""

    part: Part
    then: Part


@dataclass(frozen=True, slots=True)
class Explanation:
    """at: µs, the instant asked for. known: whether anything had arrived of the user. since: µs, from when he has been
    in, or out after having been in; None for one who never was. next_flip: µs, when that changes if nothing arrives,
    None if it does not by `searched`. turns: the conditions that change there. events: of his that are known; later:
    arrivals that were given and are not known at `at`; profile: µs, the time of the latest version of his profile.
    from_state: events that count may be missing: the condition is the engine's own (segmentation.explain.from_state).
    held: what is stored stays as it was, whatever the events say. complete_since: µs, what is older does not count.
    unless: what could keep the next flip from happening. since_pruned: since is None because it is not stored any more.
    as_of: µs, up to when what has arrived is in it; None: all that was given. behind: empty, or why that is not all
    that is known."""

    user_id: str
    segment: str
    at: int
    known: bool
    member: bool
    since: int | None
    next_flip: int | None
    searched: int
    condition: Part
    turns: tuple[Turn, ...]
    events: int
    later: int
    profile: int | None
    from_state: bool = False
    held: bool = False
    complete_since: int | None = None
    unless: str = unless(None)
    since_pruned: bool = False
    as_of: int | None = None
    behind: str = ""


def explain(
    definition: Definition, schema: Schema, user_id: str, arrivals: Sequence[Arrival], at: int,
    events_max: int = EVENTS_SHOWN,
) -> Explanation:  # fmt: skip
    """arrivals: all of the user's, without repeats; those known after `at` (µs) do not count.

    Raises Contradiction.
    """
    arrivals = ordered(arrivals)
    known = [arrival for arrival in arrivals if arrival.known_at <= at]
    events = [arrival.event for arrival in known]
    with deep_recursion():
        alone = Alone(lower([definition], schema), 0, known, at)
        now = Looking(user_id, events, at, events_max).relation(definition.query)
        member, flips = alone.member, alone.flips
        next_flip, searched = alone.next_flip() if known else (None, at)
        _agree(definition, user_id, at, member, now)
        turns: tuple[Turn, ...] = ()
        if next_flip is not None:
            then = Looking(user_id, events, next_flip, 0).relation(definition.query)
            _agree(definition, user_id, next_flip, not member, then)
            turns = turned(now, then)
    profile = latest(events)
    number = sum(not isinstance(event, Version) for event in events)
    return Explanation(
        user_id, definition.name, at, bool(known), member, flips[-1][0] if flips else None, next_flip, searched, now,
        turns, number, len(arrivals) - len(known), None if profile is None else profile.time,
        unless=unless(event_types(definition.query, number > 0)),
    )  # fmt: skip


def _agree(definition: Definition, user_id: str, at: int, member: bool, part: Part) -> None:
    if member != (part.holds is True):
        raise Contradiction(
            f"two evaluations of {definition.name} for {user_id!r} at {at} µs differ: the engine says {member}, "
            f"the reference {part.holds}. This is a defect of Tidegate: report it with the definition and the events."
        )


def turned(now: Part, then: Part) -> tuple[Turn, ...]:
    """The single conditions that differ, beneath parts that differ."""
    if now.holds == then.holds:
        return ()
    if not now.parts:
        return (Turn(now, then),)
    return tuple(turn for a, b in zip(now.parts, then.parts, strict=True) for turn in turned(a, b))
