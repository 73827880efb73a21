"""`tidegate reshard`: more or fewer shards."""

import threading
from pathlib import Path

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, table

SHARDS_MAX = 1024


@click.command("reshard")
@click.argument("count", metavar="N", type=click.IntRange(1, SHARDS_MAX))
@click.option("--dry-run", is_flag=True, help="Only show how many users each new shard would have.")
@settings_flags("definitions", "kafka", "database_url")
@json_flag
def command(
    config: Path | None, count: int, dry_run: bool, definitions: Path | None, kafka: str | None,
    database_url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Deal the users of a stopped engine out to N shards (1 to 1024), exactly, without a rebuild.

    Shards bound the number of workers of an engine: with 4 of them, 4 workers. Nothing is counted
    anew: every user keeps membership, history and sequence numbers, and the engine goes on as if it had
    always had N shards.

    End the engine first (and what restarts it). One that still runs is shut out and ends with code 2.
    Kafka and the database must be there, and memory for the state of all shards. If this is ended in
    between, by kill -9 too, the old shards are as good as before: start the engine, or run this again.

    Afterwards set `shards: N` for every process (tidegate.yml or TIDEGATE_SHARDS): the engine does not
    start with another number.

    \b
    Examples:
      tidegate reshard 8 --dry-run        (how many users each shard would get)
      tidegate reshard 8                  (from 4, say)
      tidegate reshard 4                  (and back)
    """
    from console.logs import to_stderr
    from flows.reshard import reshard
    from storage.reshard import preview

    settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
    to_stderr(settings.log_format)
    if dry_run:
        would = preview(settings.database_url.get_secret_value(), count)
        before, users, moved, changed = would.shards, would.users, None, False
    else:
        done = reshard(settings, count, threading.Event())
        before, users, moved, changed = done.before, done.users, done.moved, done.changed
    if as_json:
        print_json({"before": before, "shards": count, "changed": changed, "moved": moved, "users": users})
        return
    table("Users", ("shard", "users"), list(enumerate(users)))
    if dry_run:
        click.echo(f"there are {before} shards now; nothing was changed")
    elif not changed:
        click.echo(f"there are {count} shards already; nothing was changed")
    else:
        click.echo(f"{before} shards have become {count}; {moved:,} users have another one now")
    if settings.shards != count and not dry_run:
        click.echo(f"set `shards: {count}` for every process, then start the engine: tidegate run", err=True)
