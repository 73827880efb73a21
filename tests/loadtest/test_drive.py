"""A deployment is driven: every probe becomes visible, and leaves by time; the page shows it."""

import xml.etree.ElementTree as ElementTree

import pytest

from loadtest import drive, drive_producer, histogram
from loadtest.deployment import Deployment
from loadtest.drive_report import page


@pytest.mark.postgres
def test_every_probe_becomes_visible_and_leaves() -> None:
    files = drive.definitions(200, 3, 50, count=3, probe_s=2)
    with Deployment(files) as line:
        result = drive.drive(line.bootstrap, line.grpc, 200, 3, 50, probes=20, probe_s=2)
    assert result["missing"] == 0 and result["sent"]["failed"] == 0 and result["sent"]["events"] == 600
    assert result["check"]["samples"] == result["probes"] == 60
    assert result["check_flips"]["samples"] == 15
    assert result["watch"]["samples"] >= 60 and result["watch"]["min"] > 0
    text = page(result)
    assert text.count("<svg viewBox") >= 9 and "http" not in text
    for drawing in text.split("<svg viewBox")[1:]:
        ElementTree.fromstring("<svg viewBox" + drawing.partition("</svg>")[0] + "</svg>")


def test_events_of_two_runs_have_other_ids_and_probes_are_users_of_their_own() -> None:
    given = {"rate": 100, "seconds": 1, "users": 10, "seed": 7, "probe_every": 10, "run": "aabbccdd"}
    events = drive_producer.templates(given)
    probes = [key for key, *_ in events if key.startswith(b"probe-")]
    assert len(events) == 100 and probes == [f"probe-aabbccdd-{n}".encode() for n in range(10)]
    ids = {before[13:45] for _, before, _, _ in events}
    assert len(ids) == 100 and all(each.startswith(b"aabbccdd") for each in ids)
    assert all(b'"event_type":"probe"' in before for key, before, *_ in events if key in probes)
    late = [back for *_, back in events if back]
    assert all(0 < back < drive_producer.DISORDER_US for back in late)


def test_percentiles_are_of_all_samples() -> None:
    found = histogram.summary([1_000 * n for n in range(1, 1_001)])
    assert found["samples"] == 1_000 and found["p50"] == 500.5 and found["max"] == 1_000
    assert "p9999" not in found  # a single sample beyond it would be chance
    assert sum(count for _, count in found["buckets"]) == 1_000
    assert histogram.by_second([(5_000_000, 10_000), (5_900_000, 30_000), (6_000_001, 1_000)], 5_000_000) == [
        [0, 2, 20.0, 29.8, 30.0], [1, 1, 1.0, 1.0, 1.0],
    ]  # fmt: skip
