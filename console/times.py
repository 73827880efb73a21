"""Times as people type them on the command line."""

import re
from datetime import UTC, datetime, timedelta

import click

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(click.ParamType[int]):
    """RFC 3339 with a zone -> µs since 1970 UTC; digits past the sixth are cut, as in events."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is not a time such as 2026-01-31T00:00:00Z.", param, ctx)
        if parsed.tzinfo is None:
            zoned = text.replace(" ", "T") + ("" if len(text) > 10 else "T00:00:00") + "Z"
            self.fail(f"{text!r} has no zone. Write {zoned} for UTC, or an offset.", param, ctx)
        delta = parsed - EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class Length(click.ParamType[int]):
    """`90s`, `30min`, `24h`, `7d`, `2w` -> µs, more than 0."""

    name = "length"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _LENGTH.fullmatch(str(value).strip())
        if found is None or not (length := round(float(found[1]) * _SECONDS[found[2]] * 1_000_000)):
            self.fail(f"{value!r} is not a length of time such as 90s, 30min, 24h, 7d or 2w.", param, ctx)
        return length


_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

INSTANT = Instant()
LENGTH = Length()


def as_text(at_us: int) -> str:
    """What `INSTANT` reads as the same µs."""
    return (EPOCH + timedelta(microseconds=at_us)).isoformat()
