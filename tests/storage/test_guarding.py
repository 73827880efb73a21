"""What is held, kept and released against a model that does it flip by flip."""

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from segmentation.shards import shard_of
from storage import postgres, queries
from storage.commits import CheckpointRecord, Commit
from storage.engine_state import prepare, take_over, tokens
from storage.guarding import Limits
from storage.postgres import Connection
from storage.queries import UnknownSegment
from storage.reader import fetch
from storage.rebuild import Rebuild
from storage.releasing import NotHeld, Released, release, settle
from storage.writer import ShardWriter
from tests.fix_postgres import empty
from tests.storage.world import START, World, definitions, open_writer, record, stored

pytestmark = pytest.mark.postgres
#: both is built on one, and all on both.
NAMES = ["one", "both", "all", "other", "never"]
LIMITS = Limits([30, 60, 0, 100, 0], [[1, 2], [2], [], [], []])
SHARDS = 2
USERS = [f"u{number}" for number in range(12)]

Log = list[tuple[str, int, str, bool, int, str]]


@dataclass
class Twin:
    """The published side of a World: `commit` says what its next commit publishes, `release` what a release does."""

    world: World
    members: set[tuple[str, str]] = field(default_factory=set)
    log: Log = field(default_factory=list)
    seq: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    watermarks: dict[int, int] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)  # flips, members before the first
    released: set[str] = field(default_factory=set)
    holds: set[tuple[str, str]] = field(default_factory=set)
    silent: dict[int, bool] = field(default_factory=dict)
    frozen: dict[str, set[str]] = field(default_factory=dict)  # by held segment: its members when the hold began

    @property
    def held(self) -> set[str]:
        return {name for name, _ in self.holds}

    def members_of(self, name: str) -> set[str]:
        return {user for user, segment in self.members if segment == name}

    def commits(self, commits: list[Commit]) -> None:
        """Of one transaction."""
        new: dict[str, int] = {}
        for commit in commits:
            for message, flips in enumerate(_flips(commit)):
                if commit.by_silence is not None and commit.by_silence[message]:
                    for name, _ in flips:
                        new[name] = new.get(name, 0) + 1
        for name, count in new.items():
            flips_before, members = self.counts.get(name, (0, len(self.members_of(name))))
            self.counts[name] = flips_before + count, members
        for name in new:
            place = NAMES.index(name)
            count, members = self.counts[name]
            if name not in self.released and 0 < LIMITS.percent[place] * max(members, 1) < 100 * count:
                for held in (place, *LIMITS.readers[place]):
                    self._hold(NAMES[held], name)
        for commit in commits:
            for message, flips in enumerate(_flips(commit)):
                told = [(name, entered) for name, entered in flips if name not in self.held]
                user = commit.transitions.user_id[message]
                cause = "event" if commit.transitions.by_event[message] else "time"
                self._publish(user, told, int(commit.transitions.effective_at[message]), cause)
            for user in commit.new_users:
                self.seq.setdefault(user, 0)
            self.watermarks[commit.shard] = commit.watermark
            if commit.silent is not None:
                self.silent[commit.shard] = bool(commit.silent)

    def _hold(self, name: str, cause: str) -> None:
        self.frozen.setdefault(name, self.members_of(name))
        self.holds.add((name, cause))

    def _publish(self, user: str, told: list[tuple[str, bool]], at: int, cause: str) -> None:
        if not told:
            return
        self.seq[user] = self.seq.get(user, 0) + 1
        self.last[user] = max(at, self.last.get(user, at))
        for name, entered in told:
            assert ((user, name) in self.members) != entered
            (self.members.add if entered else self.members.discard)((user, name))
            self.log.append((user, self.seq[user], name, entered, self.last[user], cause))

    def pending(self, name: str) -> set[str]:
        return self.members_of(name) ^ {user for user, segment in self.world.inside if segment == name}

    def release(self, causes: set[str]) -> Released:
        before = self.held
        self.holds = {pair for pair in self.holds if pair[1] not in causes}
        free = before - self.held
        outcome = {}
        for name in free:
            moving = self.pending(name)
            outcome[name] = len(moving - self.members_of(name)), len(moving & self.members_of(name))
            del self.frozen[name]
        for user in sorted({user for name in free for user in self.pending(name)}):
            told = [(n, user not in self.members_of(n)) for n in sorted(free) if user in self.pending(n)]
            self._publish(user, told, self.watermarks[shard_of(user, SHARDS)], "release")
        return outcome

    def by_word(self, name: str) -> Released | None:
        """None: refused."""
        if (name, name) not in self.holds:
            return None
        self.released.add(name)
        return self.release({name})

    def settle(self) -> Released:
        if any(self.silent.values()) or not (self.holds or self.counts):
            return {}
        self.counts, self.released = {}, set()
        causes = {cause for _, cause in self.holds}
        too_many = {
            name
            for place, name in enumerate(NAMES)
            if 0 < LIMITS.percent[place] * max(len(self.members_of(name)), 1) < 100 * len(self.pending(name))
        } & self.held
        for name in too_many - causes:
            for held in (NAMES.index(name), *LIMITS.readers[NAMES.index(name)]):
                self._hold(NAMES[held], name)
        return self.release(causes - too_many)


def _flips(commit: Commit) -> list[list[tuple[str, bool]]]:
    found = commit.transitions
    flips = [(NAMES[segment], entered) for segment, entered in zip(found.segment.tolist(), found.entered.tolist())]
    return [flips[first:end] for first, end in zip(found.first.tolist(), found.first.tolist()[1:])]


moves = st.lists(
    st.tuples(st.sampled_from(USERS), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 50), st.booleans()),
    max_size=8,
)
commits = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), moves, st.booleans(), st.sampled_from([None, True, False])),
    min_size=1, max_size=3,
)  # fmt: skip
steps = st.lists(
    st.one_of(commits, commits, commits, st.sampled_from(["settle", *NAMES]), st.just("rebuild")),
    min_size=3, max_size=14,
)  # fmt: skip


@settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a second, so it is not made smaller
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(steps)
def test_what_is_held_and_released_is_the_log_netted(database_url: str, drawn: list[Any]) -> None:
    """Answers of a held segment stand still, all others are the truth; a release publishes who differs, once; whoever
    reads the log finds no gap, no repetition and the members that there are."""
    empty(database_url)
    world = World(NAMES, SHARDS)
    twin = Twin(world)
    out = open_writer(database_url, NAMES, SHARDS, limits=LIMITS)
    with closing(postgres.connect(database_url)) as connection:
        connection.autocommit = True
        for each in [*drawn, *NAMES]:
            if each == "settle":
                assert settle(database_url, out._segments, LIMITS) == twin.settle()
            elif each == "rebuild":
                out.close()
                out = _rebuilt(database_url, world, twin)
            elif isinstance(each, str):
                _release(database_url, twin, each)
            else:
                batch = [_commit(world, *one) for one in each]
                twin.commits(batch)
                out.write(batch)
            _same(connection, twin)
        out.close()
        assert twin.members == set(world.inside), "at the end nothing is held"


def _commit(world: World, shard: int, moves: Any, silence: bool, silent: bool | None) -> Commit:
    made = world.step(shard, moves)
    by_silence = ~made.transitions.by_event if silence and len(made.transitions) else None
    return replace(made, by_silence=by_silence, silent=None if silent is None else [0] * silent)


def _release(url: str, twin: Twin, name: str) -> None:
    expected = twin.by_word(name)
    if expected is None:
        with pytest.raises(NotHeld):
            release(url, [name], "somebody")
    else:
        assert release(url, [name], "somebody") == expected


def _same(connection: Connection, twin: Twin) -> None:
    found = stored(connection)
    assert found["log"] == sorted(twin.log)
    assert {(user, segment) for user, segment, _ in found["members"]} == twin.members
    assert found["counts"] == {name: len(twin.members_of(name)) for name in NAMES}
    held = connection.execute("SELECT name FROM tidegate.definitions WHERE held_since IS NOT NULL").fetchall()
    assert {name for (name,) in held} == twin.held
    for name, members in twin.frozen.items():
        assert twin.members_of(name) == members
    for name in set(NAMES) - twin.held:
        assert not twin.pending(name)


def _rebuilt(url: str, world: World, twin: Twin) -> ShardWriter:
    """Every shard's state is made anew, without a difference: what is held stays held."""
    numbers: dict[str, int] = {}
    with Rebuild(url, record(NAMES, SHARDS), definitions(NAMES), tokens(url, SHARDS)) as rebuild:
        for shard in range(SHARDS):
            users = [user for user in world.seq if shard_of(user, SHARDS) == shard]
            membership = [(u, [n for n, name in enumerate(NAMES) if (u, name) in world.inside]) for u in users]
            rebuild.apply_differences(shard, membership, twin.watermarks.get(shard, START))
            numbers |= rebuild.sequence_numbers(shard)
            step = world.steps[shard] = rebuild.next_step(shard)
            watermark = twin.watermarks.setdefault(shard, START)
            rebuild.finish(shard, CheckpointRecord(shard, step, "file", "digest", {}), watermark)
    assert numbers == world.seq, "the engine goes on with its own numbers"
    segments = prepare(url, record(NAMES, SHARDS), definitions(NAMES))
    taken = {shard: found.token for shard, found in take_over(url, range(SHARDS)).items()}
    return ShardWriter(url, taken, segments, limits=LIMITS)


def test_a_silent_partition_and_what_was_heard_are_stored_with_the_step(database_url: str) -> None:
    world = World(NAMES, 1)
    with open_writer(database_url, NAMES, 1) as out:
        out.write([replace(world.step(0, []), heard={0: START, 3: START + 1}, silent=[3])])
        out.write([world.step(0, [])])
    found = take_over(database_url, [0])[0]
    assert (found.heard, list(found.silent)) == ({0: START, 3: START + 1}, [3])


def test_an_erased_user_leaves_a_held_segment_at_once(database_url: str) -> None:
    world = World(NAMES, 1)
    with (
        open_writer(database_url, NAMES, 1, limits=LIMITS) as out,
        closing(postgres.connect(database_url)) as connection,
    ):
        connection.autocommit = True
        out.write([world.step(0, [("u1", [0], 0, True), ("u2", [0], 0, True), ("u3", [0], 0, True)])])
        out.write([_commit(world, 0, [("u1", [0], 1, False)], True, None)])
        found = connection.execute("SELECT user_id, entered FROM tidegate.held_flips").fetchall()
        assert found == [("u1", False)]
        out.write([replace(world.step(0, []), erased=[("u1", START + 2), ("u2", START + 2)])])
        assert [row[:2] for row in stored(connection)["members"]] == [("u3", "one")]
        assert not connection.execute("SELECT FROM tidegate.held_flips").fetchall()
        assert not connection.execute("SELECT FROM tidegate.seq_shifts").fetchall()
        with pytest.raises(UnknownSegment):
            release(database_url, ["nothing"], "somebody")
        assert release(database_url, ["one"], "somebody") == {"one": (0, 0), "both": (0, 0), "all": (0, 0)}


def test_an_answer_about_a_held_segment_is_true_at_its_own_as_of(database_url: str) -> None:
    """Where the shard of a user was ahead of the others, he may have flipped after `held_since`."""
    ahead = [user for user in USERS if shard_of(user, 2) == 0][:3]
    behind = next(user for user in USERS if shard_of(user, 2) == 1)
    entered, left, quiet = ahead
    world = World(NAMES, 2)
    with open_writer(database_url, NAMES, 2, limits=LIMITS) as out:
        out.write([world.step(1, [(behind, [0], 0, True)])])
        out.write([world.step(0, [(left, [0], 0, True), (quiet, [0], 0, True)])])
        out.write([world.step(0, [(left, [0], 20, True), (entered, [0], 30, True)])])
        for _ in range(40):
            out.write([world.step(0, [])])
        out.write([_commit(world, 0, [(quiet, [0], 43, False)], True, None)])
    with closing(postgres.connect(database_url)) as connection:
        answers = fetch(connection, queries.check([(user, "one") for user in (entered, left, quiet, behind)]))
    assert all(answer.state == "held" for answer in answers)
    held_since = START  # 1 µs before the least watermark, which shard 1 has
    told = [(answer.member, None if answer.as_of is None else answer.as_of - held_since) for answer in answers]
    assert told == [(True, 30), (False, 20), (True, 0), (True, 0)]
