"""Why a user is in a segment or not, from what the engine has counted of him: for users of whom events were dropped.

A count over all time stays in the engine's state when the events that it counted are gone. So the condition is said
as the engine evaluates it (segmentation.compile.parts), with the values of the state, and no events are named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from segmentation.compile import parts, written_signals
from segmentation.compile.plan import Formula, Plan, Reach
from segmentation.evaluate.looking import Alone
from segmentation.explain.alone import first_flip, netted
from segmentation.explain.conditions import ALL, ANY, CONDITION, Part, Side
from segmentation.explain.explaining import Explanation, Turn, turned
from segmentation.types import RATIO, Type


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a user beside his cells. at: µs, where he was saved; since: µs, of what is stored of his
    membership then; events, later: how many are kept that are known then, and that are not; profile: µs."""

    user_id: str
    at: int
    since: int | None
    events: int
    later: int
    profile: int | None


def explain_state(take: Callable[[], Alone], segment: int, kept: Kept, at: int) -> Explanation:
    """take: the user as he was saved, anew each time; segment: its number in the plan; at: µs, not before kept.at."""
    alone, since = take(), kept.since
    plan = alone.shard.plan
    if at > kept.at:
        for flip, _ in netted([alone.shard.finish(at).transitions], segment):
            since = flip
    said = parts.condition(plan, segment).root
    if said is None:
        never = Part(CONDITION, "its conditions exclude each other, so that nobody is ever in it", "FALSE", False)
        return _explanation(plan.names[segment], kept, at, None, (None, at), never, ())
    now = _part(alone, plan, said)
    found = first_flip(alone.shard, segment, at)
    turns: tuple[Turn, ...] = ()
    if found[0] is not None:
        later = take()
        later.shard.finish(found[0])
        turns = turned(now, _part(later, plan, said))
    return _explanation(plan.names[segment], kept, at, since, found, now, turns)


def _explanation(
    segment: str, kept: Kept, at: int, since: int | None, found: tuple[int | None, int], now: Part,
    turns: tuple[Turn, ...],
) -> Explanation:
    flip, searched = found
    return Explanation(
        kept.user_id, segment, at, True, now.holds is True, since, flip, searched, now, turns, kept.events, kept.later,
        kept.profile, True,
    )  # fmt: skip


def _part(alone: Alone, plan: Plan, said: parts.Part) -> Part:
    truth = alone.truths(sorted({part.truth[0] for part in said.walk()}))

    def of(each: parts.Part) -> Part:
        signal, negated = each.truth
        holds = truth[signal] != negated
        if each.again:
            return Part(CONDITION, f"{each.label}, as above", each.text, holds)
        if each.all is not None:
            text = f"{each.label} {each.text}" if each.label else each.text
            return Part(ALL if each.all else ANY, text, each.text, holds, tuple(map(of, each.parts)))
        return _condition(alone, plan, each, holds)

    return of(said)


def _condition(alone: Alone, plan: Plan, said: parts.Part, holds: bool) -> Part:
    signal = plan.signals[said.truth[0]]
    if isinstance(signal, Reach):
        value = written_signals.left_side(plan.linears[signal.cell], signal.threshold, alone.running(signal))
        if value is not None:
            left, op, bound = said.text.rsplit(" ", 2)
            sides = (_side(left, value, RATIO, False), _side(bound, Fraction(bound), RATIO, True))
            return Part(CONDITION, said.text, said.text, holds, op=op, sides=sides)
    if isinstance(signal, Formula):
        texts = written_signals.aggregates(plan, signal)
        values = (_side(texts[aggregate], value, aggregate.type, False) for aggregate, value in alone.values(signal))
        return Part(CONDITION, said.text, said.text, holds, sides=tuple(values))
    return Part(CONDITION, said.text, said.text, holds)


def _side(text: str, value: Any, type_: Type, constant: bool) -> Side:
    return Side(text, text, value, type_, constant)
