"""`tidegate backfill FILE...`: events from before Kafka's retention into the reservoir of a stopped engine.

All shards are taken over and brought to one place, as for a reshard. The files' rows go into chunks beside the
reservoir, batch by batch, each of which is in a journal when it is done (storage.backfill.staging): whoever is killed
goes on there. Then each shard gets the chunks under its log, its values are made anew from all of it
(segmentation.evaluate.past), and one transaction stores the new states, and what membership differs, as transitions.
Until that commit everything is as it was.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.engine import NEW_SHARDS_FILES, Engine, Goal, meaning_of
from flows.pace import Pace
from flows.placement import Placement
from flows.reshard import to_one_place
from segmentation.errors import TidegateError
from segmentation.evaluate.building import rows_of
from segmentation.evaluate.past import forgets, with_past
from segmentation.evaluate.shard import Shard
from segmentation.events.times import text_of
from segmentation.types import NEVER
from storage import postgres, reservoir
from storage import reshard as preview
from storage.backfill.batches import Reading, batches
from storage.backfill.shard_log import ShardLog
from storage.backfill.staging import Counts, Staging
from storage.engine_state import EngineRecord, read_complete_since
from storage.files import EventFile, RefusedRow
from storage.migrate import check_migrated
from storage.rebuild import Rebuild
from storage.reservoir import Reservoir
from storage.settings import Settings

log = logging.getLogger("tidegate.backfill")

#: Told the file, and how many of its rows have been read.
Progress = Callable[[Path, int], None]


@dataclass(slots=True)
class Outcome:
    """counts: of all rows; refused: those of this run; entered, left: flips; seconds: for reading and staging, in this
    run, and its rows."""

    counts: Counts
    refused: list[RefusedRow]
    resumed: bool
    entered: int = 0
    left: int = 0
    rows: int = 0
    seconds: float = 0.0


class Refused(TidegateError):
    """Nothing was done, since rows are refused."""

    def __init__(self, rows: Sequence[RefusedRow], words: str) -> None:
        self.rows = rows
        super().__init__(words)


def backfill(
    settings: Settings, files: Sequence[Path], mapping: Mapping[str, str], timezone: str | None, strict: bool,
    stop: threading.Event, progress: Progress = lambda file, rows: None,
) -> Outcome:  # fmt: skip
    """Raises TidegateError where it cannot be done; then the engine goes on from where it was, and another call where
    this one stopped."""
    digests = {file: EventFile(file).digest() for file in files}
    url = settings.database_url.get_secret_value()
    _whole(url)
    settings = settings.model_copy(update={"shards": preview.preview(url, settings.shards).shards})
    with closing(Engine.open(settings, Placement(settings.shards), Goal(), stop)) as engine:
        log.info("took over %d shards; an engine that still runs is shut out now", settings.shards)
        engine.pace = Pace(range(settings.shards), 2**62, 2**62)
        runners = [engine.runner(shard) for shard in range(settings.shards)]
        shards = [runner.shard for runner in runners if isinstance(runner.shard, Shard)]
        to_one_place(engine, runners, shards)
        limit = shards[0].watermark
        if limit == NEVER:
            raise TidegateError(
                "The engine has counted nothing yet, so nobody can say where the history ends. Start it once, with its "
                "topics there: `tidegate run`; then end it and run this again."
            )
        logs = [ShardLog.of(shard) for shard in shards]
        staging = Staging(settings.storage_url, logs, engine.columns, limit, _binding(shards))
        with closing(staging):
            outcome = Outcome(staging.counts, staging.refused, staging.resumed)
            if staging.resumed:
                log.info("going on where the load before this one was ended")
            reading = Reading(engine.decoder.schema, engine.columns, mapping, timezone)
            for file, digest in digests.items():
                _read(file, digest, staging, reading, outcome, progress, stop)
            if strict and outcome.counts.refused:
                staging.discard()
                raise Refused(outcome.refused, f"{outcome.counts.refused:,} rows are refused, and --strict was given.")
            _commit(engine, shards, staging, outcome, {n: runner.takeover.token for n, runner in enumerate(runners)})
            staging.discard()
    return outcome


def _whole(url: str) -> None:
    """What counts only from some instant on has no place for what was before."""
    with closing(postgres.connect(url, application="tidegate backfill")) as connection, postgres.foreign_errors(
        postgres.address(url)
    ):
        check_migrated(connection, postgres.address(url))
        partial = sorted(read_complete_since(connection))
    if partial:
        raise TidegateError(
            f"{', '.join(partial)}: complete only since some instant, so history from before it has no place there. "
            "Take these definitions out (`tidegate apply`), load the history, and put them back."
        )


def _binding(shards: Sequence[Shard]) -> Any:
    """What must be the same for a journal to be of use: where the shards stand, whom they know, and how many rows
    they have, which the commit of a load changes too."""
    return [
        [sorted(shard.next_offset.items()), shard.watermark, len(shard.user_ids), len(shard.erasures), rows_of(shard)]
        for shard in shards
    ]


def _read(
    file: Path, digest: str, staging: Staging, reading: Reading, outcome: Outcome, progress: Progress,
    stop: threading.Event,
) -> None:  # fmt: skip
    done = staging.done(digest)
    began = time.monotonic()
    for batch in batches(file, digest, reading, done):
        staging.add(batch, digest)
        outcome.rows, done = outcome.rows + batch.end - done, batch.end
        outcome.seconds, began = outcome.seconds + time.monotonic() - began, time.monotonic()
        progress(file, done)
        if stop.is_set():
            raise TidegateError(f"ended in {file}, after row {done:,}. Run it again: it goes on there.")


def _commit(
    engine: Engine, shards: Sequence[Shard], staging: Staging, outcome: Outcome, tokens: Mapping[int, int]
) -> None:  # fmt: skip
    settings, plan = engine.settings, engine.plan
    record = EngineRecord.of(
        plan.segments, plan.digest, engine.decoder.schema.digest, settings.shards, meaning_of(settings)
    )
    if not any(staging.staged(number)[0] for number in range(len(shards))):
        return
    _check(shards, staging)
    with Rebuild(engine.url, record, plan.segments, tokens) as rebuild:
        for number, shard in enumerate(shards):
            new = _with_past(engine, number, shard, staging, tokens[number] + 1)
            differences = rebuild.apply_differences(number, new.members(), max(new.watermark, 0))
            new.restore_seq(rebuild.sequence_numbers(number))
            saved = engine.checkpoints.save(number, rebuild.next_step(number), dict(new.next_offset), new.dump())
            rebuild.finish(number, saved, new.watermark)
            outcome.entered, outcome.left = outcome.entered + differences.entered, outcome.left + differences.left
            log.info(
                "shard %d: %s users, %s entered and %s left a segment by their history", number,
                f"{differences.known:,}", f"{differences.entered:,}", f"{differences.left:,}",
            )  # fmt: skip


def _check(shards: Sequence[Shard], staging: Staging) -> None:
    for number, shard in enumerate(shards):
        refs = staging.staged(number)[0]
        dropped = forgets(shard, min((ref.first for ref in refs), default=2**62)) if refs else None
        if dropped is not None:
            staging.discard()
            raise TidegateError(
                f"Events from before {text_of(dropped)} have left the reservoir, so nobody can say which rows of the "
                "files were counted before. Load history before the engine drops what it has: set `retention` "
                "(seconds) to more than the age of the oldest event, and start with `tidegate run --rebuild`, or with "
                "a new database."
            )


def _with_past(engine: Engine, number: int, shard: Shard, staging: Staging, token: int) -> Shard:
    refs, users, source = staging.staged(number)
    # Numbers that an engine does not come to which takes that token if this is broken off.
    first = NEW_SHARDS_FILES * (1 + secrets.randbelow(90))
    archive = Reservoir(
        engine.settings.storage_url, number, token, engine.columns, engine.writing, first_number=first
    )
    reservoir.folder_of(engine.settings.storage_url, number).mkdir(parents=True, exist_ok=True)
    taken = [archive.take_over(source, ref) for ref in refs]
    newest = staging.newest(number)
    return with_past(shard, users, taken, newest, archive, engine.settings.retention_us)
