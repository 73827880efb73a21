"""The parts of conditions against the judge: each part's SQL, run alone, returns as many users as are counted."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.parts import Part, condition
from segmentation.compile.plan import Plan
from segmentation.evaluate.counting import count
from segmentation.evaluate.shard import Shard
from tests.oracle.grammar import COLUMNS, START_US, USER_COLUMNS
from tests.oracle.judge import Judge
from tests.oracle.running import EXAMPLES, Tally, bound, finish, planned, reference_of
from tests.oracle.strategies import PARTITIONS, Read, Scenario, scenarios
from tests.oracle.streams import polls_of

pytestmark = pytest.mark.timeout(1_800)

JUDGE = Judge(COLUMNS, USER_COLUMNS)


def test_every_part_holds_for_as_many_users_as_the_judge_says() -> None:
    tally, parts = Tally(), []

    @settings(max_examples=EXAMPLES // 4)
    @given(scenarios(), st.integers(0, 100))
    def property_(scenario: Scenario, hundredth: int) -> None:
        definitions = bound(scenario, tally)
        reference = reference_of(scenario, definitions)
        stands = reference.watermark - 1  # as far as silent users' windows have been moved
        finish(reference, scenario)  # so that it knows those that were ahead of the clock
        plan = planned(definitions, tally)
        if not plan.segments or not (known := list(reference.known())):
            return
        JUDGE.load(known)
        newest = max(stands, *(each.known_at for each in known))
        at = newest + max(0, scenario.end - newest) * hundredth // 100
        parts.append(_hold(scenario, plan, list(_shards(scenario, plan, at)), at))

    property_()
    assert len(parts) < 50 or sum(parts) > len(parts)  # most conditions have several


def _hold(scenario: Scenario, plan: Plan, shards: list[Shard], at: int) -> int:
    """Returns how many parts there were."""
    texts = {name: scenario.definitions[name.partition("/")[0]] for name in plan.names}
    for number, name in enumerate(plan.names):
        asked = condition(plan, number)
        counts = count(shards, asked)
        members = {user for user, segment in JUDGE.members(texts, at) if segment == name}
        if asked.root is None:
            assert not members
            continue
        leaves = sorted({part.text for part in asked.root.walk() if part.all is None})
        alone = {text: _query(text) for text in leaves}
        users = {text: {user for user, _ in JUDGE.members({"x": sql}, at)} for text, sql in alone.items()}
        everyone = {user for user, _ in JUDGE.members({"x": "SELECT user_id FROM events GROUP BY user_id"}, at)}
        found: dict[tuple[int, bool], set[str]] = {}
        holds = _holds(asked.root, users, found)
        said = f"{name} at {at - START_US:,}: {texts[name]}"
        assert holds == members, said
        assert counts.users == len(everyone), said
        for part in asked.root.walk():
            assert counts.of(part.truth) == len(found[part.truth]), f"{said}\n{part.text}"
        for part in asked.root.parts if asked.root.all else ():
            others = [found[other.truth] for other in asked.root.parts if other is not part]
            assert counts.without[part.truth] == len(everyone.intersection(*others)), f"{said}\n{part.text}"
    return sum(1 for number in range(len(plan.names)) for _ in _parts(plan, number))


def _query(condition: str) -> str:
    if not re.search(rf"\b(users|{'|'.join(USER_COLUMNS)})\b", condition):
        return f"SELECT user_id FROM events GROUP BY user_id HAVING {condition}"
    columns = ", ".join(f"users.{name}" for name in USER_COLUMNS)
    return f"SELECT user_id FROM events LEFT JOIN users USING (user_id) GROUP BY user_id, {columns} HAVING {condition}"


def _parts(plan: Plan, number: int) -> Iterator[Part]:
    root = condition(plan, number).root
    if root is not None:
        yield from root.walk()


def _holds(part: Part, users: dict[str, set[str]], found: dict[tuple[int, bool], set[str]]) -> set[str]:
    """Whom a part holds for, by those of the single conditions."""
    if part.truth not in found:
        assert not part.again, "what is said to be above is above"
        each = [_holds(one, users, found) for one in part.parts]
        inside = users[part.text] if part.all is None else set.intersection(*each) if part.all else set.union(*each)
        found[part.truth] = inside
    return found[part.truth]


def _shards(scenario: Scenario, plan: Plan, at: int) -> Iterator[Shard]:
    """Two, after the whole scenario, with all that takes effect at or before `at`."""
    last = [Read(partition, at + 1 + scenario.lateness_us, watermark=at + 1) for partition in scenario.partitions]
    reads = scenario.reads + (last if scenario.live else [])
    for polls in polls_of(reads, COLUMNS, 2, lambda _read, _event: False):
        shard = Shard(plan, PARTITIONS, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live)
        shard.add_partitions(PARTITIONS, scenario.profiles)
        shard.run(polls)
        if not scenario.live:
            shard.finish(at)
        yield shard
