"""`tidegate validate [DIR]`: every problem of every definition, each with place, reason and remedy."""

import sys
from pathlib import Path
from typing import Any

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json


@click.command("validate")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@settings_flags()
@click.option(
    "--producer-schema", is_flag=True, help="Instead print the JSON Schema of events that schema.yml describes."
)
@click.option(
    "--explain", is_flag=True,
    help="Also what each definition reads, what it shares with others, and what it costs per user.",
)
@json_flag
def command(
    folder: Path | None, config: Path | None, producer_schema: bool, explain: bool, as_json: bool
) -> None:
    """Check the definitions in DIR (default: the settings' folder). Reads no events, needs no database.

    All problems of all files at once. Exit code 0: all would be accepted; 2: some are refused.

    \b
    Examples:
      tidegate validate
      tidegate validate segment_defs --json
      tidegate validate --explain
      tidegate validate --producer-schema > events.schema.json     (for producers)
    """
    from segmentation.compile import problems_of
    from segmentation.compile.report import as_json as problems_as_json
    from segmentation.compile.report import render
    from segmentation.events.schema import SchemaError
    from storage.definitions_folder import read_definitions

    folder = folder or load_settings(config).definitions
    try:
        content = read_definitions(folder)
    except SchemaError as error:
        if as_json:
            found = [{"file": one.file, "line": one.line, "column": 1, "reason": one.reason, "remedy": one.remedy}
                     for one in error.problems]  # fmt: skip
            _print_json([], found)
        else:
            click.echo(str(error))
            click.echo(f"{_count(len(error.problems), 'problem')} in {folder / 'schema.yml'}", err=True)
        sys.exit(2)
    if producer_schema:
        from segmentation.events.json_schema import producer_schema as json_schema

        print_json(json_schema(content.schema))
        return
    problems = problems_of(content.files, content.schema)
    if explain and not problems:
        from console.explaining import print_explained

        print_explained(content, as_json)
        return
    refused = {problem.file for problem in problems}
    fine = [Path(file).stem for file in content.files if file not in refused]
    if as_json:
        import json

        _print_json(fine, json.loads(problems_as_json(problems)))
    elif problems:
        click.echo(render(problems, content.files))
        click.echo(
            f"\n{_count(len(problems), 'problem')} in {_count(len(refused), 'definition')}; {len(fine)} ok", err=True
        )
    else:
        click.echo(f"{_count(len(fine), 'definition')} ok")
    sys.exit(2 if problems else 0)


def _print_json(fine: list[str], problems: list[Any]) -> None:
    print_json({"ok": not problems, "definitions": fine, "problems": problems})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
