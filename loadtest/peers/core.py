"""The engine alone on a file: lines in, transitions made and dropped. A process of its own, so that it can be pinned.

    python -m loadtest.peers.core EVENTS DEFINITIONS TOTAL MEMBERS

Reads EVENTS (TOTAL lines of JSON) once, with the definitions of the folder DEFINITIONS, windows, found repeats and
older events on disk, as a worker of the engine does. Prints {"seconds": from a third of the events to the end,
"transitions": ..., "events": both of those} and writes the members at the newest event's time to MEMBERS as JSON,
[[user, segment], ...].
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from loadtest import workload
from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema
from storage.reservoir import Reservoir, columns_of

POLL = 20_000
LATENESS_US = 250_000
_FOREVER = 2**60


def main(events: Path, definitions: Path, total: int, members: Path) -> None:
    files = {file.name: file.read_text() for file in sorted(definitions.iterdir()) if file.suffix in (".sql", ".yml")}
    schema = load_schema(files.pop("schema.yml"))
    plan = compile_files(files, schema)
    decoder = Decoder(schema, None)
    taken = transitions = newest = 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool, events.open("rb") as lines:
        archive = Reservoir(Path(folder), 0, 1, columns_of(schema), pool)
        shard = Shard(plan, 1, LATENESS_US, 7 * workload.DAY_US, True, archive)
        while batch := [line[:-1] for line in islice(lines, POLL)]:
            if taken < total // 3 <= taken + len(batch):
                began, transitions, counted = time.perf_counter(), 0, taken
            offsets = np.arange(taken, taken + len(batch), dtype=np.int64)
            rows = decoder.decode(batch, offsets, np.full(len(batch), _FOREVER, np.int64)).rows
            taken += len(batch)
            newest = int(rows.high[-1])
            transitions += len(shard.run([Poll(0, taken, newest, newest, None, rows)]).transitions.segment)
        seconds = time.perf_counter() - began
        # The clock goes on until the watermark is the newest event's time.
        shard.run([Poll(0, taken, newest + LATENESS_US, newest + LATENESS_US)])
        held = [[user, plan.names[segment]] for user, inside in shard.members() for segment in inside]
    members.write_text(json.dumps(held))
    print(json.dumps({"events": taken - counted, "seconds": seconds, "transitions": transitions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
