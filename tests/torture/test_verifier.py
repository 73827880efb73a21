"""The verifier: agrees with the engine where nothing goes wrong, and sees what goes wrong."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.torture.cluster import ROOT
from tests.torture.simulated import DEFINITIONS, RULES, SHARDS, SKEW_US, Simulated, simulate
from tests.torture.verifier.__main__ import ENGINE
from tests.torture.verifier.arrivals import Epoch, Part, Rules, Steps, account, by_partition
from tests.torture.verifier.compare import Figures
from tests.torture.verifier.decode import Decoder, Message, Refused
from tests.torture.verifier.expected import Expected, expected
from tests.torture.verifier.found import transitions_of


def judged(found: Simulated) -> Expected:
    return expected(found.messages, found.epochs, DEFINITIONS, RULES, SKEW_US)


def figures(wanted: Expected, found: Simulated) -> Figures:
    out = Figures()
    out.wrong(wanted.complaints)
    out.compare("transitions", wanted.transitions, found.transitions)
    out.compare("letters", wanted.letters, found.letters)
    return out


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_the_engine(seed: int) -> None:
    found = simulate(seed, 1_500, 12 + 20 * seed, per_second=(20, 60, 200)[seed % 3])
    wanted = judged(found)
    out = figures(wanted, found)
    assert out.perfect, "\n".join(out.lines)
    assert wanted.members
    names = {name for _, _, name, _, _, _ in found.transitions}
    assert names == {path.stem for path in DEFINITIONS.glob("*.sql")}, "a definition that flips nobody shows nothing"
    assert wanted.seen["late"] and wanted.seen["repeats"]
    assert {"not_json", "event_too_late", "event_time_in_future"} <= {letter[2] for letter in found.letters}


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_where_the_run_ends_early(seed: int) -> None:
    """Not every window has settled, and some events are ahead of the clock."""
    found = simulate(20 + seed, 600, 30, per_second=60, settle=False)
    wanted = judged(found)
    assert [words for words in wanted.complaints if "too early" not in words] == []
    assert wanted.complaints, "everything has settled"
    out = Figures()
    out.compare("transitions", wanted.transitions, found.transitions)
    assert out.perfect, "\n".join(out.lines)


def test_it_sees_what_is_wrong() -> None:
    found = simulate(7, 600, 20, per_second=50)
    wanted = judged(found)
    one, other = found.transitions[len(found.transitions) // 2], found.transitions[-1]

    def changed(transitions: list[tuple[str, int, str, bool, int, str]]) -> tuple[int, int, int]:
        out = figures(wanted, replace(found, transitions=transitions))
        return out.missing, out.extra, out.repeated

    every = found.transitions
    assert changed(every) == (0, 0, 0)
    assert changed([each for each in every if each != one]) == (1, 0, 0)
    assert changed([*every, one, one, other]) == (0, 0, 3)
    user, seq, segment, entered, at, cause = one
    assert changed([*every, (user, 10_000, segment, entered, at, cause)]) == (0, 1, 0)
    later = (user, seq, segment, entered, at + 1, cause)
    assert changed([later if each == one else each for each in every]) == (1, 1, 0)
    out = figures(wanted, replace(found, letters=found.letters[1:]))
    assert (out.missing, out.extra, out.repeated) == (1, 0, 0)


def test_an_event_that_was_passed_over_is_missed() -> None:
    found = simulate(8, 600, 20, per_second=50)
    event = {"user_id": "nobody", "event_id": "x", "event_type": "view", "event_time": "2026-01-01T00:00:05Z"}
    place = next(at for at, message in enumerate(found.messages) if message.key == b"poison")
    was = found.messages[place]
    found.messages[place] = replace(was, key=b"nobody", value=json.dumps(event).encode())
    wanted = judged(found)
    assert "nobody" in wanted.users
    missed = {(user, name) for user, _, name, _, _, _ in set(wanted.transitions) - set(found.transitions)}
    assert ("nobody", "active") in missed


def test_the_record_is_not_believed_blindly() -> None:
    found = simulate(9, 300, 20, per_second=50)
    decoder = Decoder(DEFINITIONS / "schema.yml", SKEW_US)
    events = []
    for message in found.messages:
        try:
            events.append(decoder.read(message))
        except Refused:
            continue
    log, steps = by_partition(events), found.epochs[0].steps

    def complaints(*first: tuple[int, Sequence[Part]], rest: Steps) -> list[str]:
        epoch = Epoch(SHARDS, {**steps, 0: [*first, *rest]})
        return account([epoch], log, RULES).complaints

    mine = steps[0]
    assert complaints(rest=mine) == []
    assert any("follows step" in words for words in complaints(*mine[:5], rest=mine[6:])), "a step is missing"
    assert any("follows step" in words for words in complaints(*mine[:5], rest=mine[4:])), "a step is there twice"
    number, parts = mine[20]
    early = replace(parts[0], watermark=parts[0].clock + 1)
    assert any("is not within" in words for words in complaints(*mine[:20], (number, [early]), rest=mine[21:]))
    back = replace(parts[0], next_offset=0)
    assert any("goes back" in words for words in complaints(*mine[:20], (number, [back]), rest=mine[21:]))


def test_shards_are_dealt_out_anew_only_where_they_stand_together() -> None:
    part = Part(0, 1, 10_000_000, 5_000_000)
    rules = Rules(1, 250_000, 1_000_000)
    together = [Epoch(2, {0: [(1, [part])], 1: [(1, [part])]}), Epoch(4, {3: [(3, [part])]})]
    made = account(together, {}, rules)
    assert made.complaints == []
    assert made.watermarks == [5_000_000] * 4
    apart = [Epoch(2, {0: [(1, [part])]}), Epoch(4, {})]
    assert "different places" in account(apart, {}, rules).complaints[0]


def test_the_order_in_the_topic_counts() -> None:
    def message(offset: int, seq: int) -> Message:
        value = f'{{"user_id": "u", "seq": {seq}, "entered": ["a"], "left": ["b"], "cause": "time", ' \
                f'"effective_at": "2026-01-01T00:00:0{seq}.000001Z"}}'  # fmt: skip
        return Message(0, offset, 0, b"u", value.encode())

    flips, complaints = transitions_of([message(0, 1), message(1, 2)])
    assert complaints == []
    assert flips[0] == ("u", 1, "a", True, 1_767_225_601_000_001, "time")
    assert Counter(entered for _, _, _, entered, _, _ in flips) == {True: 2, False: 2}
    assert len(transitions_of([message(0, 1), message(1, 3)])[1]) == 1
    assert len(transitions_of([message(0, 1), message(1, 2), message(2, 1), message(3, 2)])[1]) == 2
    assert len(transitions_of([replace(message(0, 1), key=b"v")])[1]) == 1


def test_it_imports_nothing_of_the_engine() -> None:
    program = (
        "import sys, tests.torture.verifier.__main__\n"
        f"print(sorted({sorted(ENGINE)!r} and {{n.split('.')[0] for n in sys.modules}} & set({sorted(ENGINE)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
