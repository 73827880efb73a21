"""`tidegate test`: the definitions' own tests, run through what evaluates them in production."""

import sys
from pathlib import Path

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import print_json


@click.command("test")
@click.argument("wanted", nargs=-1, metavar="[NAME|FILE]...")
@settings_flags("definitions")
@json_flag
def command(
    wanted: tuple[str, ...], config: Path | None, definitions: Path | None, as_json: bool
) -> None:
    """Run the tests in DIR/tests/*.yml: given events, are the members and transitions the expected ones?

    NAME: a segment; FILE: a file of tests. Without any, all tests are run. Needs no broker and no database.
    Exit code 0: all pass; 1: some fail, and every difference is shown; 2: files are wrong.

    \b
    Examples:
      tidegate test
      tidegate test big_spenders --json
    """
    from console.segment_tests import report
    from console.segment_tests.folder import find
    from console.segment_tests.running import differences
    from segmentation.compile.suggest import listed

    tests = find(load_settings(config, definitions=definitions).definitions, wanted)
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
