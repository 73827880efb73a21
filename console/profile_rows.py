"""A file of profiles for `evaluate`: NDJSON, CSV or Parquet with user_id, profile_time and the columns of users."""

from itertools import islice
from pathlib import Path
from typing import Any

from console.loading import CHUNK_ROWS
from storage.files import RefusedRow

TIME = "profile_time"


def load_profiles(path: Path, schema: Any, timezone: str | None) -> tuple[Any, list[RefusedRow]]:
    """(Profiles in order of time, of one time in the file's order; refused rows). TidegateError for a bad file."""
    import numpy as np

    from segmentation.events.exact import Exact
    from segmentation.events.profiles import ProfileDecoder
    from segmentation.events.rejects import Refusal
    from segmentation.events.schema import EventColumn, Schema
    from segmentation.events.tables import Messages
    from segmentation.types import TEXT, TIMESTAMPTZ
    from storage.files import EventFile, Unreadable

    head = {"user_id": EventColumn("user_id", TEXT, ("user_id",)), TIME: EventColumn(TIME, TIMESTAMPTZ, (TIME,))}
    nobody = {"event_id": EventColumn("event_id", TEXT, ())}
    maker = Messages(Schema({**schema.users, **head, **nobody}, {}), None, timezone)
    read_head = Exact(head, tuple(head)).read
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    numbers, times, refused = [], [], []
    records = EventFile(path).records()
    while chunk := list(islice(records, CHUNK_ROWS)):
        for row, record in chunk:
            if isinstance(record, Unreadable):
                refused.append(RefusedRow(row, "unreadable", record.detail))
                continue
            message = maker.of(record)
            try:
                found = read_head(message)
            except Refusal as refusal:
                refused.append(RefusedRow(row, str(refusal.reason), refusal.detail))
                continue
            keys.append(str(found["user_id"]).encode())
            values.append(message)
            numbers.append(row)
            times.append(found[TIME])
    order = np.argsort(np.array(times, np.int64), kind="stable")
    decoded = ProfileDecoder(schema).decode(
        [keys[place] for place in order.tolist()], [values[place] for place in order.tolist()],
        np.arange(len(order)), np.array(times, np.int64)[order],
    )  # fmt: skip
    refused += [
        RefusedRow(numbers[int(order[one.index])], str(one.reason), one.detail) for one in decoded.rejects
    ]
    return decoded.profiles, sorted(refused, key=lambda one: one.row)
