"""Definitions over a column that was declared later count the events from then on, exactly: as if there had been no
others, when those before leave their windows, too."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.evaluate.building import begin_at, build, held_by
from segmentation.evaluate.history import missing, of_all
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.types import FOREVER
from storage.definitions_folder import DefinitionsFolder
from storage.reservoir import Reservoir, kept_columns

OLD = "events:\n  amount: {type: bigint}\n"
HOUR = "event_time > now() - INTERVAL '1 hour'"
DEFINITIONS = {
    "window": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id",
    "two": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id HAVING count(*) >= 2",
    "ever": "SELECT user_id FROM events WHERE note IS NULL GROUP BY user_id HAVING sum(amount) >= 3",
    "least": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id HAVING min(amount) >= 2",
    "kinds": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id "
             "HAVING count(DISTINCT amount) >= 2",
    "last": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id "
            "HAVING arg_max(amount, event_time) = 1",
}  # fmt: skip
AT, MINUTE = 1_767_225_600_000_000, 60_000_000


def event(number: int, minute: int, user: int, amount: int, note: bool) -> bytes:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((AT + minute * MINUTE) // 1_000_000))
    value = {"user_id": f"u{user}", "event_id": str(number), "event_type": "x", "event_time": at, "amount": amount}
    return json.dumps(value | ({"note": "n"} if note else {})).encode()


EVENTS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 1), st.integers(1, 3), st.booleans()), min_size=4, max_size=25
)


@pytest.mark.parametrize("known", [True, False])
@settings(max_examples=40)
@given(EVENTS, st.integers(2, 20))
def test_what_came_before_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, known: bool, events: list[tuple[int, int, int, bool]], cut: int
) -> None:
    """known: is it known when the state is built from when on the column has values? Else from the switch on."""
    folder: Path = tmp_path_factory.mktemp("reservoir")
    old_schema, schema = (DefinitionsFolder.of_texts({"schema.yml": text}).schema for text in (
        OLD, OLD + "  note: {type: text}\n"
    ))  # fmt: skip
    files = {f"{name}.sql": text for name, text in DEFINITIONS.items()}
    folders = [
        DefinitionsFolder.of_texts({"schema.yml": OLD, "all.sql": "SELECT user_id FROM events GROUP BY user_id"}),
        DefinitionsFolder.of_texts({"schema.yml": OLD + "  note: {type: text}\n", **files}),
    ]
    old_plan, plan = (compile_files(each.files, each.schema) for each in folders)
    before, after = events[:cut], sorted(events[cut:])
    before.sort()
    declared = AT + 30 * MINUTE if known else FOREVER
    old = Shard(old_plan, 1, 0, None, False, Reservoir(folder, 0, 1, kept_columns(old_schema)), 0)
    for place, one in enumerate(before):
        old.run([poll(Decoder(old_schema, None), place, one)])
    held = of_all([held_by(old, {"note": declared})])
    new = build(old, plan, Reservoir(folder, 0, 2, kept_columns(schema)), 0, held)
    begins = begin_at([new], AT) if missing(plan, held) and not known else declared
    twin = Shard(plan, 1, 0, None, False)
    for place, one in enumerate(before):
        seen = poll(Decoder(old_schema, None), place, one)
        assert seen.rows is not None
        twin.run([seen if AT + one[0] * MINUTE >= begins else Poll(0, place + 1, AT, seen.high)])
    assert members(new) == members(twin)
    for place, one in enumerate(after, len(before)):
        seen = poll(Decoder(schema, None), place, one)
        new.run([seen])
        counts = AT + one[0] * MINUTE >= begins
        twin.run([poll(Decoder(schema, None), place, one) if counts else Poll(0, place + 1, AT, seen.high)])
        assert members(new) == members(twin)
    saved = Shard.load(new.dump(), plan, 0, 0, None, False, Reservoir(folder, 0, 3, kept_columns(schema)), 0)
    for shard in (new, saved, twin):
        shard.finish(AT + 230 * MINUTE)
    assert members(saved) == members(new) == members(twin)


def poll(decoder: Decoder, place: int, one: tuple[int, int, int, bool]) -> Poll:
    found = decoder.decode([event(place, *one)], np.array([place]), np.array([-1]), partition=0)
    return Poll(0, place + 1, AT, int(found.rows.high[-1]), None, found.rows)


def members(shard: Shard) -> set[tuple[str, str]]:
    names = shard.plan.names
    return {(user, names[number]) for user, numbers in shard.members() for number in numbers}
