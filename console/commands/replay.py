"""`tidegate replay FILE`: a file's events to Kafka, in order of time, keyed by user."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from console.loading import load_events, mapping_flags, progress, report_refused
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, rfc3339
from segmentation.errors import TidegateError

#: Sending in slices this long keeps a slow pace even without waking for every event.
SLICE_S = 0.02
DELIVERY_TIMEOUT_S = 60.0


class Speed(click.ParamType[float]):
    """`10x` or `10`: this many times real time."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            speed = float(str(value).lower().removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is not a speed such as 10x.", param, ctx)
        return speed


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--topic", metavar="TOPIC", help="Where to.  [default: the settings' events_topic]")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="N events per second.")
@click.option("--speed", type=Speed(), metavar="Nx", help="N times real time, by the events' own times.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@mapping_flags
@settings_flags("definitions", "kafka")
@json_flag
def command(
    file: Path, topic: str | None, rate: float | None, speed: float | None, dry_run: bool, mapping: dict[str, str],
    timezone: str | None, strict: bool, config: Path | None, definitions: Path | None, kafka: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Send FILE (NDJSON, CSV or Parquet; each also gzipped) to Kafka: full speed, N per second, or N times real time.

    Sorted by time, keyed by user id, in the shape that schema.yml describes. A row without event_id gets one
    from the file and its number, so sending a file twice counts once. Rows that the engine would refuse are
    named and left out. Exit code 2 when anything was not delivered.

    \b
    Examples:
      tidegate replay events.ndjson --dry-run
      tidegate replay clicks.csv.gz --speed 60x \\
        --map user_id=user_id,event_type=event,event_time=timestamp --timezone UTC
    """
    if rate is not None and speed is not None:
        raise click.UsageError("give --rate or --speed, not both.")
    from storage.definitions_folder import read_schema

    settings = load_settings(config, definitions=definitions, kafka=kafka, events_topic=topic)
    batch = _load(file, read_schema(settings.definitions), mapping, timezone, strict)
    if dry_run:
        _describe(batch, settings.events_topic, as_json)
        return
    began = time.monotonic()
    delivered = _send(settings, batch, _due(batch, rate, speed), file.name)
    seconds = time.monotonic() - began
    if as_json:
        print_json({"delivered": delivered, "refused": batch.refused, "topic": settings.events_topic,
                    "seconds": round(seconds, 3)})  # fmt: skip
    else:
        pace = delivered / max(seconds, 1e-9)
        click.echo(f"{delivered:,} events delivered to {settings.events_topic} in {seconds:.1f} s ({pace:,.0f}/s)")


@dataclass(slots=True)
class _Batch:
    """In order of time; times are µs."""

    messages: list[bytes]
    users: list[str]
    times: list[int]
    types: Counter[str]
    refused: int


def _load(file: Path, schema: Any, mapping: dict[str, str], timezone: str | None, strict: bool) -> _Batch:
    import numpy as np

    from segmentation.events.rows import TextColumn

    loaded = load_events(file, schema, mapping, timezone, with_messages=True)
    report_refused(loaded.refused, file, strict)
    rows = loaded.rows
    kind = rows.columns["event_type"]
    assert isinstance(kind, TextColumn)
    order = np.argsort(rows.time, kind="stable").tolist()
    users, codes = rows.user.tolist(), rows.user_ids
    counts = np.bincount(kind.codes, minlength=len(kind.values)).tolist()
    return _Batch(
        [loaded.messages[row] for row in order],
        [codes[users[row]] for row in order],
        np.sort(rows.time).tolist(),
        Counter(dict(zip(kind.values, counts))),
        len(loaded.refused),
    )


def _due(batch: _Batch, rate: float | None, speed: float | None) -> list[float] | None:
    """Seconds after the start at which each event is sent; None: at once."""
    if rate is not None:
        return [index / rate for index in range(len(batch.times))]
    if speed is not None and batch.times:
        first = batch.times[0]
        return [(each - first) / 1_000_000 / speed for each in batch.times]
    return None


def _send(settings: Any, batch: _Batch, due: list[float] | None, name: str) -> int:
    from console.producing import Sender

    sender = Sender(settings, DELIVERY_TIMEOUT_S, options={"linger.ms": 20, "queue.buffering.max.messages": 200_000})
    start = time.monotonic()
    with progress(f"sending {name}", len(batch.messages)) as advance:
        for index, (user, message) in enumerate(zip(batch.users, batch.messages)):
            if due is not None:
                while (early := due[index] - (time.monotonic() - start)) > 0:
                    sender.poll(min(early, SLICE_S))
                    advance(sender.delivered)
            sender.send(user, message)
            if not index & 0x3FFF:
                advance(sender.delivered)
        sender.finish()
    if sender.delivered != len(batch.messages):
        raise TidegateError(
            f"Kafka at {settings.kafka} acknowledged {sender.delivered:,} of {len(batch.messages):,} events."
        )
    return sender.delivered


def _describe(batch: _Batch, topic: str, as_json: bool) -> None:
    span = [rfc3339(batch.times[0]), rfc3339(batch.times[-1])] if batch.times else None
    users = len(set(batch.users))
    if as_json:
        print_json(
            {"events": len(batch.messages), "refused": batch.refused, "users": users, "topic": topic,
             "first": span and span[0], "last": span and span[1], "event_types": dict(batch.types.most_common()),
             "sample": [message.decode("utf-8", "backslashreplace") for message in batch.messages[:3]]}
        )  # fmt: skip
        return
    click.echo(f"would send {len(batch.messages):,} events of {users:,} users to {topic}")
    if span:
        click.echo(f"from {span[0]} to {span[1]}")
    for kind, count in batch.types.most_common(10):
        click.echo(f"  {count:>12,}  {kind}")
    for message in batch.messages[:3]:
        click.echo(message.decode("utf-8", "backslashreplace"))
