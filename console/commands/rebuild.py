"""`tidegate rebuild`: one segment, computed anew."""

from pathlib import Path

import click

from console.deploying import report, wait_for, whoever
from console.options import json_flag, load_settings, settings_flags


@click.command("rebuild")
@click.argument("segment")
@settings_flags("database_url")
@click.option("--by", metavar="NAME", help="Who asks for it.  [default: user@host]")
@json_flag
def command(config: Path | None, segment: str, database_url: str | None, by: str | None, as_json: bool) -> int:
    """Compute SEGMENT anew from the events that the engine has stored, as the deployed definitions have it.

    Only what this segment counts is computed; the other segments keep what they have, and the engine goes on
    meanwhile. Nothing differs unless something was wrong: what does is announced with the cause "definition", also
    in segments that share the same counts.

    \b
    Examples:
      tidegate rebuild high_value
    """
    from segmentation.compile import compile_files
    from storage import deployments
    from storage.applying import apply
    from storage.deployments import DeploymentError
    from storage.migrate import check
    from storage.queries import UnknownSegment

    settings = load_settings(config, database_url=database_url)
    url = settings.database_url.get_secret_value()
    check(url)
    now = deployments.deployed(url)
    if now is None:
        raise DeploymentError("No engine has run on this database yet: there is nothing to compute anew.")
    if segment not in compile_files(now.folder.files, now.folder.schema).names:
        raise UnknownSegment([segment])
    added = apply(url, now.files, by or whoever(), rebuilt=[segment])
    assert added is not None
    return report(wait_for(url, added, quiet=as_json), as_json)
