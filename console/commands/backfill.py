"""`tidegate backfill`: history from files into the reservoir of a stopped engine."""

import signal
import threading
from pathlib import Path

import click

from console.loading import mapping_flags
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json


@click.command("backfill")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@settings_flags("definitions", "kafka", "database_url")
@json_flag
@mapping_flags
def command(
    files: tuple[Path, ...], config: Path | None, definitions: Path | None, kafka: str | None,
    database_url: str | None, as_json: bool, mapping: dict[str, str], timezone: str | None, strict: bool,
) -> None:  # fmt: skip
    """Events from before Kafka's retention, from files: NDJSON, CSV or Parquet, each also gzipped.

    Afterwards membership is what it would be had the engine read them in time. What differs is told as
    transitions with cause `definition`. Rows with the same user_id, event_id and event_time count once, also where the
    engine has had them from Kafka; a row without an event id gets one from the file and its number.

    End the engine first (and what restarts it); one that still runs is shut out. Give all files at once. If this is
    ended in between, by kill -9 too, run it again with the same files: it goes on where it was, unless an engine has
    run meanwhile; then it begins anew. Memory is needed for the states of all shards, and 8 bytes for each event.

    \b
    Examples:
      tidegate backfill 2024.parquet 2025.parquet
      tidegate backfill clicks.csv.gz --map event_time=timestamp --timezone UTC
    """
    from console.loading import report_refused
    from console.logs import to_stderr
    from flows.backfill import Refused, backfill

    settings = load_settings(config, definitions=definitions, kafka=kafka, database_url=database_url)
    to_stderr(settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    named = files[0] if len(files) == 1 else Path("files")
    try:
        done = backfill(settings, files, mapping, timezone, strict, stop, _progress)
    except Refused as error:
        report_refused(list(error.rows), named, strict)
        raise
    report_refused(list(done.refused), named, False)
    counts = done.counts
    if as_json:
        print_json({
            "events": counts.taken, "repeats": counts.repeated, "refused": counts.refused, "erased": counts.erased,
            "resumed": done.resumed, "entered": done.entered, "left": done.left,
            "rows_per_second": round(done.rows / done.seconds) if done.seconds else None,
        })  # fmt: skip
        return
    click.echo(
        f"{counts.taken:,} events taken, {counts.repeated:,} repeats, {counts.refused:,} refused"
        + (f", {counts.erased:,} of users who were erased" if counts.erased else "")
    )
    click.echo(f"{done.entered:,} entered and {done.left:,} left a segment by their history")
    click.echo("start the engine: tidegate run", err=True)


def _progress(file: Path, rows: int) -> None:
    click.echo(f"{file}: {rows:,} rows", err=True)
