"""Times as tests write them: RFC 3339 with a zone, or counted from the test's clock.

    now    -30d    +1h    -1d12h    -30d +1us    30 days ago    5 minutes later    2026-03-01T00:00:00Z

A sign holds until the next one. Months and years have no fixed length: write the date.
"""

import re

from console.segment_tests.problems import Wrong
from segmentation.compile.suggest import closest
from segmentation.events.times import EARLIEST, LATEST, BadTime, ZoneMissing, instant, text_of

_SECOND = 1_000_000
#: Units in µs, the shortest name of each first.
UNITS: dict[tuple[str, ...], int] = {
    ("us", "µs", "microsecond", "microseconds"): 1,
    ("ms", "millisecond", "milliseconds"): 1_000,
    ("s", "sec", "second", "seconds"): _SECOND,
    ("m", "min", "mins", "minute", "minutes"): 60 * _SECOND,
    ("h", "hour", "hours"): 3_600 * _SECOND,
    ("d", "day", "days"): 86_400 * _SECOND,
    ("w", "week", "weeks"): 7 * 86_400 * _SECOND,
}
_BY_NAME = {name: micros for names, micros in UNITS.items() for name in names}
_TERM = re.compile(r"\s*([+-]?)\s*(\d+)\s*([a-zµ]+)", re.ASCII | re.IGNORECASE)
_DIRECTION = {"ago": -1, "later": 1, "from now": 1}
EXAMPLES = "Write 2026-03-01T00:00:00Z, or what lies between it and the clock: now, -30d, +1h, 30 days ago."


def parse(text: object, clock: int) -> int:
    """µs since 1970 UTC; clock: µs. Raises Wrong."""
    if not isinstance(text, str):
        raise Wrong(f"`{text}` is not a time.", EXAMPLES)
    said = text.strip()
    if re.match(r"\d{4}-", said):
        return _absolute(said)
    at = clock + _relative(said)
    if not EARLIEST <= at <= LATEST:
        raise Wrong(f"`{said}` is outside the years 0001 to 9999.", EXAMPLES)
    return at


def _absolute(text: str) -> int:
    try:
        return instant(text, None)
    except ZoneMissing:
        raise Wrong(f"the time `{text}` has no zone.", f"Write {text}Z for UTC, or an offset.") from None
    except BadTime as error:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise Wrong(f"`{text}` is a whole day.", f"Write {text}T00:00:00Z.") from None
        raise Wrong(f"`{text}` is not a time: {error}.", EXAMPLES) from None


def _relative(text: str) -> int:
    lower = text.lower()
    if lower == "now":
        return 0
    rest = lower.removeprefix("now") if re.match(r"now\s*[+-]", lower) else lower
    sign = 0
    for word, direction in _DIRECTION.items():
        if rest.endswith(f" {word}"):
            rest, sign = rest.removesuffix(word).rstrip(), direction
    total, place = 0, 0
    while place < len(rest):
        term = _TERM.match(rest, place)
        if term is None:
            raise Wrong(f"`{text}` is not a time.", EXAMPLES)
        if term[1]:
            sign = 1 if term[1] == "+" else -1
        if not sign:
            raise Wrong(f"`{text}` does not say whether it is before or after the clock.", f"Write -{text} or +{text}.")
        total += sign * int(term[2]) * _unit(term[3])
        place = term.end()
    if not rest:
        raise Wrong(f"`{text}` is not a time.", EXAMPLES)
    return total


def _unit(name: str) -> int:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith(("month", "mon", "year", "y", "quarter")):
        raise Wrong(f"`{name}` has no fixed length.", "Write days, or the date: 2026-03-01T00:00:00Z.")
    near = closest(name, _BY_NAME)
    known = ", ".join(names[0] for names in UNITS)
    raise Wrong(f"`{name}` is not a unit of time.", f"Did you mean {near}?" if near else f"There are {known}.")


def as_text(at: int) -> str:
    """RFC 3339 UTC, without a fraction where that is zero."""
    return text_of(at).replace(".000000Z", "Z")


def between(at: int, clock: int) -> str:
    """The distance from the clock, in two units at most, as `parse` reads it; "" where that is not short."""
    left = abs(at - clock)
    if not left:
        return "now"
    parts = []
    for names, micros in reversed(UNITS.items()):
        if names[0] != "w" and left >= micros:
            parts.append(f"{left // micros}{names[0]}")
            left %= micros
    return ("-" if at < clock else "+") + "".join(parts) if len(parts) <= 2 else ""
