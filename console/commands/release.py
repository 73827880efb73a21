"""`tidegate release`: the operator's word that what the guard keeps back is to be published."""

from pathlib import Path

import click

from console.deploying import whoever
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, table


@click.command("release")
@click.argument("segments", nargs=-1)
@settings_flags("database_url")
@click.option("--all", "everything", is_flag=True, help="All that are held.")
@click.option("--by", metavar="NAME", help="Who wants it.  [default: user@host]")
@json_flag
def command(
    config: Path | None, segments: tuple[str, ...], database_url: str | None, everything: bool, by: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Publish what is kept back of SEGMENTS, and let them go on.

    While no events come, a segment of which time alone would flip more members than the setting `guard`, or
    its own `guard:`, lets is held: its answers stay as they were. It goes on by itself once the events are
    back and fewer would flip. This does it now: everybody who differs enters or leaves, once, with the cause
    "release", and the segment is not held again before the events were back. What is held only because it is
    built on SEGMENTS goes on with them.

    \b
    Examples:
      tidegate release high_value
      tidegate release --all
    """
    from storage.releasing import held, release

    if bool(segments) == everything:
        raise click.UsageError("Name the segments, or give --all.")
    settings = load_settings(config, database_url=database_url)
    url = settings.database_url.get_secret_value()
    outcome = release(url, list(segments) or held(url), by or whoever())
    if as_json:
        print_json({name: {"entered": entered, "left": left} for name, (entered, left) in sorted(outcome.items())})
    elif outcome:
        rows = [(name, entered, left) for name, (entered, left) in sorted(outcome.items())]
        table("Released", ("segment", "entered", "left"), rows)
    else:
        click.echo("nothing is held")
    return 0
