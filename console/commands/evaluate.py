"""`tidegate evaluate`: the pure core over a file of events; CSV on stdout."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.loading import PROGRESS_BYTES, load_events, mapping_flags, progress, report_refused
from console.output import rfc3339
from console.times import INSTANT
from segmentation.errors import TidegateError

if TYPE_CHECKING:
    from console.evaluation import Log


@click.command("evaluate")
@click.option("--definitions", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of *.sql and schema.yml.")  # fmt: skip
@click.option("--events", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="NDJSON, CSV or Parquet; each also gzipped.")  # fmt: skip
@click.option("--profiles", type=click.Path(path_type=Path), metavar="FILE",
              help="In the same formats: user_id, profile_time and the columns of users.")  # fmt: skip
@click.option("--at", type=INSTANT, metavar="TIME",
              help="What is later is not known, and windows end here.  [default: the latest time]")  # fmt: skip
@click.option("--segment", "segments", multiple=True, metavar="NAME", help="Only this one; may be given repeatedly.")
@click.option("--transitions", is_flag=True, help="Every entry and exit up to TIME instead of the members at TIME.")
@click.option("--clock", type=click.Choice(["event"]), default="event", show_default=True,
              help="Time is the events' own.")  # fmt: skip
@mapping_flags
def command(
    definitions: Path, events: Path, profiles: Path | None, at: int | None, segments: tuple[str, ...],
    transitions: bool, clock: str, mapping: dict[str, str], timezone: str | None, strict: bool,
) -> None:  # fmt: skip
    """Who is in which segment at TIME, from a file of events alone. No broker, no database.

    Prints CSV: user_id,segment; with --transitions user_id,segment,entered,effective_at in order of time.
    Events count in the order of their own times. Rows that the engine would refuse are named on stderr and
    left out. Where nobody is in the segments given, stderr says which part of their conditions holds for how many.
    A row without event_id gets one from the file and its number. Of profiles, users has at each time
    the latest one by profile_time (of one time the later row), and what a row does not have is NULL.

    \b
    Examples:
      tidegate evaluate --definitions segment_defs --events events.ndjson.gz
      tidegate evaluate --definitions segment_defs --events events.csv --profiles users.csv
      tidegate evaluate --definitions segment_defs --events events.parquet \\
        --at 2026-01-31T00:00:00Z --segment lapsed --transitions
      tidegate evaluate --definitions segment_defs --events clicks.csv.gz \\
        --map user_id=user_id,event_type=event,event_time=timestamp --timezone UTC
    """
    from console.evaluation import evaluate
    from segmentation.compile import compile_files
    from storage.definitions_folder import read_definitions

    content = read_definitions(definitions)
    plan = compile_files(content.files, content.schema)
    wanted = _wanted(segments, plan.names, content.files)
    loaded = load_events(events, content.schema, mapping, timezone, with_messages=False)
    report_refused(loaded.refused, events, strict)
    rows, known = loaded.rows, None
    if profiles is not None:
        from console.profile_rows import load_profiles

        known, refused = load_profiles(profiles, content.schema, timezone)
        report_refused(refused, profiles, strict)
    if at is None:
        at = max([int(each.time.max()) for each in (rows, known) if each is not None and len(each)], default=0)
    with progress("evaluating", len(rows), len(rows) * 100 >= PROGRESS_BYTES) as advance:
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            advance(done)

        result = evaluate(plan, rows, at, transitions, step, known)
    if result.repeated:
        click.echo(f"{events}: {result.repeated:,} repeats of earlier rows counted once", err=True)
    names = plan.names
    if result.log is not None:
        _print_log(result.log, names, wanted)
    else:
        found = [(user, names[one]) for user, one in result.members if one in wanted]
        _print(("user_id", "segment"), found)
        if segments and not found:
            from console.nobody import lines
            from segmentation.compile.parts import condition
            from segmentation.evaluate.counting import count

            for number in sorted(wanted):
                asked = condition(plan, number)
                click.echo("\n".join(lines(asked, count([result.shard], asked))), err=True)


def _wanted(segments: tuple[str, ...], names: list[str], files: dict[str, str]) -> set[int]:
    import difflib

    chosen = set(segments)
    for segment in segments:
        if bands := [name for name in names if name.startswith(f"{segment}/")]:
            chosen.update(bands)
        elif segment not in names:
            if segment in [Path(file).stem for file in files]:
                raise TidegateError(f"segment {segment!r} is not enabled: its file says `enabled: false`.")
            near = difflib.get_close_matches(segment, names, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}."
            raise TidegateError(f"there is no segment {segment!r}. {advice}")
    return {number for number, name in enumerate(names) if not segments or name in chosen}


def _print_log(log: "Log", names: list[str], wanted: set[int]) -> None:
    flips = zip(
        log.time.tolist(), (log.user_ids[user] for user in log.user.tolist()), log.segment.tolist(),
        log.entered.tolist(),
    )  # fmt: skip
    _print(
        ("user_id", "segment", "entered", "effective_at"),
        (
            (user, names[segment], "true" if entered else "false", rfc3339(time))
            for time, user, segment, entered in flips
            if segment in wanted
        ),
    )


def _print(header: tuple[str, ...], rows: Any) -> None:
    # Ids may hold any character; the output is UTF-8 whatever the terminal's locale says.
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    sys.stdout.flush()
