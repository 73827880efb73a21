"""An installation without a C compiler evaluates by numpy."""

import subprocess
import sys

_WITHOUT = """
import sys
sys.modules["segmentation.native._native"] = None
import console.main, flows.engine, grpc_server.serve
from segmentation.native import ENABLED, STATE
assert not ENABLED and "make native" in STATE, STATE
from segmentation.compile import compile_files
from segmentation.events.decode import Decoder
from segmentation.events.schema import load_schema
from segmentation.events.rows import Poll
from segmentation.evaluate.shard import Shard
import numpy as np
schema = load_schema("events: {}")
plan = compile_files({"some.sql": "SELECT user_id FROM events GROUP BY user_id HAVING count(*) >= 2"}, schema)
message = b'{"event_id":"%d","user_id":"u","event_type":"t","event_time":"2026-01-01T00:00:0%dZ"}'
rows = Decoder(schema, None).decode([message % (n, n) for n in range(3)], np.arange(3), np.full(3, 2**60)).rows
shard = Shard(plan, 1, 250_000, 10**12, True)
high = int(rows.high[-1])
shard.run([Poll(0, 3, high, high, None, rows)])
assert list(shard.members()) == [("u", [0])], list(shard.members())
"""


def test_everything_runs_where_the_c_part_was_not_built() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
