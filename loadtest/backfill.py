"""How fast history comes from Parquet into the reservoir: `python -m loadtest.backfill [EVENTS] [EVENTS_OF_A_USER]`.

Writes a file of a shop's events (ids of 36 letters, eight columns), then reads it, deals it out to four shards and
writes their chunks, as `tidegate backfill` does, in this one thread. Prints events a second, by the processor's clock
and by the wall's. What comes after that, making the states anew, is not in it.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.schema import load_schema
from storage.backfill.batches import Reading, batches
from storage.backfill.shard_log import ShardLog
from storage.backfill.staging import Staging
from storage.files import EventFile
from storage.reservoir import kept_columns

SHARDS, AT = 4, 1_767_225_600_000_000
SCHEMA = """\
events:
  region: {type: text}
  url: {type: text}
  amount: {type: "numeric(18,2)"}
  quantity: {type: bigint}
"""
DEFINITION = "SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id HAVING sum(amount) >= 500"
_PIECE = 1_000_000


def write(path: Path, events: int, users: int) -> None:
    """In order of time, over a year."""
    draw = np.random.default_rng(1)
    with pq.ParquetWriter(path, _table(draw, 0, 1, 1, events).schema) as writer:
        for first in range(0, events, _PIECE):
            writer.write_table(_table(draw, first, min(_PIECE, events - first), users, events), row_group_size=200_000)


def _table(draw: np.random.Generator, first: int, n: int, users: int, events: int) -> pa.Table:
    kinds = pa.array(["page_viewed", "product_viewed", "add_to_cart", "purchase"])
    regions = pa.array([f"region {number}" for number in range(50)])
    urls = pa.array([f"/products/{number}" for number in range(2_000)])
    time_ = AT - 365 * 86_400_000_000 + (np.arange(first, first + n) * (365 * 86_400_000_000 // events))
    numbers = draw.integers(0, 2**62, (2, n))
    return pa.table({
        "user_id": pa.array([f"user-{number:08d}" for number in draw.integers(0, users, n).tolist()]),
        "event_id": pa.array([f"{a:016x}-{b:016x}-00" for a, b in zip(*numbers.tolist())]),
        "event_type": kinds.take(pa.array(draw.integers(0, len(kinds), n))),
        "event_time": pa.array(time_).cast(pa.timestamp("us", "UTC")),
        "region": regions.take(pa.array(draw.integers(0, len(regions), n))),
        "url": urls.take(pa.array(draw.integers(0, len(urls), n))),
        "amount": pa.array(draw.integers(0, 100_000, n)).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2)),
        "quantity": pa.array(draw.integers(1, 9, n)),
    })  # fmt: skip


def measure(path: Path, folder: Path) -> dict[str, float]:
    schema = load_schema(SCHEMA)
    plan = compile_files({"spenders.sql": DEFINITION}, schema)
    shards = [Shard(plan, 1, 0, None, False) for _ in range(SHARDS)]
    columns = kept_columns(schema)
    staging = Staging(folder, [ShardLog.of(shard) for shard in shards], columns, AT, [])
    wall, cpu = time.perf_counter(), time.process_time()
    digest = EventFile(path).digest()
    for batch in batches(path, digest, Reading(schema, columns, {}, None)):
        staging.add(batch, digest)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    taken = staging.counts.taken
    staging.close()
    return {
        "events": taken, "wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2),
        "events_per_second": round(taken / wall), "events_per_cpu_second": round(taken / cpu),
    }  # fmt: skip


def main() -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    arguments = [one for one in sys.argv[1:] if one.isdigit()]
    events = int(arguments[0]) if arguments else 5_000_000
    per_user = int(arguments[1]) if len(arguments) > 1 else 20
    folder = Path(tempfile.mkdtemp(prefix="tidegate-backfill-"))
    try:
        write(folder / "events.parquet", events, max(1, events // per_user))
        print(json.dumps(measure(folder / "events.parquet", folder / "storage"), indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
