"""`tidegate reservoir`: the files that hold the shards' older events, and whether they are whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, rfc3339, table

if TYPE_CHECKING:
    from storage.saved_state import Saved
    from storage.settings import Settings


@click.group("reservoir")
def command() -> None:
    """The events that the engine keeps on disk, as Parquet files below `storage_url`.

    They are the archive, and what windows expire from. Any Parquet reader reads them; the newest events
    of each shard are not in them yet, but in its saved state.

    \b
    Examples:
      tidegate reservoir list
      tidegate reservoir verify
      duckdb -c "SELECT event_type, count(*) FROM '.tidegate/storage/reservoir/*/*.parquet' GROUP BY 1"
    """


@command.command("list")
@settings_flags("database_url")
@json_flag
def list_command(config: Path | None, database_url: str | None, as_json: bool) -> None:
    """The files of the last saved state: how many events of which time, and their size.

    \b
    Example:
      tidegate reservoir list --json | jq -r '.[].path'
    """
    from storage.reservoir import folder_of

    settings = load_settings(config, database_url=database_url)
    found = [
        {
            "shard": saved.record.shard, "path": str(folder_of(settings.storage_url, saved.record.shard) / ref.file)
            + ".parquet", "events": ref.rows, "first": rfc3339(ref.first), "last": rfc3339(ref.last),
            "bytes": ref.size, "level": ref.level,
        }
        for saved in _saved(settings)
        for ref in saved.chunks
    ]  # fmt: skip
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no files yet: the events so far are in the saved states")
    else:
        columns = ("shard", "path", "events", "first", "last", "bytes")
        table("Reservoir", columns, [[one[name] for name in columns] for one in found])


@command.command("verify")
@settings_flags("definitions", "database_url")
@json_flag
def verify_command(
    config: Path | None, definitions: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Read every byte of the saved states and the files that they name, and compare the digests.

    Exit code 0: all is whole; 1: something is damaged or missing, and is named; 2: it could not be found out.
    The engine does the same with each file when it opens it for the first time. It may run meanwhile; a file
    that it replaces in that very moment may then be named as missing: ask again.
    """
    from storage.checkpoints import CheckpointError
    from storage.definitions_folder import read_definitions
    from storage.reservoir import columns_of
    from storage.saved_state import damage, read, records

    settings = load_settings(config, definitions=definitions, database_url=database_url)
    columns = columns_of(read_definitions(settings.definitions).schema)
    wrong, files = [], 0
    for record in records(settings.database_url.get_secret_value()):
        try:
            saved = read(settings.storage_url, record)
        except CheckpointError as error:
            wrong.append(str(error))
            continue
        files += 1
        for _, problem in damage(settings.storage_url, saved, columns):
            files += 1
            if problem is not None:
                wrong.append(problem)
                click.echo(problem, err=True)
    if as_json:
        print_json({"files": files, "problems": wrong})
    else:
        click.echo(f"{files:,} files: " + (f"{len(wrong):,} damaged or missing" if wrong else "all whole"))
    raise SystemExit(1 if wrong else 0)


def _saved(settings: "Settings") -> Iterator["Saved"]:
    from storage.saved_state import read, records

    for record in records(settings.database_url.get_secret_value()):
        yield read(settings.storage_url, record)
