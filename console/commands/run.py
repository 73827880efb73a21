"""`tidegate run`: the engine, as one process, or as several that are supervised."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.options import load_settings, settings_flags
from console.times import INSTANT, as_text

if TYPE_CHECKING:
    from flows.supervised import Link
    from storage.settings import Settings


@click.command("run")
@settings_flags("definitions", "kafka", "database_url")
@click.option("--rebuild", is_flag=True, help="Re-read the topic with the present definitions; write the differences.")
@click.option("--rebuild-only", is_flag=True, help="The same, then end: before a cluster over several hosts starts.")
@click.option("--until-end", is_flag=True, help="Read to the end of the topic as it is now, then end.")
@click.option("--at", "finish_at", type=INSTANT, metavar="TIME",
              help="With `clock: event` and --until-end: expire windows up to TIME at the end.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Processes on this machine; if one is lost, all are started again.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Threads of each process.")  # fmt: skip
@click.option("-i", "--process-id", type=click.IntRange(0), metavar="N",
              help="Several hosts: which process of the cluster this is, from 0.")  # fmt: skip
@click.option("-a", "--addresses", metavar="HOST:PORT;...",
              help="Several hosts: every process of the cluster, in order, with `;`.")  # fmt: skip
@click.option("--line", type=int, hidden=True, help="Descriptor of the line to the supervisor.")
def command(
    config: Path | None, definitions: Path | None, kafka: str | None, database_url: str | None, rebuild: bool,
    rebuild_only: bool, until_end: bool, finish_at: int | None, workers: int, threads: int, process_id: int | None,
    addresses: str | None, line: int | None,
) -> int:  # fmt: skip
    """The engine: reads events from Kafka, keeps membership in PostgreSQL exact, announces every change.

    It goes on where it ended, also after kill -9. Its first start deploys the folder of definitions; from then
    on it answers by what was deployed last (`tidegate apply`). Ctrl-C or SIGTERM ends it cleanly, with
    code 0. Code 75: start it again, and it goes on.

    \b
    Examples:
      tidegate run
      tidegate run --workers 4                                   (four processes, kept running)
      tidegate run --rebuild                                     (reads the whole topic again)
      tidegate run -i 0 -a 'host1:2101;host2:2101'               (two hosts: -i 1 on the other)
      TIDEGATE_CLOCK=event tidegate run --until-end --at 2026-01-31T00:00:00Z
    """
    from flows.supervised import Link

    # First of all: the supervisor waits for a sign of life, and imports take their time.
    link = Link(line) if line is not None else None
    from console.logs import to_stderr

    with _reported(link):
        if (process_id is None) != (addresses is None):
            raise click.UsageError("a cluster needs both -i and -a.")
        everyone = [one.strip() for one in addresses.split(";") if one.strip()] if addresses else None
        if everyone is not None and process_id is not None and process_id >= len(everyone):
            raise click.UsageError(f"-i {process_id}: the cluster has processes 0 to {len(everyone) - 1}.")
        if workers > 1 and everyone is not None:
            raise click.UsageError("--workers is for one machine; over several, start every process with -i and -a.")
        if finish_at is not None and not until_end:
            raise click.UsageError("--at needs --until-end.")
        settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
        if finish_at is not None and settings.clock != "event":
            raise click.UsageError(
                "--at needs `clock: event` (or TIDEGATE_CLOCK=event): live engines follow the clock."
            )
        to_stderr(settings.log_format)
        if workers > 1 and not rebuild_only:
            given = {"CONFIG": config, "DEFINITIONS": definitions, "KAFKA": kafka, "DATABASE_URL": database_url}
            return _several(settings, workers, threads, until_end, finish_at, rebuild, given)
        from flows.run import run

        run(
            settings, threads=threads, process_id=process_id, addresses=everyone, until_end=until_end,
            finish_at=finish_at, rebuild=rebuild or rebuild_only, then_end=rebuild_only, link=link,
        )  # fmt: skip
        return 0


def _several(
    settings: "Settings", workers: int, threads: int, until_end: bool, finish_at: int | None, rebuild: bool,
    given: Mapping[str, object],
) -> int:  # fmt: skip
    """given: what was told by flags, by the settings' names."""
    from flows.placement import Placement
    from flows.supervisor import child_command, supervise

    Placement(settings.shards, threads, 0, workers)
    arguments = ["run", "--threads", str(threads), *(["--until-end"] if until_end else [])]
    if finish_at is not None:
        arguments += ["--at", as_text(finish_at)]
    # Flags go on as variables: a URL may hold a password, and arguments can be seen by all.
    environment = os.environ | {f"TIDEGATE_{name}": str(value) for name, value in given.items() if value is not None}
    return supervise(
        child_command(arguments), workers, environment, settings.log_format,
        before=["--rebuild-only"] if rebuild else [],
    )  # fmt: skip


@contextmanager
def _reported(link: "Link | None") -> Iterator[None]:
    """What somebody has to read goes to the supervisor, if there is one; what a new start cures has a code."""
    from flows.errors import AGAIN
    from segmentation.errors import TidegateError

    try:
        yield
    except TidegateError as error:
        if link is not None:
            link.failed(str(error))
        elif error.passing:
            click.echo(f"tidegate: {error}", err=True)
        else:
            raise
        raise click.exceptions.Exit(AGAIN if error.passing else 2) from None
