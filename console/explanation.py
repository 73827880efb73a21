"""An explanation for people, line by line, and for programs."""

from collections.abc import Iterator
from typing import Any

from console.output import rfc3339
from segmentation.explain.conditions import CONDITION, Part, Side
from segmentation.explain.evidence import Counted
from segmentation.explain.explaining import Explanation
from segmentation.explain.words import number
from segmentation.types import Kind

_MARKS = {True: "yes ", False: "no  ", None: "NULL"}


def lines(told: Explanation) -> Iterator[str]:
    """For people."""
    yield f"{told.user_id} {_standing(told)}, as of {rfc3339(told.at)}."
    yield _next(told)
    for turn in told.turns:
        then = "holds" if turn.then.holds else "does not hold any more" if turn.part.holds else "is NULL"
        yield f"  then {then}: {_said(turn.then)}"
    profile = f", profile of {rfc3339(told.profile)}" if told.profile is not None else ""
    yield f"Known of {told.user_id}: {_number(told.events, 'event')}{profile}."
    if told.later:
        yield f"{_number(told.later, 'arrival')} became known later and {'do' if told.later > 1 else 'does'} not count."
    if told.held:
        yield f"{told.segment} is held: what is stored stays as it was until its release. This is what the events say."
    if told.from_state:
        why = f"Older events of {told.user_id} have been dropped"
        if told.complete_since is not None:
            why = f"{told.segment} does not count what is older than {rfc3339(told.complete_since)}"
        yield (
            f"{why}. So the condition is said as the engine evaluates it, with the values that it keeps; the events "
            "that it counted cannot be named."
        )
    yield ""
    yield from _tree(told.condition, 0)


def _standing(told: Explanation) -> str:
    since = "" if told.since is None else f" since {rfc3339(told.since)}"
    if told.since_pruned:
        since = ", for longer than transitions are kept" if told.member else ", since when is not kept"
    if told.member:
        return f"is in {told.segment}{since}"
    return f"is not in {told.segment}{since or ', and never was'}"


def _next(told: Explanation) -> str:
    verb = "leaves" if told.member else "enters"
    if told.next_flip is not None:
        return f"{verb.capitalize()} on {rfc3339(told.next_flip)} by time alone, {told.unless}."
    stays = "in" if told.member else "out"
    return f"Stays {stays} until something arrives: time alone changes nothing until {rfc3339(told.searched)[:4]}."


def _tree(part: Part, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if part.kind != CONDITION:
        yield f"{indent}{_MARKS[part.holds]}  {part.words}:"
        for each in part.parts:
            yield from _tree(each, depth + 1)
        return
    yield f"{indent}{_MARKS[part.holds]}  {_said(part)}"
    indent += " " * 6
    if part.words != part.sql:
        yield f"{indent}SQL: {part.sql}"
    for side in part.beside:
        yield f"{indent}beside {side.words} = {side.text}"
    for counted in part.counted:
        yield from (f"{indent}{line}" for line in _events(counted, len(part.counted) > 1))


def _said(part: Part) -> str:
    """`the number of events: 3, wanted >= 10`"""
    if not part.op:
        values = "; ".join(f"{side.words}: {side.text}" for side in part.sides)
        return f"{part.words}{f' ({values})' if values else ''}"
    left, right = part.sides
    if right.constant:
        return f"{left.words}: {left.text}, wanted {part.op} {right.text}"
    if left.constant:
        return f"{right.words}: {right.text}, wanted {left.text} {part.op} it"
    return f"{left.words}: {left.text}, wanted {part.op} {right.words}: {right.text}"


def _events(counted: Counted, several: bool) -> Iterator[str]:
    if not counted.total:
        yield f"no event counts{f' for {counted.words}' if several else ''}"
        return
    what = f"{_number(counted.total, 'event')} {'count' if counted.total > 1 else 'counts'}"
    if counted.deciding < counted.total:
        what += f", {counted.deciding:,} {'decide' if counted.deciding > 1 else 'decides'}"
    if several:
        what += f" for {counted.words}"
    newest = ", the newest first" if len(counted.events) > 1 else ""
    yield f"{what}{newest}:"
    for event_id, time in counted.events:
        yield f"  {rfc3339(time)}  {event_id}"
    if counted.deciding > len(counted.events):
        yield f"  and {counted.deciding - len(counted.events):,} more"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def as_object(told: Explanation) -> dict[str, Any]:
    """For programs."""
    return {
        "user_id": told.user_id, "segment": told.segment, "at": rfc3339(told.at), "known": told.known,
        "member": told.member, "since": _time(told.since), "next_flip": _time(told.next_flip),
        "searched_until": rfc3339(told.searched), "events": told.events, "known_later": told.later,
        "profile_time": _time(told.profile), "events_dropped": told.from_state,
        "unless": told.unless, "as_of": _time(told.as_of), "behind": told.behind,
        "held": told.held, "complete_since": _time(told.complete_since),
        "condition": part_object(told.condition),
        "turns": [
            {"words": turn.part.words, "sql": turn.part.sql, "holds": turn.part.holds, "then": turn.then.holds}
            for turn in told.turns
        ],
    }  # fmt: skip


def part_object(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": part.kind, "holds": part.holds, "words": part.words, "sql": part.sql}
    if part.segment:
        found["segment"] = part.segment
    if part.op:
        found["op"] = part.op
    if part.sides:
        found["sides"] = [_side(side) for side in part.sides]
    if part.beside:
        found["beside"] = [_side(side) for side in part.beside]
    if part.counted:
        found["counted"] = [
            {"words": one.words, "sql": one.sql, "events": one.total, "deciding": one.deciding,
             "named": [{"event_id": event_id, "event_time": rfc3339(time)} for event_id, time in one.events]}
            for one in part.counted
        ]  # fmt: skip
    if part.parts:
        found["parts"] = [part_object(each) for each in part.parts]
    return found


def _side(side: Side) -> dict[str, Any]:
    """A value as JSON has it; exact numbers that are no integers, and times, as text."""
    value = side.value
    if value is not None and side.type.exact:
        value = int(value) if value == int(value) else number(value)
    elif value is not None and side.type.kind in (Kind.TIMESTAMPTZ, Kind.TIMESTAMP, Kind.INTERVAL):
        value = side.text
    return {"words": side.words, "sql": side.sql, "value": value, "type": str(side.type), "constant": side.constant}


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
