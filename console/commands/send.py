"""`tidegate send`: one event, profile or erasure to Kafka; with --wait, what became of it, read from PostgreSQL."""

import json
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, rfc3339
from segmentation.errors import TidegateError

#: Between two looks at the database: the engine takes some 20 ms for an event.
POLL_S = 0.02


@click.command("send")
@click.argument("event", required=False, metavar="[JSON]")
@click.option("--file", "file", type=click.File("rb"), metavar="FILE", help="Read the JSON from FILE; - is stdin.")
@click.option("--profile", metavar="USER", help="The JSON is this user's profile, for the topic of profiles.")
@click.option("--erase", metavar="USER", help="Erase this user: a record without a value to the topic of profiles.")
@click.option("--now", "fill", is_flag=True, help="Where absent, event_time is now and event_id a new one.")
@click.option("--wait", is_flag=True, help="Wait until the engine has taken it, and say what it changed.")
@click.option("--timeout", type=click.FloatRange(0.1), default=15.0, show_default=True, metavar="SECONDS",
              help="How long to wait for Kafka, and then for the engine.")  # fmt: skip
@settings_flags("definitions", "kafka", "database_url")
@json_flag
def command(
    event: str | None, file: Any, profile: str | None, erase: str | None, fill: bool, wait: bool, timeout: float,
    config: Path | None, definitions: Path | None, kafka: str | None, database_url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Send one event, exactly as given, to the topic of events; or a profile or an erasure to that of profiles.

    With --wait it says what became of it: accepted and which segments the user entered and left since, or
    refused and why. Exit code 0: accepted (without --wait: delivered to Kafka); 1: refused; 2: not found out.

    --erase forgets everything of the user up to now: membership, transitions, events. That cannot be undone.

    \b
    Examples:
      tidegate send --now --wait '{"user_id": "u1", "event_type": "purchase", "properties": {"amount": "12.50"}}'
      jq -c '.[0]' events.json | tidegate send --file -
      tidegate send --profile u1 '{"city_tier": 1}'
      tidegate send --erase u1 --wait
    """
    if erase is not None and (event, file, profile) != (None, None, None):
        raise click.UsageError("--erase takes a user and nothing else.")
    if erase is None and (event is None) == (file is None):
        raise click.UsageError("give the JSON, or --file FILE (- is stdin).")
    if fill and (profile, erase) != (None, None):
        raise click.UsageError("--now is for events.")
    raw = b"" if erase else event.encode("utf-8", "surrogateescape") if event is not None else file.read().strip()
    settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
    user_id = profile if erase is None else erase
    if user_id is None:
        sent = _prepare(raw, fill, settings)
    else:
        from segmentation.events.rows import PROFILES

        sent = _Message(settings.profiles_topic, None if profile is None else raw, user_id, PROFILES)
    if not wait:
        partition, offset = _deliver(settings, sent, timeout)
        _say_delivered(sent.topic, partition, offset, as_json)
        return
    outcome = _send_and_wait(settings, sent, timeout)
    if as_json:
        print_json(outcome)
    else:
        _say(outcome)
    sys.exit(1 if outcome["outcome"] == "refused" else 0)


@dataclass(frozen=True, slots=True)
class _Message:
    """value: what goes into Kafka. user_id None: there is none in it, which the engine will refuse.
    first: the engine's number of the topic's partition 0."""

    topic: str
    value: bytes | None
    user_id: str | None
    first: int = 0


def _prepare(raw: bytes, fill: bool, settings: Any) -> _Message:
    from segmentation.events.schema import load_schema
    from storage.definitions_folder import SCHEMA_FILE, read_schema

    folder, topic = settings.definitions, settings.events_topic

    # Without a folder of definitions here, the four fixed columns are where they are by default.
    schema = read_schema(folder) if (folder / SCHEMA_FILE).is_file() else load_schema("")
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        if fill:
            raise TidegateError("--now needs a JSON object to fill in; without it, the event is sent as it is.")
        return _Message(topic, raw, None)
    if fill:
        for name, value in (("event_time", rfc3339(time.time_ns() // 1_000)), ("event_id", str(uuid4()))):
            column = schema.events[name]
            if column.path and _at(parsed, column.path) is None:
                _put(parsed, column.path, value)
        raw = json.dumps(parsed, ensure_ascii=False).encode("utf-8", "surrogatepass")
    user_id = _at(parsed, schema.events["user_id"].path)
    return _Message(topic, raw, user_id if isinstance(user_id, str) and user_id else None)


def _at(message: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        message = message.get(name) if isinstance(message, dict) else None
    return message


def _put(message: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for name in path[:-1]:
        inner = message.setdefault(name, {})
        if not isinstance(inner, dict):
            raise TidegateError(f"--now cannot put a value at {'.'.join(path)}: {name!r} is no object.")
        message = inner
    message[path[-1]] = value


def _deliver(settings: Any, message: _Message, timeout: float) -> tuple[int, int]:
    """(partition, offset) that Kafka gave it."""
    from console.producing import Sender

    sender = Sender(settings, timeout, message.topic)
    placed: list[tuple[int, int]] = []
    sender.send(message.user_id, message.value, lambda partition, offset: placed.append((partition, offset)))
    sender.finish()
    return placed[0]


def _send_and_wait(settings: Any, message: _Message, timeout: float) -> dict[str, Any]:
    from storage import postgres, sent
    from storage.migrate import check_migrated

    url, topic = settings.database_url.get_secret_value(), message.topic
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate send", autocommit=True)) as connection, (
        postgres.foreign_errors(where)
    ):
        check_migrated(connection, where)
        user_id = message.user_id if message.user_id is not None and "\0" not in message.user_id else None
        before = sent.last_seq(connection, user_id) if user_id is not None else 0
        partition, offset = _deliver(settings, message, timeout)
        outcome: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset}
        deadline = time.monotonic() + timeout
        while True:
            fate = sent.fate(connection, topic, partition, offset, message.first)
            if isinstance(fate, sent.Refusal):
                return {"outcome": "refused", "reason": fate.reason, "detail": fate.detail, **outcome}
            if fate:
                break
            if time.monotonic() > deadline:
                raise TidegateError(
                    f"delivered to {topic}/{partition} at offset {offset}, but within {timeout:g} s the engine did not "
                    "say what became of it. Is `tidegate run` running? See `tidegate status`."
                )
            time.sleep(POLL_S)
        if message.value is None:
            return {"outcome": "erased", "user_id": user_id, **outcome}
        flips = sent.flips_since(connection, user_id, before) if user_id is not None else []
    return {"outcome": "accepted", "user_id": user_id, "flips": [asdict(flip) for flip in flips], **outcome}


def _say_delivered(topic: str, partition: int, offset: int, as_json: bool) -> None:
    if as_json:
        print_json({"outcome": "delivered", "topic": topic, "partition": partition, "offset": offset})
    else:
        click.echo(f"delivered to {topic}/{partition} at offset {offset}")


def _say(outcome: dict[str, Any]) -> None:
    place = f"{outcome['topic']}/{outcome['partition']} at offset {outcome['offset']}"
    if outcome["outcome"] == "refused":
        click.echo(f"refused: {outcome['reason']}: {outcome['detail']} ({place})")
        return
    if outcome["outcome"] == "erased":
        click.echo(f"{outcome['user_id']} is erased ({place})")
        return
    click.echo(f"accepted ({place})")
    for flip in outcome["flips"]:
        verb = "entered" if flip["entered"] else "left"
        because = "" if flip["cause"] == "event" else f", because of {flip['cause']}"
        at = flip["effective_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        click.echo(f"  {outcome['user_id']} {verb} {flip['segment']} at {at}{because}")
    if not outcome["flips"]:
        click.echo("  it changed no segment")
