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
from segmentation.evaluate.carrying import chosen
from segmentation.evaluate.history import Held, counts_later, missing, of_all
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.types import FOREVER
from storage.definitions_folder import DefinitionsFolder
from storage.reservoir import Reservoir, kept_columns

OLD = "events:\n  amount: {type: bigint}\n"
NEW = OLD + "  note: {type: text}\n  weight: {type: bigint}\n"
HOUR = "event_time > now() - INTERVAL '1 hour'"
DEFINITIONS = {
    "window": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id",
    "two": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id HAVING count(*) >= 2",
    "ever": "SELECT user_id FROM events WHERE note IS NULL GROUP BY user_id HAVING sum(amount) >= 3",
    "least": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id HAVING min(amount) >= 2",
    "kinds": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id "
             "HAVING count(DISTINCT amount) >= 2",
    "weighed": "SELECT user_id FROM events GROUP BY user_id HAVING sum(weight) >= 4",
    "weighed_lately": f"SELECT user_id FROM events WHERE {HOUR} GROUP BY user_id HAVING sum(weight) >= 2",
    "last": f"SELECT user_id FROM events WHERE note IS NULL AND {HOUR} GROUP BY user_id "
            "HAVING arg_max(amount, event_time) = 1",
}  # fmt: skip
AT, MINUTE = 1_767_225_600_000_000, 60_000_000


def event(number: int, minute: int, user: int, amount: int, note: bool) -> bytes:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((AT + minute * MINUTE) // 1_000_000))
    value = {"user_id": f"u{user}", "event_id": str(number), "event_type": "x", "event_time": at, "amount": amount}
    return json.dumps(value | ({"note": "n", "weight": 2} if note else {})).encode()


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
    old_schema, schema = (DefinitionsFolder.of_texts({"schema.yml": text}).schema for text in (OLD, NEW))
    files = {f"{name}.sql": text for name, text in DEFINITIONS.items()}
    folders = [
        DefinitionsFolder.of_texts({"schema.yml": OLD, "all.sql": "SELECT user_id FROM events GROUP BY user_id"}),
        DefinitionsFolder.of_texts({"schema.yml": NEW, **files}),
    ]
    old_plan, plan = (compile_files(each.files, each.schema) for each in folders)
    before, after = events[:cut], sorted(events[cut:])
    before.sort()
    declared = AT + 30 * MINUTE if known else FOREVER
    old = Shard(old_plan, 1, 0, None, False, Reservoir(folder, 0, 1, kept_columns(old_schema)), 0)
    for place, one in enumerate(before):
        old.run([poll(Decoder(old_schema, None), place, one)])
    held = of_all([held_by(old, {"note": declared, "weight": declared})])
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


def test_what_was_not_whole_is_taken_over_as_it_is(tmp_path: Path) -> None:
    """The archive lets events go that no window needs any more. What was counted of them stays with the next version,
    and so does the instant that it is complete since; a new segment that shares it is complete since then, too."""
    old_text, text = OLD, NEW
    lifetime = "SELECT user_id FROM events WHERE note IS NOT NULL GROUP BY user_id HAVING "
    windows = {"window.sql": f"SELECT user_id FROM events WHERE {HOUR} GROUP BY user_id"}
    ever = {"ever.sql": lifetime + "sum(amount) >= 4", "kinds.sql": lifetime + "count(DISTINCT amount) >= 2"}
    more = {"more.sql": lifetime + "sum(amount) >= 5"}
    folders = [
        DefinitionsFolder.of_texts({"schema.yml": schema, **files})
        for schema, files in ((old_text, windows), (text, windows | ever), (text, windows | ever | more))
    ]
    plans = [compile_files(each.files, each.schema) for each in folders]
    decoders = [Decoder(each.schema, None) for each in folders]

    def archive(token: int, number: int) -> Reservoir:
        return Reservoir(tmp_path, 0, token, kept_columns(folders[number].schema))

    shard = Shard(plans[0], 1, 0, 10 * MINUTE, False, archive(1, 0), 0)
    for place in range(5):
        shard.run([poll(decoders[0], place, (place, 0, 1, False))])
    held = of_all([held_by(shard, {"note": FOREVER})])
    shard = build(shard, plans[1], archive(2, 1), 0, held)
    assert missing(plans[1], held).keys() == {"ever", "kinds"}
    begins = begin_at([shard], AT + 10 * MINUTE)
    for place, amount in enumerate((2, 3, 2), 5):
        shard.run([poll(decoders[1], place, (10 + place, 0, amount, True))])
    before = members(shard)
    assert before == {("u0", "window"), ("u0", "ever"), ("u0", "kinds")}
    for place in range(8, 40):
        shard.run([poll(decoders[1], place, (20 + 30 * place, 1, 1, False))])
    assert shard._log.dropped_before > begins, "of what was counted nothing is left"

    held = of_all([held_by(shard, {"note": begins}, ["ever", "kinds"])])
    carried = chosen(plans[1], plans[2], held)
    built = build(shard, plans[2], archive(3, 2), 0, held)
    found = missing(plans[2], held, carried)
    assert {name: one.since for name, one in found.items()} == dict.fromkeys(("ever", "kinds", "more"), begins)
    assert members(built) - members(shard) == {("u0", "more")}
    assert members(shard) - members(built) == set()
    for place in range(40, 43):
        seen = poll(decoders[1], place, (20 + 30 * place, 2, 2, True))
        for each in (shard, built):
            each.run([seen])
    assert {one for one in members(built) if one[1] != "more"} == members(shard) > {("u2", "ever")}
    again = build(shard, plans[1], archive(4, 1), 0, of_all([held_by(shard, {"note": begins})]), anew=["window"])
    assert members(again) == members(shard)


def test_who_would_count_from_a_later_instant_has_to_be_allowed_again() -> None:
    """What stands beside values of the user cannot be taken over; the archive lets go of what it counts."""
    lifetime = "WHERE e.note IS NOT NULL{} GROUP BY e.user_id HAVING count(*) >= 2"
    files = {
        "beside.sql": "SELECT e.user_id FROM events e JOIN users u USING (user_id) "
                      + lifetime.format(" AND e.amount > u.credit"),
        "plain.sql": "SELECT e.user_id FROM events e " + lifetime.format(""),
    }  # fmt: skip
    folder = DefinitionsFolder.of_texts({"schema.yml": NEW + "users:\n  credit: {type: bigint}\n", **files})
    plan = compile_files(folder.files, folder.schema)
    counted = {cell: [AT] * len(cell.terms) for cell in plan.cells}
    for dropped, later in ((AT - MINUTE, set[str]()), (AT + 60 * MINUTE, {"beside"})):
        held = Held(AT + 90 * MINUTE, dropped, {"note": AT}, (), counted)
        found = missing(plan, held, chosen(plan, plan, held))
        assert found.keys() == {"beside", "plain"} and found["plain"].since == AT
        assert counts_later(plan, found, held) == later


def poll(decoder: Decoder, place: int, one: tuple[int, int, int, bool]) -> Poll:
    found = decoder.decode([event(place, *one)], np.array([place]), np.array([-1]), partition=0)
    return Poll(0, place + 1, AT, int(found.rows.high[-1]), None, found.rows)


def members(shard: Shard) -> set[tuple[str, str]]:
    names = shard.plan.names
    return {(user, names[number]) for user, numbers in shard.members() for number in numbers}
