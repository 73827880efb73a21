"""The grammar's rules for the calendar and the clock; `grammar` adds them to its own."""

import datetime

ZONES = [
    "UTC", "Europe/Berlin", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
    "America/St_Johns", "America/St_Johns",
]  # fmt: skip

#: Where streams begin besides the grammar's calendar: before a clock is set forward or back (in St. John's until
#: 2011 a minute after midnight), before leap days, ends of years, quarters and months.
ORIGINS = [
    datetime.datetime(*at, tzinfo=datetime.UTC)
    for at in [
        (2026, 3, 29, 1), (2026, 10, 25, 1), (2026, 3, 8, 7), (2026, 11, 1, 6), (2026, 4, 4, 15), (2026, 10, 3, 15),
        (2010, 11, 7, 2), (2010, 11, 7, 3), (2028, 2, 29, 0), (2024, 2, 29, 23), (2026, 12, 31, 23), (2027, 1, 3, 23),
        (2026, 3, 31, 18), (2026, 6, 30, 14),
    ]
]  # fmt: skip

#: Alternatives that rules of the grammar get besides their own.
MORE: dict[str, list[str]] = {
    "window": [
        "event_time {order} {boundary}",
        "event_time {order} {boundary}",
        "event_time {op} {boundary}",
        "{boundary} {order} event_time",
        "event_time BETWEEN {boundary} AND {boundary}",
        "event_time >= {boundary} AND event_time < {boundary}",
        "NOT (event_time {order} {boundary})",
        "event_time + {span} {order} {boundary}",
        "(event_time > now() - {span} OR event_time {order} {boundary})",
        "{cells}",
        "{cells}",
    ],
    "rows": ["{clock}"],
    "row": [
        "extract({part} FROM event_time AT TIME ZONE {zone}) {op} {field_value}",
        "extract({part} FROM event_time AT TIME ZONE {zone}) IN ({field_value}, {field_value})",
        "date_part('{part}', event_time AT TIME ZONE {zone}) BETWEEN {field_value} AND {field_value}",
        "extract(epoch FROM event_time) {op} 1774745999.5",
        "extract(epoch FROM event_time AT TIME ZONE {zone}) / 3600 {op} quantity",
        "extract(hour FROM event_time AT TIME ZONE {zone}) {op} quantity",
        "date_trunc({unit_of}, event_time AT TIME ZONE {zone}){months} {op} {local_stamp}",
        "date_trunc({unit_of}, event_time AT TIME ZONE {zone}) {op} {cell_of_event}",
        "(event_time AT TIME ZONE {zone}{months}) AT TIME ZONE {zone} {op} {stamp}",
        "event_time {op} {local_stamp} AT TIME ZONE {zone}",
    ],
    "groups": [
        "max(event_time){only} {order} {boundary}",
        "max(event_time){filter} {op} {boundary}",
        "min(event_time){only} {order} {boundary}",
        "{boundary} {order} min(event_time){filter}",
        "max(event_time){filter} BETWEEN {boundary} AND {boundary}",
        "max(event_time){only} + {span} {order} {boundary}",
        *["{cells_of_groups}"] * 3,
        *["{seconds}"] * 2,
        "extract({part} FROM max(event_time){filter} AT TIME ZONE {zone}) {op} {field_value}",
        "date_trunc({unit_of}, min(event_time){filter} AT TIME ZONE {zone}) {op} {local_stamp}",
        "{clock}",
        "count(*) FILTER (WHERE {kind} AND {cells}) {op} {small}",
        "count(*) FILTER (WHERE event_time {order} {boundary}) {op} {small}",
        "{last}({texts}, event_time) FILTER (WHERE event_time {order} {boundary}) {op} {region}",
        "mode({texts}) FILTER (WHERE {cells}) {op} {region}",
        "{least}({numbers}) FILTER (WHERE event_time {order} {boundary}) {op} {lifetime}",
        "count(DISTINCT {texts}) FILTER (WHERE event_time {order} {boundary}) {op} {small}",
    ],
}

_BOUNDARIES = [
    *[f"({{now_in}}'{zone}'){{shift}}) AT TIME ZONE '{zone}'" for zone in ZONES],
    *[f"({{small_in}}'{zone}'){{small_shift}}) AT TIME ZONE '{zone}'" for zone in ZONES],
]
RULES: dict[str, list[str]] = {
    "boundary": [
        *_BOUNDARIES,
        *_BOUNDARIES,
        *[f"{boundary} - {{span}}" for boundary in _BOUNDARIES],
        "({now_in}{zone}){shift}) AT TIME ZONE {zone}",
        "(date_trunc({unit_of}, now() AT TIME ZONE {zone} - INTERVAL '12 hours')) AT TIME ZONE {zone}",
        "(date_trunc('month', now() AT TIME ZONE {zone} - INTERVAL '1 month')) AT TIME ZONE {zone}",
        "date_trunc({unit_of}, (now() - {span}) AT TIME ZONE {zone}) AT TIME ZONE {zone}",
    ],
    "now_in": ["date_trunc({unit_of}, now() AT TIME ZONE "],
    "small_in": ["date_trunc({small_unit_of}, now() AT TIME ZONE "],
    "cells": [
        f"date_trunc({{unit_of}}, event_time AT TIME ZONE '{zone}') {op} ({{now_in}}'{zone}'){{shift}})"
        for zone in ZONES for op in ("=", "=", "=", "{op}")
    ] + [
        "date_trunc({small_unit_of}, event_time AT TIME ZONE {zone}) {op} ({small_in}{zone}){small_shift})",
        "date_trunc('day', event_time AT TIME ZONE {zone}){months} {order} ({now_in}{zone}){shift})",
        "date_trunc('day', event_time AT TIME ZONE {zone}) AT TIME ZONE {zone} {order} {boundary}",
    ],
    "seconds": [
        "extract(epoch FROM max(event_time){filter} - min(event_time)) {op} 2",
        "extract(epoch FROM (max(event_time) - min(event_time){filter})) / 3600 BETWEEN 1 AND 3",
        "extract(epoch FROM (now() - max(event_time){filter})) {order} 3",
        "extract(epoch FROM now() - min(event_time){only}) / 86400 {order} 3",
        "2 {order} extract(epoch FROM (now() - max(event_time){only})) / 60 / 60",
        "count(*) FILTER (WHERE extract(epoch FROM now() - event_time) / 86400 {order} 2) {op} {small}",
    ],
    "cells_of_groups": [
        f"date_trunc({{unit_of}}, {{least}}(event_time){{filter}} AT TIME ZONE '{zone}') {op} "
        f"({{now_in}}'{zone}'){{shift}})"
        for zone in ZONES if zone != "America/St_Johns" for op in ("=", "=", "<>", "{order}")
    ] + [
        "date_trunc('day', {least}(event_time){only} AT TIME ZONE 'Europe/Berlin'){months} {order} "
        "({now_in}{zone}){shift})",
        "date_trunc('hour', max(event_time){filter} AT TIME ZONE 'America/New_York') {op} "
        "({small_in}'America/New_York'){small_shift})",
        "date_trunc('day', max(event_time){filter} AT TIME ZONE 'Asia/Kolkata') BETWEEN ({now_in}'Asia/Kolkata')"
        " - INTERVAL '2 days') AND ({now_in}'Asia/Kolkata'))",
    ],
    "unit_of": ["'day'", "'day'", "'week'", "'month'", "'month'", "'quarter'", "'year'"],
    "small_unit_of": ["'minute'", "'hour'"],
    "shift": [
        *[""] * 6, " - INTERVAL '1 month'", " - INTERVAL '1 day'", " + INTERVAL '1 day'", " - INTERVAL '1 year'",
        " - INTERVAL '90 minutes'", " + INTERVAL '1 month' - INTERVAL '1 day'", " - INTERVAL '1 month 1 day 2 hours'",
    ],
    "months": ["", " - INTERVAL '1 month'", " + INTERVAL '1 day'"],
    "small_shift": ["", "", " - INTERVAL '1 hour'", " - INTERVAL '1 day'", " + INTERVAL '30 minutes'"],
    "clock": [
        "now() {order} {stamp}",
        "now() BETWEEN {stamp} AND {stamp}",
        "now() - {span} {order} {stamp}",
        "now() {order} {local_stamp} AT TIME ZONE {zone}",
        "now() AT TIME ZONE {zone} {order} {local_stamp}",
        "now() AT TIME ZONE {zone} - INTERVAL '1 hour' {op} {local_stamp}",
        "extract({clock_part} FROM now() AT TIME ZONE {zone}) {op} {field_value}",
        "extract({clock_part} FROM now() AT TIME ZONE {zone}) IN ({field_value}, {field_value})",
        "date_part('{clock_part}', now() AT TIME ZONE {zone}) BETWEEN {field_value} AND {field_value}",
        "now() {order} {boundary}",
        "now() {order} {boundary} + INTERVAL '9 hours'",
        "{boundary} {op} {stamp}",
        "({now_in}{zone}){shift}) {op} {local_stamp}",
    ],
    "cell_of_event": ["date_trunc({unit_of}, event_time AT TIME ZONE {zone})"],
    "part": ["minute", "hour", "hour", "dow", "isodow", "day", "doy", "week", "isoyear", "month", "quarter", "year"],
    "field_value": ["0", "1", "2", "4", "7", "12", "23", "29", "31", "53", "60", "365", "2026"],
    "zone": [f"'{zone}'" for zone in ZONES],
}  # fmt: skip
#: Parts of now(): in a stream of days the fine ones would turn too often.
CLOCK_PARTS = ["hour", "dow", "isodow", "day", "doy", "week", "isoyear", "month", "quarter", "year"]
