"""Waiting for an engine to take up a version, with progress, and what is said about versions."""

import getpass
import socket
import time
from typing import TYPE_CHECKING, Any

import click

from console.output import print_json, table
from segmentation.errors import TidegateError

if TYPE_CHECKING:
    from storage.deployments import Deployment

#: Between two looks at the version, and after how long without an engine nobody waits for one any more, s.
LOOK_SECONDS, NOBODY_SECONDS = 0.5, 20.0


def whoever() -> str:
    """Who does this, as far as the machine can say."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def wait_for(url: str, number: int, quiet: bool) -> "Deployment":
    """The version once it is complete or withdrawn, or still as it is when no engine runs."""
    from storage import deployments
    from storage.applying import engine_runs
    from storage.postgres import DatabaseError

    seen_at, said = time.monotonic(), ""
    while True:
        found = None
        try:
            found = deployments.version(url, number)
            if found.state != deployments.BUILDING or found.held:
                return found
            if found.progress is not None or engine_runs(url):
                seen_at = time.monotonic()
        except DatabaseError as error:
            if not error.passing:
                raise
        if found is not None and time.monotonic() - seen_at > NOBODY_SECONDS:
            return found
        words = _words(found)
        if words != said and not quiet:
            click.echo(words, err=True)
            said = words
        time.sleep(LOOK_SECONDS)


def _words(found: "Deployment | None") -> str:
    if found is None:
        return "the database does not answer; waiting"
    if found.progress is None:
        return f"version {found.version}: waiting for the engine to take it up"
    done, total = found.progress
    if found.ready:
        return f"version {found.version}: built; switching"
    return f"version {found.version}: building, {done:,} of {total:,} stored events"


def report(found: "Deployment", as_json: bool) -> int:
    """What came of it; the exit code."""
    from storage.deployments import BUILDING, COMPLETE

    if as_json:
        print_json(as_object(found))
    elif found.state == COMPLETE:
        rows = [(name, entered, left) for name, (entered, left) in sorted(found.outcome.items())]
        if rows:
            table(f"Version {found.version}", ("segment", "entered", "left"), rows)
        click.echo(f"version {found.version} is deployed" + ("" if rows else "; nobody entered or left a segment"))
    elif found.held:
        rows = [(name, entered, left) for name, (entered, left) in sorted(found.outcome.items())]
        table(f"Version {found.version}, held", ("segment", "would enter", "would leave"), rows)
        click.echo(
            f"version {found.version} is held: more members of a segment would change than the setting `guard` lets. "
            "Nothing was changed. `tidegate apply --confirm` deploys it all the same, `--withdraw` takes it back."
        )
    elif found.state == BUILDING:
        click.echo(
            f"version {found.version} is recorded. No engine runs on this database: it takes the version up when it "
            "starts. `tidegate apply --withdraw` takes it back."
        )
    if found.state not in (BUILDING, COMPLETE):
        raise TidegateError(f"version {found.version} was withdrawn: {found.reason}")
    return 1 if found.held else 0


def as_object(found: "Deployment") -> dict[str, Any]:
    """For programs, without the files."""
    return {
        "version": found.version, "state": found.state, "by": found.by, "at": found.at, "reason": found.reason,
        "switched_at": found.switched_at, "held_since": found.held_since if found.held else None,
        "rebuilt": list(found.rebuilt),
        "segments": {name: {"entered": came, "left": left} for name, (came, left) in sorted(found.outcome.items())},
    }
