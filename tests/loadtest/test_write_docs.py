"""The page of figures is the one that the recorded run gives; a figure that is not there is said to be missing."""

import json

from loadtest import bench, write_docs


def test_the_page_is_made_from_the_recorded_figures() -> None:
    text = write_docs.PAGE.read_text()
    inside = text.partition(write_docs.BEGIN)[2].partition(write_docs.END)[0]
    wanted = "\n" + write_docs.measured(json.loads(write_docs.RECORDED.read_text()))
    assert inside == wanted, "python -m loadtest.bench --docs-only writes it again"


def test_what_misses_its_target_or_is_not_there_is_said() -> None:
    lines = write_docs.measured({
        "engine_ratio_100": 0.4, "engine_ratio_1": 0.9, "latency_ms": {"p50": 19.0}, "left_out": ["users: too many"],
        "spread": {"engine_ratio_100": {"min": 0.3, "max": 0.5}}, "problems": {"where": "broken"},
    }).splitlines()  # fmt: skip
    row = {line.split("`")[1]: line for line in lines if line.startswith("|") and "`" in line}
    assert "| 0.4 | 0.3 to 0.5 | at least 0.5 | **missed** |" in row["engine_ratio_100"]
    assert "| met |" in row["engine_ratio_1"] and "| met |" in row["latency_ms.p50"]
    assert "not measured" in row["transition_us"]
    assert "Left out of that run: users: too many." in lines and "Failed in that run: where." in lines


def test_a_run_keeps_the_figures_of_other_parts_and_says_what_is_missing() -> None:
    parts = {"naive": {"quick": True, "results": {"vs_naive_bytewax": {"figure": 9.5, "spread": {"min": 9}},
                                                  "left_out": ["something"]}}}  # fmt: skip
    found = bench.summary(parts, {"users": "it broke"})
    assert found["vs_naive_bytewax"] == 9.5 and found["spread"]["vs_naive_bytewax"] == {"min": 9}
    assert "latency: not measured" in found["left_out"] and "naive: something" in found["left_out"]
    assert "naive: a quick run, of fewer events and rounds" in found["left_out"]
    assert found["problems"] == {"users": "it broke"}
