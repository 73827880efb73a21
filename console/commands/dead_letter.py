"""`tidegate dead-letter list`: refused events with reason and origin."""

from pathlib import Path

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, table

VALUE_CHARS_MAX = 80


@click.group("dead-letter")
def command() -> None:
    """Events that were refused, and why.

    \b
    Example:
      tidegate dead-letter list --reason missing_field
    """


@command.command("list")
@settings_flags("database_url")
@click.option("--reason", metavar="REASON", help="Only those refused for REASON, such as not_json.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="The newest N.")
@json_flag
def list_command(
    config: Path | None, database_url: str | None, reason: str | None, limit: int, as_json: bool
) -> None:
    """Refused events, the newest first: when, why, where they came from and what was sent.

    \b
    Examples:
      tidegate dead-letter list
      tidegate dead-letter list --reason bad_time --limit 5
      tidegate dead-letter list --json | jq -r '.[].value'
    """
    from segmentation.events.rejects import Reason
    from storage.dead_letters import list_dead_letters

    if reason is not None and reason not in [str(known) for known in Reason]:
        raise click.UsageError(f"there is no reason {reason!r}; there are {', '.join(Reason)}.")
    settings = load_settings(config, database_url=database_url)
    letters, count, _ = list_dead_letters(settings.database_url.get_secret_value(), reason, limit)
    if as_json:
        print_json(
            [
                {"at": letter.at, "reason": letter.reason, "detail": letter.detail, "topic": letter.topic,
                 "partition": letter.partition, "offset": letter.offset, "key": _text(letter.key),
                 "value": _text(letter.value)}
                for letter in letters
            ]
        )  # fmt: skip
        return
    if not letters:
        click.echo("no refused events" + (f" for {reason}" if reason else ""))
        return
    table(
        "Refused events",
        ("at", "reason", "detail", "origin", "value"),
        [
            (letter.at, letter.reason, letter.detail, f"{letter.topic}/{letter.partition}@{letter.offset}",
             _short(letter.value))
            for letter in letters
        ],
    )  # fmt: skip
    if count > len(letters):
        click.echo(f"the newest {len(letters)} of {count:,}; --limit shows more", err=True)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _short(value: bytes | None) -> str:
    if value is None:
        return "-"
    text = "".join(char if char.isprintable() else "·" for char in value[:400].decode("utf-8", "replace"))
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
