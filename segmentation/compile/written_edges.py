"""Edges of windows in words, for `explain`, and as SQL: ages, and boundaries of the calendar, which are SQL in both."""

from collections.abc import Iterable
from dataclasses import replace

from segmentation.compile import written
from segmentation.edges import Cell, Crossing, Edge, Latest
from segmentation.types import FOREVER


def start(edge: Edge) -> list[str]:
    """What holds of an event once it has passed the edge."""
    match edge:
        case int():
            return [_age(edge, "at least {} old", "older than {}")] if edge else []
        case Crossing():
            return [_crossed(edge)]
        case Latest(of):
            return [text for part in of for text in start(part)]
    return [" or ".join(text for part in edge.of for text in start(part))]


def end(edge: Edge) -> list[str]:
    """What holds of an event until it passes the edge."""
    match edge:
        case int():
            return [_age(edge, "less than {} old", "at most {} old")] if edge != FOREVER else []
        case Crossing():
            return [_crossed(replace(edge, number=edge.number + 1))]
        case Latest(of):
            return [" or ".join(text for part in of for text in end(part))]
    return [text for part in edge.of for text in end(part)]


def conditions(first: Edge, last: Edge) -> list[str]:
    """SQL of which all is true of an event between these edges."""
    return [*_since(first), *_until(last)]


def _since(edge: Edge) -> list[str]:
    match edge:
        case int():
            return [_compared(edge, "<=", "<")] if edge else []
        case Crossing():
            return [_crossed(edge)]
        case Latest(of):
            return [text for part in of for text in _since(part)]
    return [_one_of(_since(part) for part in edge.of)]


def _until(edge: Edge) -> list[str]:
    match edge:
        case int():
            return [_compared(edge, ">", ">=")] if edge != FOREVER else []
        case Crossing():
            return [_crossed(replace(edge, number=edge.number + 1))]
        case Latest(of):
            return [_one_of(_until(part) for part in of)]
    return [text for part in edge.of for text in _until(part)]


def _one_of(each: Iterable[list[str]]) -> str:
    return "(" + " OR ".join(" AND ".join(texts) for texts in each) + ")"


def _compared(micros: int, at: str, after: str) -> str:
    """event_time beside now() minus so much; `after` where the edge is 1 µs later than in words."""
    words = micros % 1_000 == 1
    return f"event_time {after if words else at} now() - INTERVAL '{written.duration(micros - words)}'"


def _crossed(edge: Crossing) -> str:
    """What holds after the crossing: after every other one the condition holds again."""
    after, again = ("<=", ">") if edge.strict else ("<", ">=")
    return f"{_key(edge.key)} {again if edge.number % 2 else after} {cell(edge.boundary, 'now()')}"


def windows(edge: Edge) -> list[str]:
    """What must pass for an event to be visited again, the shortest first."""
    match edge:
        case int():
            return [_length(edge - 1 if edge % 1_000 == 1 else edge)] if edge not in (0, FOREVER) else []
        case Crossing(boundary):
            return [f"{boundary.unit} in {boundary.zone}"]
    return [text for part in edge.of for text in windows(part)]


def cell(one: Cell, of: str) -> str:
    """As SQL; `of`: that of the instant."""
    inner = written.moved(of, 0, one.before)
    local = written.moved(f"{inner} AT TIME ZONE {written.text(one.zone)}", 0, one.inner)
    text = f"date_trunc({written.text(one.unit)}, {local})"
    for months, micros in one.after:
        text = written.moved(text, months, micros)
    if not one.back:
        return text
    return written.moved(f"{text} AT TIME ZONE {written.text(one.back)}", 0, one.micros)


def _key(key: Cell | None) -> str:
    return "event_time" if key is None else cell(key, "event_time")


def _age(micros: int, at: str, after: str) -> str:
    """The age from which on something changes; the edge itself belongs to what was before where it is 1 µs later."""
    if micros % 1_000 == 1:
        return after.format(_length(micros - 1))
    return at.format(_length(micros))


def _length(micros: int) -> str:
    text = written.duration(micros)
    return text.removesuffix("s") if text.startswith("1 ") else text
