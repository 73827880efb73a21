"""`tidegate plan`: what the definitions in the folder would change for users, against what is deployed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json
from segmentation.errors import TidegateError

if TYPE_CHECKING:
    from console.planning.model import Report

SAMPLE = 5


@click.command("plan")
@settings_flags("definitions", "database_url")
@click.option(
    "--members", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Also write all who enter and leave: *.csv, *.ndjson or *.parquet.",
)
@click.option(
    "--sample", type=click.IntRange(0, 1000), default=SAMPLE, metavar="N",
    help=f"Show N who enter and N who leave of each segment.  [default: {SAMPLE}]",
)
@click.option("--markdown", is_flag=True, help="As a comment for a pull request.")
@json_flag
def command(
    config: Path | None, definitions: Path | None, database_url: str | None, members: Path | None, sample: int,
    markdown: bool, as_json: bool,
) -> None:  # fmt: skip
    """What would change for users if the definitions in DIR were deployed. Changes nothing.

    Each definition is added, removed, enabled, disabled, changed in meaning (or through a segment or column that it
    reads), or changed only in spelling or header, which has no effect. Of those with an effect: members now and
    after, and exactly who enters and who leaves, computed from the archived events at the position of the states
    that the engine saved last. The output names that position: it is per shard, and events after it are not in it.

    Run it where `storage_url` is the engine's. It takes one core and about as long as the engine will take to build
    the new state; the engine is not disturbed.

    Exit code 0: no difference for any user; 1: there is one; 2: it could not be found out.

    \b
    Examples:
      tidegate plan
      tidegate plan --definitions segment_defs --members changes.csv
      tidegate plan --markdown > comment.md        (for a pull request)
      tidegate plan --json | jq '.definitions[] | {definition, change, segments}'
    """
    from console.planning import markdown as as_markdown
    from console.planning import members_file
    from console.planning import text as as_text
    from console.planning.objects import as_object
    from console.planning.planning import plan

    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other.")
    if members is not None:
        members_file.check(members)
    settings = load_settings(config, definitions=definitions, database_url=database_url)
    report = _planned(plan, settings, sample, members)
    if as_json:
        print_json(as_object(report))
    else:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        click.echo("\n".join((as_markdown if markdown else as_text).lines(report)))
    raise SystemExit(1 if report.differs else 0)


def _planned(plan: Any, settings: Any, sample: int, members: Path | None) -> "Report":
    from segmentation.compile.problems import DefinitionErrors
    from segmentation.compile.report import render
    from storage.definitions_folder import read_definitions

    folder = read_definitions(settings.definitions)
    try:
        report: Report = plan(settings, folder, sample, members)
    except DefinitionErrors as errors:
        raise TidegateError(f"{settings.definitions} cannot be deployed.\n{render(errors.problems, folder.files)}") \
            from None
    return report
