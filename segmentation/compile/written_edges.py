"""Edges of windows in words, for `explain`: ages, and boundaries of the calendar as SQL."""

from segmentation.compile import written
from segmentation.edges import Cell, Crossing, Edge, Latest
from segmentation.types import FOREVER


def start(edge: Edge) -> list[str]:
    """What holds of an event once it has passed the edge."""
    match edge:
        case int():
            return [_age(edge, "at least {} old", "older than {}")] if edge else []
        case Crossing(boundary, key, strict):
            return [f"{_key(key)} {'<=' if strict else '<'} {cell(boundary, 'now()')}"]
        case Latest(of):
            return [text for part in of for text in start(part)]
    return [" or ".join(text for part in edge.of for text in start(part))]


def end(edge: Edge) -> list[str]:
    """What holds of an event until it passes the edge."""
    match edge:
        case int():
            return [_age(edge, "less than {} old", "at most {} old")] if edge != FOREVER else []
        case Crossing(boundary, key, strict):
            return [f"{_key(key)} {'>' if strict else '>='} {cell(boundary, 'now()')}"]
        case Latest(of):
            return [" or ".join(text for part in of for text in end(part))]
    return [text for part in edge.of for text in end(part)]


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
