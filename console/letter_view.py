"""A refused event on the screen and as JSON; it may hold anything, so nothing of it reaches the terminal unescaped."""

import base64
import contextlib
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from storage.dead_letters import Letter, Replayed

VALUE_CHARS_MAX = 80
#: Of a value that is no text, this much is shown as hexadecimal digits; --raw has all of it.
HEX_BYTES = 512


def short(value: bytes | None, size: int | None) -> str:
    """One line of at most VALUE_CHARS_MAX characters; value may be only the beginning of `size` bytes."""
    if value is None:
        return "-"
    text = "".join(char if char.isprintable() else "·" for char in value[:400].decode("utf-8", "replace"))
    if len(text) <= VALUE_CHARS_MAX and size == len(value):
        return text
    return text[: VALUE_CHARS_MAX - 1] + "…"


def counted(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    each = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{total:,} refused event{'' if total == 1 else 's'}: {each}"


def told_replay(replayed: "Replayed | None") -> str | None:
    if replayed is None:
        return None
    to = "" if replayed.to is None else f" as {replayed.to}"
    outcome = f"refused again: {replayed.reason}" if replayed.reason is not None else replayed.outcome
    return f"{replayed.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}{to}, {outcome}"


def as_json_object(letter: "Letter") -> dict[str, Any]:
    """key and value as text, with what is no UTF-8 as \\xNN; headers: values that are no UTF-8 in base64."""
    return {
        "origin": str(letter.origin), "at": letter.at, "reason": letter.reason, "detail": letter.detail,
        "topic": letter.origin.topic, "partition": letter.origin.partition, "offset": letter.origin.offset,
        "key": _text(letter.key), "value": _text(letter.value),
        "headers": [_header(name, value) for name, value in letter.headers],
        "replayed": None if letter.replayed is None else {
            "at": letter.replayed.at, "to": None if letter.replayed.to is None else str(letter.replayed.to),
            "outcome": letter.replayed.outcome, "reason": letter.replayed.reason, "detail": letter.replayed.detail,
        },
    }  # fmt: skip


def print_letter(letter: "Letter") -> None:
    for name, value in (
        ("origin", str(letter.origin)), ("refused", f"{letter.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}Z"),
        ("reason", letter.reason), ("detail", letter.detail), ("replayed", told_replay(letter.replayed) or "no"),
        ("key", "none" if letter.key is None else _text(letter.key) or "empty"),
    ):  # fmt: skip
        click.echo(f"{name + ':':<10}{_shown(value)}")
    if letter.replayed is not None and letter.replayed.detail is not None:
        click.echo(f"{'':<10}{_shown(letter.replayed.detail)}")
    for name, header in letter.headers:
        click.echo(f"{'header:':<10}{_shown(name)} = {'none' if header is None else _shown(_text(header) or '')}")
    if letter.value is None:
        click.echo(f"{'value:':<10}none")
        return
    click.echo(f"{'value:':<10}{len(letter.value):,} bytes")
    click.echo(_pretty(letter.value))


def _pretty(value: bytes) -> str:
    """JSON with line breaks, its numbers and doubled keys as they were sent; other text as it is; else digits."""
    import msgspec

    try:
        text = value.decode()
    except UnicodeDecodeError:
        lines = [value[at : at + 32].hex(" ") for at in range(0, min(len(value), HEX_BYTES), 32)]
        return "\n".join(lines) + ("\n…" if len(value) > HEX_BYTES else "")
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        text = msgspec.json.format(text, indent=2)
    return "\n".join(_shown(line) for line in text.split("\n"))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _header(name: str, value: bytes | None) -> dict[str, str | None]:
    try:
        return {"name": name, "value": None if value is None else value.decode()}
    except UnicodeDecodeError:
        assert value is not None
        return {"name": name, "base64": base64.b64encode(value).decode()}
