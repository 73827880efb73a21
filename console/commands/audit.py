"""`tidegate audit`: evaluate users again with DuckDB, now, and compare with what is stored of them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, rfc3339

if TYPE_CHECKING:
    from storage.audit.findings import Mismatch


@click.command("audit")
@click.option("--users", type=click.IntRange(1), default=1_000, show_default=True, metavar="N",
              help="So many users, at random; those that were found wrong before come on top.")  # fmt: skip
@settings_flags("database_url")
@json_flag
def command(
    config: Path | None, users: int, database_url: str | None, as_json: bool
) -> None:
    """Evaluate users again with DuckDB, from the saved events, and compare with their stored membership.

    A running engine does the same with a few users every minute (settings audit_every, audit_users). What was
    saved last is compared, so what came since does not matter. Run it where storage_url is the engine's.
    Exit code 0: every answer was right; 1: some are wrong, and each has a test that reproduces it; 2: it could not be
    found out.

    \b
    Examples:
      tidegate audit
      tidegate audit --users 100000 --json
    """
    from random import Random

    from storage.audit.round import audit

    settings = load_settings(config, database_url=database_url)
    done = audit(settings.database_url.get_secret_value(), settings.storage_url, users, Random())
    if as_json:
        print_json({
            "users": done.users, "answers": done.answers, "wrong": done.wrong, "skipped": done.skipped,
            "moved_shards": done.moved, "unjudged": sorted(done.unjudged), "cpu_seconds": done.seconds,
            "mismatches": [asdict(one) | {"as_of": rfc3339(one.as_of)} for one in done.differ],
        })  # fmt: skip
    else:
        for one in done.differ:
            click.secho(said(one, settings.storage_url), fg="red")
        click.echo(
            f"{done.answers:,} answers about {done.users:,} users compared with DuckDB: {done.wrong:,} wrong"
        )
        if done.skipped:
            click.echo(f"{done.skipped:,} answers not compared: they rest on events that are no longer kept")
        if done.unjudged:
            click.echo(f"DuckDB could not be asked about {', '.join(sorted(done.unjudged))}")
        if done.moved:
            click.echo(f"{done.moved} shards not compared: they have not been saved with these definitions")
    raise SystemExit(1 if done.wrong else 0)


def said(one: "Mismatch", storage_url: Path) -> str:
    """A wrong answer in words."""
    stored, judged = ("in" if one.stored else "not in"), ("in" if one.judged else "not in")
    return (
        f"User {one.user_id} is stored as {stored} {one.segment}, and DuckDB says {judged}, as of "
        f"{rfc3339(one.as_of)}. To reproduce it: tidegate test {Path(storage_url) / one.file}"
    )
