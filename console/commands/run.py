"""`tidegate run`: the engine, one process of it."""

from pathlib import Path

import click

from console.options import load_settings, settings_flags
from console.times import INSTANT


@click.command("run")
@settings_flags("definitions", "kafka", "database_url")
@click.option("--rebuild", is_flag=True, help="Re-read the topic with the present definitions; write the differences.")
@click.option("--until-end", is_flag=True, help="Read to the end of the topic as it is now, then end.")
@click.option("--at", "finish_at", type=INSTANT, metavar="TIME",
              help="With `clock: event` and --until-end: expire windows up to TIME at the end.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads of this process.")
@click.option("-i", "--process-id", type=click.IntRange(0), metavar="N", help="Which process of the cluster: from 0.")
@click.option("-a", "--addresses", metavar="HOST:PORT;...", help="Every process of the cluster, in order, with `;`.")
def command(
    config: Path | None, definitions: Path | None, kafka: str | None, database_url: str | None, rebuild: bool,
    until_end: bool, finish_at: int | None, workers: int, process_id: int | None, addresses: str | None,
) -> None:  # fmt: skip
    """The engine: reads events from Kafka, keeps membership in PostgreSQL exact, announces every change.

    It goes on where it ended, also after kill -9. When the definitions or the schema have changed since,
    it names the changes and ends with code 2, unless --rebuild. Ctrl-C or SIGTERM ends it cleanly.

    \b
    Examples:
      tidegate run
      tidegate run --rebuild                                     (after editing definitions)
      tidegate run -i 0 -a 'host1:2101;host2:2101'               (a cluster of two: -i 1 on the other)
      TIDEGATE_CLOCK=event tidegate run --until-end --at 2026-01-31T00:00:00Z
    """
    from console.logs import to_stderr
    from flows.run import run

    if (process_id is None) != (addresses is None):
        raise click.UsageError("a cluster needs both -i and -a.")
    everyone = [one.strip() for one in addresses.split(";") if one.strip()] if addresses else None
    if everyone is not None and process_id is not None and process_id >= len(everyone):
        raise click.UsageError(f"-i {process_id}: the cluster has processes 0 to {len(everyone) - 1}.")
    if finish_at is not None and not until_end:
        raise click.UsageError("--at needs --until-end.")
    settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
    if finish_at is not None and settings.clock != "event":
        raise click.UsageError("--at needs `clock: event` (or TIDEGATE_CLOCK=event): live engines follow the clock.")
    to_stderr(settings.log_format)
    run(
        settings, workers=workers, process_id=process_id, addresses=everyone, until_end=until_end,
        finish_at=finish_at, rebuild=rebuild,
    )  # fmt: skip
