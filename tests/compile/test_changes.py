"""What changes between two sets of definitions: in meaning, through what is read, in spelling, in the header."""

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from segmentation.compile.changes import Change, Changes, Kind, Side, compare
from segmentation.compile.problems import DefinitionErrors
from segmentation.events.schema import load_schema
from tests.compile.shop import SCHEMA
from tests.compile.spellings import respelled
from tests.oracle.grammar import SCHEMA_YML, UNITS, Unit, definition
from tests.oracle.running import EXAMPLES

GROUPS = "SELECT user_id FROM events GROUP BY user_id HAVING"
BIG = f"{GROUPS} sum(amount) > 10"
BIG_AGAIN = f"{GROUPS} NOT (10.0 >= sum(amount))"
BIGGER = f"{GROUPS} sum(amount) > 11"
READER = "SELECT user_id FROM segments.big EXCEPT SELECT user_id FROM segments.other"
OTHER = f"{GROUPS} count(*) > 2"
BANDS = "SELECT user_id, CASE WHEN count(*) < 3 THEN 'few' WHEN count(*) < {} THEN 'some' ELSE 'many' END AS band " \
        "FROM events GROUP BY user_id"


def files(**texts: str) -> dict[str, str]:
    return {f"defs/{name}.sql": text for name, text in texts.items()}


def changed(before: dict[str, str], after: dict[str, str]) -> Changes:
    return compare(Side(before, SCHEMA), Side(after, SCHEMA))


def kinds(changes: Changes) -> dict[str, Kind]:
    return {change.name: change.kind for change in changes.definitions}


def one(changes: Changes, name: str) -> Change:
    return next(change for change in changes.definitions if change.name == name)


def test_nothing() -> None:
    same = changed(files(big=BIG, other=OTHER), files(big=BIG, other=OTHER))
    assert kinds(same) == {"big": Kind.SAME, "other": Kind.SAME}
    assert same.harmless and not same.affected


def test_each_kind() -> None:
    before = files(big=BIG, gone=OTHER, off=OTHER, on=f"/* enabled: false */ {OTHER}", spelled=BIG, headed=OTHER)
    after = files(
        big=BIGGER, new=OTHER, off=f"/* enabled: false */ {OTHER}", on=OTHER, spelled=BIG_AGAIN,
        headed=f"/* {{owner: me, tags: [x]}} */ {OTHER}",
    )  # fmt: skip
    found = changed(before, after)
    assert kinds(found) == {
        "big": Kind.MEANING, "gone": Kind.REMOVED, "new": Kind.ADDED, "off": Kind.DISABLED, "on": Kind.ENABLED,
        "spelled": Kind.SPELLING, "headed": Kind.HEADER,
    }  # fmt: skip
    assert one(found, "headed").header == ("owner", "tags")
    assert found.affected == ["big", "gone", "new", "off", "on"]
    assert not found.harmless


def test_who_reads_it_changes_with_it_and_with_what_that_one_reads() -> None:
    chain = "SELECT user_id FROM segments.reader"
    before = files(big=BIG, other=OTHER, reader=READER, last=chain, alone=f"{GROUPS} count(*) = 7")
    found = changed(before, before | files(big=BIGGER))
    assert kinds(found) == {
        "big": Kind.MEANING, "other": Kind.SAME, "reader": Kind.THROUGH, "last": Kind.THROUGH, "alone": Kind.SAME,
    }  # fmt: skip
    assert one(found, "big").readers == ("last", "reader")
    assert one(found, "reader").through == ("big",) and one(found, "last").through == ("reader",)
    assert found.affected == ["big", "last", "reader"]


def test_a_spelling_below_changes_nobody_above() -> None:
    before = files(big=BIG, other=OTHER, reader=READER)
    found = changed(before, before | files(big=BIG_AGAIN))
    assert kinds(found) == {"big": Kind.SPELLING, "other": Kind.SAME, "reader": Kind.SAME}
    assert found.harmless


def test_a_reader_that_is_respelled_while_what_it_reads_changes() -> None:
    before = files(big=BIG, other=OTHER, reader=READER)
    spelled = f"{READER}  -- a note"
    found = changed(before, before | files(big=BIGGER, reader=spelled))
    assert one(found, "reader").kind is Kind.THROUGH
    other = READER.replace("EXCEPT", "INTERSECT")
    found = changed(before, before | files(big=BIGGER, reader=other))
    assert one(found, "reader").kind is Kind.MEANING and one(found, "reader").through == ("big",)


def test_what_takes_the_place_of_a_segment_that_is_read_is_no_change() -> None:
    """A condition that moves into a segment of its own, and is read there."""
    before = files(x=f"{GROUPS} count(*) > 2 AND sum(amount) > 10")
    after = files(x="SELECT user_id FROM segments.other INTERSECT SELECT user_id FROM segments.big",
                  other=OTHER, big=BIG)  # fmt: skip
    assert kinds(changed(before, after)) == {"x": Kind.SPELLING, "other": Kind.ADDED, "big": Kind.ADDED}


def test_bands() -> None:
    found = changed(files(orders=BANDS.format(6)), files(orders=BANDS.format(7)))
    assert one(found, "orders").kind is Kind.MEANING
    assert found.affected == ["orders/many", "orders/some"]
    plain = changed(files(orders=BANDS.format(6)), files(orders=OTHER))
    assert one(plain, "orders").before == ("orders/few", "orders/many", "orders/some")
    assert plain.affected == ["orders", "orders/few", "orders/many", "orders/some"]


def test_a_broken_definition_that_is_disabled_is_no_problem_and_an_enabled_one_is() -> None:
    broken = "SELECT nothing FROM"
    assert kinds(changed(files(big=BIG), files(big=f"/* enabled: false */ {broken}"))) == {"big": Kind.DISABLED}
    off = f"/* enabled: false */ {broken}"
    assert kinds(changed(files(big=off), files(big=off + " x"))) == {"big": Kind.SPELLING}
    with pytest.raises(DefinitionErrors):
        changed(files(big=BIG), files(big=broken))


def test_columns() -> None:
    before = load_schema("events:\n  amount: {type: bigint}\n  path: {type: text}\n  old: {type: text}\n")
    after = load_schema(
        "events:\n  amount: {type: 'numeric(9,2)'}\n  path: {type: text, path: x.y}\n  new: {type: text}\n"
    )
    where = "SELECT user_id FROM events WHERE path = 'x'"
    reads = files(big=BIG, where=where, above="SELECT user_id FROM segments.big")
    found = compare(Side(reads, before), Side(reads, after))
    assert [(change.column, change.what, change.readers) for change in found.schema] == [
        ("events.amount", "type was bigint, now numeric(9,2)", ("above", "big")),
        ("events.new", "added, text; NULL in events from before", ()),
        ("events.old", "removed, was text", ()),
        ("events.path", "path was path, now x.y", ("where",)),
    ]
    assert kinds(found) == {"above": Kind.THROUGH, "big": Kind.THROUGH, "where": Kind.SAME}
    assert one(found, "big").through == ("events.amount",)
    assert not found.harmless


GRAMMAR = load_schema(SCHEMA_YML)


@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(UNITS))
def test_rewriting_a_condition_is_spelling_only(data: st.DataObject, unit: Unit) -> None:
    first = data.draw(definition(unit))
    second = data.draw(respelled(first))
    event("the same text" if first == second else "another text")
    try:
        found = compare(Side(files(a=first), GRAMMAR), Side(files(a=second), GRAMMAR))
    except DefinitionErrors:
        assume(False)
    assert one(found, "a").kind is (Kind.SAME if first.strip() == second.strip() else Kind.SPELLING)
    assert found.harmless
