"""The measurement of the engine runs, and everybody in it agrees with DuckDB about every member."""

import numpy as np
import pytest

from loadtest import calibration, pipeline, ratios, reference_decoder, workload


@pytest.fixture(scope="module")
def world() -> ratios.World:
    return ratios.World.of(24_000, 300, read=4_000)


def test_the_engine_ends_with_the_oracles_members(world: ratios.World) -> None:
    said: list[str] = []
    result = ratios.engine_ratio(world, 100, 1, said.append)
    assert result["members_equal_duckdb"] and len(said) == 1
    assert result["definitions_with_members_and_others"] == 100
    assert 0.15 < result["transitions_per_event"] < 0.6
    assert result["figure"] > 0


def test_another_membership_is_no_result(world: ratios.World) -> None:
    definitions = world.definitions(100)
    plan = pipeline.plan_of(calibration.files_of(definitions))
    members, _ = world.oracle.members(definitions)
    with pytest.raises(SystemExit, match="disagree about 1 members"):
        ratios.run(world, plan, members - {next(iter(members))})


def test_the_obvious_flow_ends_with_the_oracles_members() -> None:
    result = ratios.versus_naive(6_000, 1, lambda line: None)
    assert result["members_equal_duckdb"] and result["times"]["median"] > 0 and result["naive_flips"] > 0


def test_thousands_of_definitions_are_asked_in_both_ways(world: ratios.World) -> None:
    definitions = world.definitions(1_000)
    members, verbatim = world.oracle.members(definitions)
    assert verbatim == 300
    assert {name for _, name in members} == set(definitions)


def test_the_workload_is_what_it_says() -> None:
    drawn = workload.draw(5_000, 100, 60.0)
    messages = drawn.messages()
    assert {len(message) for message in messages} == {workload.EVENT_BYTES}
    moved = int((np.diff(drawn.time) < 0).sum())
    assert 0.03 * len(drawn) < moved < 0.07 * len(drawn)
    counts = np.bincount(drawn.user)
    assert counts[0] > 1.5 * counts[1] > 2 * counts[3]  # Zipf's law: 1, 1/2, 1/3, 1/4
    assert drawn.messages(7, 9) == messages[7:9] == workload.draw(5_000, 100, 60.0).messages()[7:9]


def test_the_reference_decoder_finds_every_column() -> None:
    drawn = workload.draw(3_000, 50, 60.0)
    columns = reference_decoder.decode(drawn.messages())
    assert columns.time.tolist() == drawn.time.tolist() and columns.cents.tolist() == drawn.cents.tolist()
    assert columns.event_id.tolist() == [f"{n:032x}" for n in range(len(drawn))]
    for name, wanted in (
        ("user_id", [f"user-{user:08}" for user in drawn.user.tolist()]),
        ("event_type", [workload.TYPES[kind] for kind in drawn.kind.tolist()]),
        ("region", [workload.REGIONS[region] for region in drawn.region.tolist()]),
        ("device_type", [workload.DEVICES[device] for device in drawn.device.tolist()]),
        ("url", [f"/p/{cents % 97}" for cents in drawn.cents.tolist()]),
    ):
        found = columns.texts[name]
        assert [found.values[code] for code in found.codes.tolist()] == wanted
