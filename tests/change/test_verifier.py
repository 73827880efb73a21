"""The proof's judge agrees with the engine at any place of a recorded stream, and sees what is changed there."""

from pathlib import Path

import pytest

from tests.change.edits import EDITS, FIRST, SCHEMA_FILE, WITH_ITEMS, edited, enabled
from tests.change.verifier.oracle import Members, Place
from tests.torture.simulated import DEFINITIONS, RULES, SKEW_US, Simulated, simulate
from tests.torture.verifier.arrivals import Epoch, account, by_partition
from tests.torture.verifier.decode import Decoder, Event, Refused
from tests.torture.verifier.expected import definitions_in


@pytest.fixture(scope="module")
def stream() -> Simulated:
    return simulate(3, 900, 40, 30.0, settle=False)


def place(stream: Simulated, share: float, schema: Path = DEFINITIONS / "schema.yml") -> Place:
    """After so much of every shard's record."""
    decoder = Decoder(schema, SKEW_US)
    events: list[Event] = []
    for message in stream.messages:
        try:
            events.append(decoder.read(message))
        except Refused:
            continue
    (epoch,) = stream.epochs
    steps = {shard: mine[: round(len(mine) * share)] for shard, mine in epoch.steps.items()}
    made = account([Epoch(epoch.shards, steps)], by_partition(events), RULES)
    assert not made.complaints
    return Place(decoder.columns, made)


def test_members_at_the_end_are_those_of_the_log(stream: Simulated) -> None:
    inside: Members = set()
    for user, _, segment, entered, _, _ in sorted(stream.transitions, key=lambda one: one[:2]):
        (inside.add if entered else inside.discard)((segment, user))
    assert inside and place(stream, 1.0).members(definitions_in(DEFINITIONS)) == inside


def test_every_edit_of_the_proof_that_means_something_moves_somebody_somewhere(
    stream: Simulated, tmp_path: Path
) -> None:
    schema = tmp_path / SCHEMA_FILE
    schema.write_text(WITH_ITEMS)
    places = [place(stream, share, schema) for share in (0.3, 0.6, 1.0)]
    texts = FIRST
    for edit in EDITS:
        after = edited(texts, edit)
        moved = [at.members(enabled(texts)) ^ at.members(enabled(after)) for at in places]
        nothing = edit.what in ("a spelling", "a header", "another constraint of a column") or edit.back
        assert any(moved) != bool(nothing), edit.what
        texts = texts if edit.held == "withdraw" else after
