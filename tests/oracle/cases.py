"""Scenarios as YAML: how a counterexample is printed, and kept in cases/*.yml to be run ever after."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from segmentation.reference import Event, Flip, Version
from segmentation.types import Kind
from tests.oracle.grammar import COLUMNS, START_US, USER_COLUMNS, Unit
from tests.oracle.strategies import Read, Scenario, Tombstone
from tests.oracle.streams import numbered

FOLDER = Path(__file__).parent / "cases"


def dump(scenario: Scenario) -> str:
    """Times are µs after the start of the grammar's calendar; numeric values are in quotes."""
    header = {
        "unit": [scenario.unit.name, scenario.unit.micros],
        "lateness_us": scenario.lateness_us,
        "dedupe_horizon_us": scenario.dedupe_horizon_us,
        "live": scenario.live,
        "end": scenario.end - START_US,
        "definitions": scenario.definitions,
    } | ({"profiles": scenario.profiles} if scenario.profiles else {})
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1_000) + "reads:\n"
    for read in scenario.reads:
        head: dict[str, Any] = {"partition": read.partition, "clock": read.clock - START_US}
        if read.watermark is not None:
            head["watermark"] = read.watermark - START_US
        if read.records:
            head["records"] = [_record_out(record) for record in read.records]
        text += f"- {_flow(head)[:-1]}, events: [\n"
        text += "".join(f"    {_flow(_event_out(event))},\n" for event in read.events) + "  ]}\n"
    return text


def load(text: str) -> Scenario:
    case = yaml.safe_load(text)
    reads = [
        Read(
            read["partition"],
            START_US + read["clock"],
            [_event_in(event) for event in read["events"]],
            START_US + read["watermark"] if "watermark" in read else None,
            [_record_in(record) for record in read.get("records", ())],
        )
        for read in case["reads"]
    ]
    return Scenario(
        Unit(*case["unit"]),
        case["definitions"],
        numbered(reads),
        case["lateness_us"],
        case["dedupe_horizon_us"],
        case["live"],
        START_US + case["end"],
        case.get("profiles", 0),
    )


def log_text(log: Iterable[Flip]) -> str:
    """A log a person can read: per user, in order, times after the start."""
    return "".join(
        f"  {flip.user_id} {flip.seq:3} {flip.effective_at - START_US:>16,} "
        f"{'entered' if flip.entered else 'left   '} {flip.segment}\n"
        for flip in sorted(log, key=lambda flip: (flip.user_id, flip.seq, flip.segment))
    )


def _flow(value: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True, width=1_000)
    return text.strip()


def _record_out(record: Tombstone | Version) -> Any:
    if not isinstance(record, Version):
        return [record[0], record[1] - START_US]
    values = {n: str(v) if isinstance(v, Decimal) else v for n, v in record.values.items() if v is not None}
    return {"user": record.user_id, "at": record.time - START_US, **values}


def _record_in(record: Any) -> Tombstone | Version:
    if isinstance(record, list):
        return record[0], START_US + record[1]
    values = {
        name: None if name not in record else Decimal(record[name]) if type_.kind is Kind.NUMERIC else record[name]
        for name, type_ in USER_COLUMNS.items()
    }
    return Version(record["user"], "", START_US + record["at"], values)


def _event_out(event: Event) -> dict[str, Any]:
    values = {n: str(v) if isinstance(v, Decimal) else v for n, v in event.values.items() if v is not None}
    return {"user": event.user_id, "id": event.event_id, "at": event.time - START_US, **values}


def _event_in(event: dict[str, Any]) -> Event:
    values = {
        name: None if name not in event else Decimal(event[name]) if type_.kind is Kind.NUMERIC else event[name]
        for name, type_ in COLUMNS.items()
    }
    values["event_type"] = values["event_type"] or "view"  # every event has one; what it is matters to few cases
    return Event(event["user"], event["id"], START_US + event["at"], values)
