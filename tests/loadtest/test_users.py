"""Small runs of the measurements that are long: they end with DuckDB's members, and their parts add up."""

import pytest

from loadtest import simulate, users, where, windows
from loadtest.ratios import World
from segmentation.state import log


def test_users_end_with_the_oracles_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_LEAST", 8_000)
    result = users.run(2_000, 6_000, 2)
    assert result["members_equal_duckdb"] and result["events_per_user_before"] == 4
    assert result["saved_bytes_per_user"] > 0 and result["us_per_event"] > 0


def test_a_share_of_a_large_deployment_is_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_LEAST", 8_000)
    result = simulate.simulate(40_000, 20_000, 10, 20, seconds=2, every_ms=100)
    assert result["this_worker"] == {"users": 4_000, "events_per_s": 2_000, "events_per_read": 200}
    assert result["deployment"]["shards"] == 20 and result["evaluating_cpu_s_per_s"] > 0


def test_the_stages_and_the_rest_are_the_whole() -> None:
    result = where.stages(World.of(20_000, 300, read=4_000))
    assert sum(result["us_per_event"].values()) == pytest.approx(result["whole_with_watches_us"], abs=0.02)
    assert result["us_per_event"]["decode"] > 0


def test_windows_end_with_the_oracles_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "CHUNK_ROWS", 256)
    result = windows.run(30, 120, 12_000, 100, 1, read=1_000)
    assert result["members_equal_duckdb"] and result["measured_events"] == 3_000 and result["files"] > 0
    assert 0 < result["us_per_event_decoding"] < result["us_per_event"]
