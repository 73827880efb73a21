"""`tidegate explain USER SEGMENT`: why the user is in the segment or not, since when, and until when."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.loading import mapping_flags
from console.options import json_flag, settings_flags
from console.output import print_json, rfc3339, standing
from console.times import INSTANT
from segmentation.errors import TidegateError
from segmentation.types import NEVER

if TYPE_CHECKING:
    from segmentation.explain.explaining import Explanation
    from storage.settings import Settings


@click.command("explain")
@click.argument("user")
@click.argument("segment")
@click.option("--at", type=INSTANT, metavar="TIME", help="The instant to explain.  [default: as far as is known]")
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE",
              help="From this file instead of the deployment: NDJSON, CSV or Parquet; each also gzipped.")  # fmt: skip
@click.option("--profiles", type=click.Path(path_type=Path), metavar="FILE",
              help="With --events: user_id, profile_time and the columns of users.")  # fmt: skip
@click.option("--show", type=click.IntRange(1, 1_000), default=5, show_default=True, metavar="N",
              help="At most N events named for each part of the condition.")  # fmt: skip
@mapping_flags
@settings_flags("definitions", "database_url")
@json_flag
def command(
    user: str, segment: str, at: int | None, events: Path | None, profiles: Path | None, show: int,
    mapping: dict[str, str], timezone: str | None, strict: bool, definitions: Path | None, database_url: str | None,
    config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Why USER is in SEGMENT or not at TIME, since when, and when that changes if nothing arrives.

    The condition as a tree: of each part whether it holds, the value it comes to beside the one that is wanted, its
    SQL, and the events that made it so. Exit code 1 where nothing is known of the user. Without --events it is the
    deployment's, as of the last commit: the state that the engine saved last, and what it has taken from Kafka since.
    So it must be run where the engine's settings are.

    \b
    Examples:
      tidegate explain ann lapsed_customers
      tidegate explain ann lapsed_customers --definitions segment_defs --events events.ndjson.gz
      tidegate explain ann lapsed_customers --definitions segment_defs --events events.csv \\
        --profiles users.csv --at 2026-01-31T00:00:00Z
    """
    from console.explanation import as_object, lines
    from console.options import load_settings

    settings = load_settings(config, definitions=definitions, database_url=database_url)
    if events is not None:
        told = _of_files(settings.definitions, user, segment, at, show, events, profiles, mapping, timezone, strict)
    elif profiles is not None or definitions is not None:
        raise TidegateError("--profiles and --definitions go with --events FILE: a deployment has its own.")
    else:
        told = _of_deployment(settings, user, segment, at, show)
    if as_json:
        print_json(as_object(told))
    elif told.known:
        click.echo("\n".join(lines(told)))
    else:
        later = " It becomes known later: ask for a later --at." if told.later else ""
        by = rfc3339(told.at) if told.at > NEVER else "now"
        click.echo(f"nothing is known of the user {user!r} by {by}: no event, no profile.{later}", err=True)
    if events is None and not as_json:
        click.echo(standing(told.behind), err=True)
    if not told.known:
        raise SystemExit(1)


def _of_files(
    folder: Path, user: str, segment: str, at: int | None, show: int, events: Path, profiles: Path | None,
    mapping: dict[str, str], timezone: str | None, strict: bool,
) -> "Explanation":  # fmt: skip
    from console.history import definition_of, of_files, read_files
    from segmentation.compile.bind import bind_all
    from segmentation.explain.explaining import explain
    from storage.definitions_folder import read_definitions

    content = read_definitions(folder)
    asked = definition_of(bind_all(content.files, content.schema), segment, content.files)
    files = read_files(events, profiles, content.schema, mapping, timezone, strict)
    history = of_files(files, content.schema, user, at)
    return explain(asked, content.schema, user, history.arrivals, history.at, show)


def _of_deployment(settings: "Settings", user: str, segment: str, at: int | None, show: int) -> "Explanation":
    from console.history import definition_of
    from flows.present import Present
    from storage.one_user import deployed, explained

    url = settings.database_url.get_secret_value()
    what = deployed(url)
    asked = definition_of(what.plan.segments, segment, what.files)
    return explained(url, settings.storage_url, what, asked, user, at, show, Present(settings))
