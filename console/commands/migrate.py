"""`tidegate migrate`: brings the database to this version's tables."""

from pathlib import Path

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json


@click.command("migrate")
@settings_flags("database_url")
@click.option("--wait", default=0.0, metavar="SECONDS", help="How long to wait for the database to come up.")
@json_flag
def command(config: Path | None, database_url: str | None, wait: float, as_json: bool) -> None:
    """Create Tidegate's tables in PostgreSQL, or bring them to this version.

    Safe at every start and by several at once. Needs CREATE on the database and on schema public.

    \b
    Examples:
      tidegate migrate --database-url postgresql://tidegate@localhost/tidegate
      tidegate migrate --wait 60          (where the database starts at the same moment)
    """
    from console.logs import to_stderr
    from storage.migrate import migrate

    settings = load_settings(config, database_url=database_url)
    to_stderr(settings.log_format)
    applied = migrate(settings.database_url.get_secret_value(), wait=wait)
    if as_json:
        print_json({"applied": applied})
    else:
        click.echo(f"applied: {', '.join(applied)}" if applied else "nothing to do: the tables are up to date")
