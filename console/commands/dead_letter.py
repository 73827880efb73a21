"""`tidegate dead-letter list|show|replay`: refused events, why they were refused, and sending them again."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from console.letter_view import as_json_object, counted, print_letter, short, told_replay
from console.loading import progress
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, table
from console.times import INSTANT
from segmentation.errors import TidegateError
from segmentation.events.origin import Origin

if TYPE_CHECKING:
    from console.letters import Outcome
    from storage.dead_letters import Selection

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DELIVERY_TIMEOUT_S = 60.0
#: Below this many a progress bar is only noise.
PROGRESS_LETTERS = 2_000


class OriginType(click.ParamType[Origin]):
    """`TOPIC/PARTITION@OFFSET`, as `list` prints it."""

    name = "origin"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Origin:
        found = value if isinstance(value, Origin) else Origin.parse(str(value))
        if found is None:
            self.fail(f"{value!r} is not an origin such as events/0@17; `tidegate dead-letter list` prints them.")
        return found


ORIGIN = OriginType()


def selection_flags(command: Decorated) -> Decorated:
    """--reason, --topic, --since, --until, --user and --all; the command gets them as **chosen."""
    for option in reversed((
        click.option("--reason", metavar="REASON", help="Only those refused for REASON, such as not_json."),
        click.option("--topic", metavar="TOPIC", help="Only those that came from TOPIC."),
        click.option("--since", type=INSTANT, metavar="TIME", help="Only those refused at TIME or later."),
        click.option("--until", type=INSTANT, metavar="TIME", help="Only those refused before TIME."),
        click.option("--user", metavar="KEY", help="Only those whose message has KEY, the user id, as its key."),
        click.option("--all", "replayed", is_flag=True, help="Those that were replayed, too."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.group("dead-letter")
def command() -> None:
    """Events that were refused: why, and once the cause is mended, sending them again.

    \b
    Examples:
      tidegate dead-letter list --reason missing_field
      tidegate dead-letter show events/0@17
      tidegate dead-letter replay --reason missing_field --dry-run
    """


@command.command("list")
@selection_flags
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most N, the newest.")
@click.option("--after", type=ORIGIN, metavar="ORIGIN", help="The next page: those that come after ORIGIN in the list.")
@click.option("--count", "only_counts", is_flag=True, help="Only how many there are of each reason.")
@settings_flags("database_url")
@json_flag
def list_command(
    config: Path | None, database_url: str | None, limit: int, after: Origin | None, only_counts: bool, as_json: bool,
    **chosen: Any,
) -> None:  # fmt: skip
    """Refused events, the newest first: when, why, where they came from and what was sent.

    Those that were replayed are left out, unless --all is given. Then how many there are of each reason.

    \b
    Examples:
      tidegate dead-letter list
      tidegate dead-letter list --reason bad_time --since 2026-03-01T00:00:00Z --limit 5
      tidegate dead-letter list --user u-1842 --all
      tidegate dead-letter list --json | jq -r '.[].value'
      tidegate dead-letter list --count --json
    """
    from storage.dead_letters import opened

    selection = _selection(**chosen)
    settings = load_settings(config, database_url=database_url)
    with opened(settings.database_url.get_secret_value()) as stored:
        counts = stored.counts(selection)
        letters = [] if only_counts else stored.newest(selection, limit, after, whole=as_json)
    if as_json:
        print_json(counts if only_counts else [as_json_object(letter) for letter in letters])
    elif not counts:
        click.echo("no refused events" + (f" for {selection.reason}" if selection.reason else ""))
    else:
        if letters:
            columns = ("at", "reason", "detail", "origin", "value", *(("replayed",) if selection.replayed else ()))
            table("Refused events", columns, [
                (letter.at, letter.reason, letter.detail, str(letter.origin), short(letter.value, letter.size),
                 told_replay(letter.replayed))[: len(columns)]
                for letter in letters
            ])  # fmt: skip
        click.echo(counted(counts))
    total = sum(counts.values())
    if len(letters) == limit and total > limit:
        newest = f"the newest {limit} of {total:,}" if after is None else f"{limit} of {total:,}"
        click.echo(f"{newest}; --after {letters[-1].origin} shows the next, --limit shows more", err=True)


@command.command("show")
@click.argument("origin", type=ORIGIN, metavar="TOPIC/PARTITION@OFFSET")
@click.option("--raw", is_flag=True, help="Only the value, byte for byte. Exit code 1 if it has none.")
@settings_flags("database_url")
@json_flag
def show_command(config: Path | None, database_url: str | None, origin: Origin, raw: bool, as_json: bool) -> None:
    """Everything about one refused event: key, headers, value, reason, and what became of it if it was replayed.

    \b
    Examples:
      tidegate dead-letter show events/0@17
      tidegate dead-letter show events/0@17 --raw | jq '.amount |= tonumber' | tidegate send --file -
    """
    if raw and as_json:
        raise click.UsageError("give --raw or --json, not both.")
    from storage.dead_letters import opened

    settings = load_settings(config, database_url=database_url)
    with opened(settings.database_url.get_secret_value()) as stored:
        letter = stored.one(origin)
    if as_json:
        print_json(as_json_object(letter))
    elif not raw:
        print_letter(letter)
    elif letter.value is None:
        click.echo(f"{origin} has no value", err=True)
        sys.exit(1)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.value)
        sys.stdout.buffer.flush()


@command.command("replay")
@click.argument("origins", type=ORIGIN, nargs=-1, metavar="[TOPIC/PARTITION@OFFSET]...")
@selection_flags
@click.option("--dry-run", is_flag=True, help="Say which of them would be accepted now, and send nothing.")
@click.option("--force", is_flag=True, help="Send those too that would be refused again.")
@settings_flags("definitions", "kafka", "database_url")
@json_flag
def replay_command(
    config: Path | None, definitions: Path | None, kafka: str | None, database_url: str | None,
    origins: tuple[Origin, ...], dry_run: bool, force: bool, as_json: bool, **chosen: Any,
) -> None:  # fmt: skip
    """Send refused events to the topic of events again, after what was wrong has been mended.

    Without arguments: all that were not replayed yet. Each is first decoded with schema.yml as it is now; those
    that would be refused again stay where they are. They go out as they came, key, value and headers, with their
    origin in the header tidegate-origin. Whatever is sent twice counts once, so a replay that was interrupted is
    simply started again. They count as late events: from now on, in windows that are still open. Profiles go to
    theirs, with the time that they had, unless the user has a later one.

    Exit code 0: all of them were sent; 1: some are still refused; 2: error.

    \b
    Examples:
      tidegate dead-letter replay --dry-run
      tidegate dead-letter replay --reason wrong_type --since 2026-03-01T00:00:00Z
      tidegate dead-letter replay events/0@17 events/2@40
    """
    from console.letters import Judge, options, replay
    from console.producing import Sender
    from console.superseded import superseded
    from storage.dead_letters import opened
    from storage.definitions_folder import read_schema

    selection = _selection(origins=origins or None, **chosen)
    settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
    schema = read_schema(settings.definitions)
    with opened(settings.database_url.get_secret_value()) as stored:
        missing = sorted(set(origins) - {letter.origin for letter in stored.several(origins)})
        if missing:
            raise TidegateError(f"no refused event came from {', '.join(map(str, missing))}. Nothing was sent.")
        engine = stored.engine_state()
        if engine.schema is not None and engine.schema != schema.digest:
            _say_that_schemas_differ(settings.definitions, refuse=not (dry_run or force))
        judge = Judge(settings, schema, engine, partial(superseded, settings))
        total = sum(stored.counts(selection).values())
        sender_to = cache(lambda topic: Sender(settings, DELIVERY_TIMEOUT_S, topic, options()))
        with progress("replaying", total, total >= PROGRESS_LETTERS) as advance:
            outcome = replay(settings, stored, selection, judge, _now, None if dry_run else sender_to, force, advance)
    if as_json:
        print_json(_outcome_object(outcome, settings.events_topic, dry_run))
    else:
        _say(outcome, settings, dry_run, len(origins) - outcome.selected if not chosen["replayed"] else 0)
    sys.exit(1 if outcome.refused else 0)


def _selection(since: int | None, until: int | None, user: str | None, **chosen: Any) -> "Selection":
    from segmentation.events.rejects import Reason
    from storage.dead_letters import Selection

    reason = chosen["reason"]
    if reason is not None and reason not in [str(known) for known in Reason]:
        raise click.UsageError(f"there is no reason {reason!r}; there are {', '.join(Reason)}.")
    key = None if user is None else user.encode("utf-8", "surrogateescape")
    return Selection(since=_instant(since), until=_instant(until), key=key, **chosen)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _now() -> int:
    return time.time_ns() // 1_000


def _say_that_schemas_differ(folder: Path, refuse: bool) -> None:
    words = (
        f"the engine was started with another schema.yml than that in {folder}, and refuses by its own. Start it with "
        "--rebuild, which also reads refused events again as far as the topic holds them; then replay the rest."
    )
    if refuse:
        raise TidegateError(f"{words} --force sends them nevertheless.")
    click.echo(f"note: {words}", err=True)


def _outcome_object(outcome: "Outcome", topic: str, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run, "topic": topic, "selected": outcome.selected, "acceptable": outcome.fit,
        "sent": outcome.sent, "refused": dict(outcome.refused.most_common()),
        "examples": [
            {"origin": str(one.origin), "reason": one.reason, "detail": one.detail} for one in outcome.examples
        ],
    }  # fmt: skip


def _say(outcome: "Outcome", settings: Any, dry_run: bool, before: int) -> None:
    if before > 0:
        click.echo(f"{before:,} of those named were replayed before, or fit no filter; --all takes those too")
    if not outcome.selected:
        click.echo("nothing to replay")
        return
    did, count = ("would be accepted", outcome.fit) if dry_run else ("sent", outcome.sent)
    click.echo(f"{count:,} of {outcome.selected:,} refused events {did} ({settings.events_topic})")
    for reason, number in outcome.refused.most_common():
        click.echo(f"still refused: {number:,} {reason}")
        shown = [one for one in outcome.examples if one.reason == reason]
        for one in shown:
            click.echo(f"  {one.origin}: {one.detail}")
        if number > len(shown):
            click.echo(f"  and {number - len(shown):,} more")
        if reason in REMEDIES:
            click.echo(f"  {REMEDIES[reason]}")


REMEDIES = {
    "event_too_late": (
        "Too old to be told from a repeat. Raise dedupe_horizon beyond its age and start the engine with --rebuild: "
        "it then counts what the topic still holds, and the rest can be replayed."
    ),
    "event_time_in_future": "It is judged by the time of sending, so it fits once that time has come.",
    "other_topic": (
        "Set events_topic (or profiles_topic) to that topic, or send the events to the new one by other means."
    ),
    "newer_profile": "It was replaced, or the user erased; there is nothing left to do.",
    "too_large_for_kafka": "Raise max.message.bytes of the topic.",
}
