"""`tidegate forecast SEGMENT --within 24h`: who enters and who leaves by time alone, and when."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.loading import mapping_flags
from console.options import json_flag, settings_flags
from console.output import print_json, rfc3339, standing
from console.times import INSTANT, LENGTH
from segmentation.errors import TidegateError
from segmentation.types import NEVER

if TYPE_CHECKING:
    from segmentation.explain.forecasting import Forecast
    from storage.settings import Settings


@click.command("forecast")
@click.argument("segment")
@click.option("--within", type=LENGTH, default="24h", show_default=True, metavar="LENGTH",
              help="How far to look ahead: 90s, 30min, 24h, 7d, 2w.")  # fmt: skip
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=100, show_default=True, metavar="N",
              help="At most N entries and exits, the first ones; all are counted.")  # fmt: skip
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE",
              help="From this file instead of the deployment: NDJSON, CSV or Parquet; each also gzipped.")  # fmt: skip
@click.option("--profiles", type=click.Path(path_type=Path), metavar="FILE",
              help="With --events: user_id, profile_time and the columns of users.")  # fmt: skip
@click.option("--at", type=INSTANT, metavar="TIME",
              help="With --events: from when to look ahead.  [default: the latest time]")  # fmt: skip
@mapping_flags
@settings_flags("definitions", "database_url")
@json_flag
def command(
    segment: str, within: int, limit: int, events: Path | None, profiles: Path | None, at: int | None,
    mapping: dict[str, str], timezone: str | None, strict: bool, definitions: Path | None, database_url: str | None,
    config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Who enters and who leaves SEGMENT by time alone, if nothing arrives, and when.

    How many first; then each, in order of time. Without --events it is the deployment's, as of the last commit: from
    the states that the engine saved last, and what it has taken from Kafka since. So it must be run where the engine's
    settings are.

    \b
    Examples:
      tidegate forecast lapsed_customers --within 24h
      tidegate forecast lapsed_customers --within 7d --definitions segment_defs --events events.ndjson.gz
      tidegate forecast active_now --within 1h --limit 0 --definitions segment_defs --events events.csv
    """
    from console.options import load_settings

    settings = load_settings(config, definitions=definitions, database_url=database_url)
    if events is not None:
        found = _of_files(settings.definitions, segment, within, limit, events, profiles, at, mapping, timezone, strict)
    elif profiles is not None or definitions is not None or at is not None:
        raise TidegateError("--profiles, --definitions and --at go with --events FILE: a deployment has its own.")
    else:
        found = _of_deployment(settings, segment, within, limit)
    _print(segment, found, as_json)
    if events is None and not as_json:
        click.echo(standing(found.behind), err=True)


def _of_files(
    folder: Path, segment: str, within: int, limit: int, events: Path, profiles: Path | None, at: int | None,
    mapping: dict[str, str], timezone: str | None, strict: bool,
) -> "Forecast":  # fmt: skip
    from console.evaluation import evaluate
    from console.history import definition_of, read_files
    from segmentation.compile.bind import bind_all
    from segmentation.compile.lower import lower
    from segmentation.explain.forecasting import forecast
    from storage.definitions_folder import read_definitions

    content = read_definitions(folder)
    asked = definition_of(bind_all(content.files, content.schema), segment, content.files)
    files = read_files(events, profiles, content.schema, mapping, timezone, strict)
    at = files.latest if at is None else at
    shard = evaluate(lower([asked], content.schema), files.rows, at, False, profiles=files.profiles).shard
    return forecast([shard], 0, at + within, limit)


def _of_deployment(settings: "Settings", segment: str, within: int, limit: int) -> "Forecast":
    from console.history import definition_of
    from flows.present import Present
    from storage.looking_ahead import look_ahead
    from storage.one_user import deployed

    url = settings.database_url.get_secret_value()
    what = deployed(url)
    definition_of(what.plan.segments, segment, what.files)
    return look_ahead(url, settings.storage_url, what, segment, within, limit, Present(settings), _progress)


def _progress(done: int, shards: int) -> None:
    """For who waits at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {shards} shards", nl=False, err=True)
        click.echo("\r\033[K" if done + 1 == shards else "", nl=False, err=True)


def _print(segment: str, found: "Forecast", as_json: bool) -> None:
    all_of_them = found.entries + found.exits
    if found.since == NEVER and not as_json:
        click.echo(f"{segment}: no event was read yet")
        return
    begin, end = (rfc3339(at) if at > NEVER else None for at in (found.since, found.until))
    if as_json:
        print_json({
            "segment": segment, "from": begin, "until": end, "users": found.users, "members": found.members,
            "enter": found.entries, "leave": found.exits, "members_then": found.members + found.entries - found.exits,
            "behind": found.behind,
            "complete": len(found.first) == all_of_them,
            "flips": [
                {"user_id": one.user_id, "enters": one.enters, "at": rfc3339(one.at), "by_event": one.by_event}
                for one in found.first
            ],
        })  # fmt: skip
        return
    then = found.members + found.entries - found.exits
    click.echo(
        f"{segment}: by time alone {_times(found.entries, 'entry', 'entries')} and "
        f"{_times(found.exits, 'exit', 'exits')} from {begin} until {end}; "
        f"{found.members:,} of {found.users:,} users are in it now, {then:,} then."
    )
    for one in found.first:
        click.echo(f"{rfc3339(one.at)}  {'enters' if one.enters else 'leaves'}  {one.user_id}"
                   f"{'  (by an event that is dated ahead)' if one.by_event else ''}")  # fmt: skip
    if len(found.first) < all_of_them:
        click.echo(f"and {all_of_them - len(found.first):,} more; --limit N shows more of them", err=True)


def _times(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
