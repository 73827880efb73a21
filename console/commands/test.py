"""`tidegate test`: the definitions' own tests, run through what evaluates them in production."""

import sys
from pathlib import Path
from typing import Any

import click

from console.loading import mapping_flags
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json
from console.times import INSTANT
from segmentation.errors import TidegateError


@click.command("test")
@click.argument("wanted", nargs=-1, metavar="[NAME|FILE]...")
@settings_flags("definitions", "database_url")
@json_flag
@click.option("--create", metavar="SEGMENT", help="Write a first test of SEGMENT, DIR/tests/SEGMENT.yml, from events.")
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE",
              help="With --create: take this file's events instead of the engine's.")  # fmt: skip
@click.option("--profiles", type=click.Path(path_type=Path), metavar="FILE",
              help="With --create and --events: profiles, as `tidegate evaluate` takes them.")  # fmt: skip
@click.option("--at", type=INSTANT, metavar="TIME",
              help="With --create: what is `now` in the test.  [default: the latest event's time]")  # fmt: skip
@click.option("--force", is_flag=True, help="With --create: replace a file that is there.")
@mapping_flags
def command(
    wanted: tuple[str, ...], config: Path | None, definitions: Path | None, database_url: str | None, as_json: bool,
    create: str | None, events: Path | None, profiles: Path | None, at: int | None, force: bool,
    mapping: dict[str, str], timezone: str | None, strict: bool,
) -> None:  # fmt: skip
    """Run the tests in DIR/tests/*.yml: given events, are the members and transitions the expected ones?

    NAME: a segment; FILE: a file of tests. Without any, all tests are run. Needs no broker and no database.
    Exit code 0: all pass; 1: some fail, and every difference is shown; 2: files are wrong.

    With --create, a test is written instead: some users who are in, who are not, and who left, with those of their
    events that count, under other names. The events are those that the engine has saved, or those of a file.

    \b
    Examples:
      tidegate test
      tidegate test big_spenders --json
      tidegate test --create big_spenders --events events.ndjson
    """
    settings = load_settings(config, definitions=definitions, database_url=database_url)
    if create is not None:
        if wanted:
            raise click.UsageError("--create writes a test and runs no others: leave out the names.")
        if profiles is not None and events is None:
            raise click.UsageError("--profiles goes with --events.")
        _create(create, settings, events, profiles, (mapping, timezone, strict), at, force)
        return
    if events is not None or profiles is not None or at is not None or force or mapping or timezone or strict:
        raise click.UsageError("--events, --profiles, --at, --force, --map, --timezone and --strict go with --create.")
    from console.segment_tests import report
    from console.segment_tests.folder import find
    from console.segment_tests.running import differences
    from segmentation.compile.suggest import listed

    tests = find(settings.definitions, wanted)
    results = [(case, differences(case, tests.plan, tests.names)) for case in tests.cases]
    if as_json:
        print_json(report.as_json(tests, results))
    else:
        for case, found in results:
            click.echo("\n".join(report.lines(case, found)))
        for problem in sorted(tests.problems):
            click.echo(str(problem))
        click.echo(report.summary(tests, results), err=True)
        if tests.untested and not wanted:
            click.echo(f"without a test: {listed(tests.untested)}", err=True)
    sys.exit(2 if tests.problems else 1 if any(found for _, found in results) else 0)


def _create(
    segment: str, settings: Any, events: Path | None, profiles: Path | None,
    reading: tuple[dict[str, str], str | None, bool], at: int | None, force: bool,
) -> None:  # fmt: skip
    from console.segment_tests.cases import Names
    from console.segment_tests.create import created
    from console.segment_tests.folder import FOLDER
    from console.segment_tests.problems import Wrong
    from console.segment_tests.real import of_deployment, of_file
    from segmentation.compile import compile_files
    from storage.definitions_folder import read_definitions

    content = read_definitions(settings.definitions)
    try:
        Names(compile_files(content.files, content.schema), [Path(file).stem for file in content.files]).check(segment)
    except Wrong as wrong:
        raise TidegateError(f"{wrong.reason} {wrong.remedy}") from None
    name = segment.partition("/")[0]
    path = Path(settings.definitions) / FOLDER / f"{name}.yml"
    if path.exists() and not force:
        raise TidegateError(f"{path} is there already. Add --force to replace it, or move it.")
    rows = of_deployment(settings, content.schema) if events is None else of_file(events, content.schema, *reading)
    known = None
    if profiles is not None:
        from console.loading import report_refused
        from console.profile_rows import load_profiles

        known, refused = load_profiles(profiles, content.schema, reading[1])
        report_refused(refused, profiles, reading[2])
    if not len(rows):
        raise TidegateError(f"{events}: holds no event.")
    if at is None:
        at = max(int(each.time.max()) for each in (rows, known) if each is not None and len(each))
    source = "the engine's events" if events is None else str(events)
    text = created(name, content.files, content.schema, rows, at, source, known)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    click.echo(f"{path}: written. Run it with: tidegate test {name}")
