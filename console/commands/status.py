"""`tidegate status`: what is wrong first, in words; then segments, shards and refused events."""

from pathlib import Path

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json
from console.status_view import as_object, problems, show


@click.command("status")
@settings_flags("database_url")
@json_flag
def command(config: Path | None, database_url: str | None, as_json: bool) -> None:
    """What is wrong, in words; then segments with their members, shards, and refused events by reason.

    Reads PostgreSQL only, so it also answers when engine and server are down.
    Exit code 0: nothing is wrong; 1: something is; 2: it could not be found out.

    \b
    Examples:
      tidegate status
      tidegate status --json | jq '.segments[] | {segment, members}'
    """
    from storage.status import read_status

    settings = load_settings(config, database_url=database_url)
    status = read_status(settings.database_url.get_secret_value())
    wrong = problems(status)
    if as_json:
        print_json(as_object(status, wrong))
    else:
        show(status, wrong)
    raise SystemExit(1 if wrong else 0)
