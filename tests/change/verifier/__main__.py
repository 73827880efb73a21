"""The verifier, a program of its own: it imports nothing of the engine, and refuses to run where that is not so.

    TORTURE_DATABASE_URL=... python -m tests.change.verifier facts.json

The last line is `verified: D differences, F flaps`; the code 0 if both are 0, else 1.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from tests.change.verifier.oracle import Members, Place
from tests.torture.verifier.arrivals import Account, Epoch, Part, Rules, account, by_partition, shard_of
from tests.torture.verifier.decode import Decoder, Event, Refused
from tests.torture.verifier.found import messages_of

ENGINE = {"segmentation", "storage", "flows", "grpc_server", "console"}
SHOWN = 5

Offsets = dict[tuple[int, int], int]
Steps = dict[int, list[tuple[int, list[Part]]]]


@dataclass(slots=True)
class Tally:
    differences: int = 0
    flaps: int = 0
    compared: Counter[str] = field(default_factory=Counter)

    def same(self, what: str, expected: Iterable[Any], found: Iterable[Any]) -> None:
        wanted, there = set(expected), set(found)
        self.compared[what.partition(":")[0]] += len(wanted)
        for kind, those in (("missing", wanted - there), ("too many", there - wanted)):
            self.wrong(f"{what}: {kind}", those)

    def wrong(self, what: str, those: Iterable[Any]) -> None:
        listed = sorted(those, key=repr)
        self.differences += len(listed)
        if listed:
            print(f"{what}: {len(listed)}", *(f"    {one}" for one in listed[:SHOWN]), sep="\n")


@dataclass(frozen=True, slots=True)
class Switch:
    """What the database had when a version became the valid one. steps: of each shard; flips: its transitions."""

    version: int
    steps: dict[int, int]
    members: Members
    flips: set[tuple[str, str, bool]]


class Verifier:
    def __init__(self, facts: Mapping[str, Any], url: str) -> None:
        self.facts, self.tally = facts, Tally()
        self._rules = Rules(**facts["rules"])
        with psycopg.connect(url) as connection:
            self._connection = connection
            self.steps = self._steps()
            self.switches = {one.version: one for one in self._switches()}
            self.transitions = self._rows(
                "SELECT user_id, seq, segment, entered, cause FROM segment_transitions ORDER BY user_id, seq, entered"
            )
            self.members: Members = set(self._rows("SELECT segment, user_id FROM segment_members"))
        self._decoders = [(Decoder(Path(facts["schema"]), facts["max_skew_us"]), Offsets())]
        for edit in facts["edits"]:
            if edit["schema"] is not None and edit["version"] in self.switches:
                offsets = self._offsets(self.switches[edit["version"]].steps)
                self._decoders.append((Decoder(Path(edit["schema"]), facts["max_skew_us"]), offsets))
        self._columns = self._decoders[-1][0].columns
        self._log = by_partition(self._events())

    def verify(self) -> Tally:
        before: dict[str, str] = self.facts["first"]
        for edit in self.facts["edits"]:
            self._edit(edit, before)
            before = edit["definitions"]
        versions = {edit["version"] for edit in self.facts["edits"]}
        self.tally.same("versions", versions, self.switches.keys())
        last = {shard: steps[-1][0] for shard, steps in self.steps.items()}
        at_end = self._place(last)
        self.tally.same("members at the end", at_end.members(before), self.members)
        self._order()
        self._gaps()
        return self.tally

    def _edit(self, edit: Mapping[str, Any], before: Mapping[str, str]) -> None:
        number, after = edit["version"], edit["definitions"]
        switch = self.switches.get(number)
        if switch is None:
            return
        place = self._place(switch.steps)
        was, is_ = place.members(before), place.members(after)
        what = f"{number} ({edit['what']})"
        self.tally.same(f"members at the switch: version {what}", is_, switch.members)
        self.tally.same(f"transitions of the switch: version {what}", _difference(was, is_), switch.flips)
        staying = {(name, user) for name, user, _ in switch.flips} & was & is_
        self.tally.flaps += len(staying)
        planned = {(segment, user, change == "enters") for user, segment, change in edit["plan"]["rows"]}
        at = self._place({int(shard): step for shard, step in edit["plan"]["steps"].items()})
        expected = _difference(at.members(before), at.members(after))
        self.tally.same(f"plan at its own position: version {what}", expected, planned)
        if edit["quiet"]:
            self.tally.same(f"plan and switch without an event between: version {what}", planned, switch.flips)

    def _place(self, steps: Mapping[int, int]) -> Place:
        return Place(self._columns, self._account(steps))

    def _account(self, until: Mapping[int, int]) -> Account:
        """With the steps up to these, numbered without those that switches count as."""
        taken = {
            shard: [(place, parts) for place, (number, parts) in enumerate(mine, 1) if number <= until[shard]]
            for shard, mine in self.steps.items()
        }
        made = account([Epoch(len(self.steps), taken)], self._log, self._rules)
        self.tally.wrong("record", made.complaints)
        return made

    def _order(self) -> None:
        """Every flip flips, sequence numbers have no gap, and the log leads to the members that there are."""
        inside: Members = set()
        last: Counter[str] = Counter()
        for user, seq, segment, entered, _ in self.transitions:
            if seq not in (last[user], last[user] + 1):
                self.tally.wrong("order", [f"seq {seq} of {user} follows {last[user]}"])
            last[user] = seq
            if ((segment, user) in inside) == entered:
                self.tally.flaps += 1
            (inside.add if entered else inside.discard)((segment, user))
        self.tally.same("members by the log", inside, self.members)
        by_definition = sum(cause == "definition" for *_, cause in self.transitions)
        switched = sum(len(one.flips) for one in self.switches.values())
        self.tally.same("transitions of all switches", [switched], [by_definition])

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode()).fetchall()

    def _steps(self) -> Steps:
        steps: Steps = {}
        rows = self._rows("SELECT shard, number, parts FROM torture.steps WHERE shard IS NOT NULL ORDER BY place")
        for shard, number, parts in rows:
            steps.setdefault(shard, []).append((number, [Part(*part[:4]) for part in parts]))
        return steps

    def _switches(self) -> Iterable[Switch]:
        for version, shards in self._rows(
            "SELECT version, jsonb_object_agg(shard, step) FROM change.steps GROUP BY version ORDER BY version"
        ):
            members = self._rows(f"SELECT segment, user_id FROM change.members WHERE version = {version}")
            flips = self._rows(f"SELECT segment, user_id, entered FROM change.flips WHERE version = {version}")
            if len(flips) != len(set(flips)):
                self.tally.flaps += len(flips) - len(set(flips))
            steps = {int(shard): step for shard, step in shards.items()}
            yield Switch(version, steps, set(members), set(flips))

    def _gaps(self) -> None:
        """A switch counts as a step of its own; every other step was recorded, once."""
        for shard, steps in self.steps.items():
            numbers = [number for number, _ in steps]
            switched = {one.steps[shard] for one in self.switches.values()}
            self.tally.same(f"steps: shard {shard}", set(range(1, numbers[-1] + 1)) - switched, numbers)
            self.tally.wrong("steps there twice", [one for one, times in Counter(numbers).items() if times > 1])

    def _offsets(self, until: Mapping[int, int]) -> Offsets:
        """By shard and partition: the first offset that its steps up to these have not taken."""
        found = Offsets()
        for shard, steps in self.steps.items():
            for number, parts in steps:
                if number <= until[shard]:
                    found |= {(shard, part.partition): part.next_offset for part in parts}
        return found

    def _events(self) -> list[Event]:
        """Each read by the schema that its user's shard had when it took it; columns in the last one's order."""
        events = []
        for message in messages_of(self.facts["kafka"], self.facts["events_topic"]):
            for decoder, offsets in reversed(self._decoders):
                event: Event | None = None
                with suppress(Refused):
                    event = decoder.read(message)
                user = _user_of(message.value) if event is None else event.user_id
                shard = 0 if user is None else shard_of(user, len(self.steps))
                if message.offset >= offsets.get((shard, message.partition), 0):
                    break
            if event is not None:
                there = dict(zip((column.name for column in decoder.columns), event.columns))
                events.append(replace(event, columns=tuple(there.get(column.name) for column in self._columns)))
        return events


def _user_of(value: bytes | None) -> str | None:
    """Of a message that is refused."""
    try:
        found = json.loads(value or b"")
    except ValueError:
        return None
    user = found.get("user_id") if isinstance(found, dict) else None
    return user if isinstance(user, str) else None


def _difference(was: Members, is_: Members) -> set[tuple[str, str, bool]]:
    return {(*one, True) for one in is_ - was} | {(*one, False) for one in was - is_}


def main() -> int:
    verifier = Verifier(json.loads(Path(sys.argv[1]).read_text()), os.environ["TORTURE_DATABASE_URL"])
    tally = verifier.verify()
    borrowed = ENGINE & {name.partition(".")[0] for name in sys.modules}
    assert not borrowed, f"the verifier is not independent: it imported {borrowed}"
    print("compared: " + ", ".join(f"{count} {what}" for what, count in tally.compared.items()))
    print(f"verified: {tally.differences} differences, {tally.flaps} flaps")
    return 1 if tally.differences or tally.flaps else 0


if __name__ == "__main__":
    sys.exit(main())
