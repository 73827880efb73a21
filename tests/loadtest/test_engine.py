"""The measurement runs, agrees with the obvious flow about every member, and says what it measured."""

import json
import subprocess
import sys

from loadtest import workload


def test_it_measures_and_the_flows_agree() -> None:
    small = ["--events", "12000", "--users", "150", "--definitions", "20", "--rounds", "1", "--naive-events", "3000"]
    done = subprocess.run([sys.executable, "-m", "loadtest.engine", *small], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["transitions_per_event"] > 0
    assert 0 < result["engine_ratio"]["median"] < 1
    assert result["vs_naive_bytewax"]["times"]["median"] > 0


def test_the_workload_is_what_it_says() -> None:
    stream = workload.stream(5_000, 100, 60.0)
    assert {len(message) for message in stream.messages} == {workload.EVENT_BYTES}
    moved = sum(a > b for a, b in zip(stream.times.tolist(), stream.times.tolist()[1:]))
    assert 0.03 * len(stream.times) < moved < 0.07 * len(stream.times)
    assert workload.stream(50, 10, 1.0).messages == workload.stream(50, 10, 1.0).messages
