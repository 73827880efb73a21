"""Profiles are read again from a compacted topic: what a shard had counted must still be there, or it says so."""

import numpy as np
import pytest

from flows.catch_up import CatchUp
from flows.items import ShardPoll
from segmentation.compile.bind import bind
from segmentation.compile.lower import lower
from segmentation.errors import TidegateError
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import PROFILES, Poll, Profiles
from segmentation.reference import Version
from tests.oracle.grammar import START_US
from tests.oracle.running import SCHEMA
from tests.oracle.streams import profiles_of

PLAN = lower([bind("first_tier", "first_tier.sql", "SELECT user_id FROM users WHERE city_tier = 1", SCHEMA)], SCHEMA)


def shard() -> Shard:
    made = Shard(PLAN, 0, 0, None, live=False)
    made.add_partitions(0, 1)
    return made


def records() -> Profiles:
    """Offsets 0, 2, 4, 6, the user of 0 and 4 being one."""
    users = ["anna", "bert", "anna", "carl"]
    return profiles_of([Version(user, "", START_US + i, {"city_tier": 1}) for i, user in enumerate(users)])


def read(profiles: Profiles, next_offset: int = 8) -> ShardPoll:
    return ShardPoll(0, 0, Poll(PROFILES, next_offset, START_US, int(profiles.high[-1]), profiles=profiles))


def test_what_is_read_again_is_what_was_counted() -> None:
    first = shard()
    step = first.run([read(records()).poll or Poll(0, 0, 0)])
    assert [part.records for part in step.parts] == [4] and len(step.transitions) == 3
    again = shard()
    positions: dict[int, int] = {}
    # In two reads, of which the second has something new, too.
    one, two = records().take(np.array([0, 1])), records().take(np.array([2, 3]))
    rest = CatchUp(again, step.parts, positions).take([read(one, 4), ShardPoll(0, 4, read(two, 10).poll)])
    assert positions == {PROFILES: 8} and len(rest) == 1
    assert again.dump() == first.dump()


def test_a_version_that_was_compacted_away() -> None:
    step = shard().run([read(records()).poll or Poll(0, 0, 0)])
    left = records().take(np.array([1, 2, 3]))
    with pytest.raises(TidegateError, match=r"profiles-0 has been compacted: of 4 records .* 3 are left.*--rebuild"):
        CatchUp(shard(), step.parts, {}).take([read(left)])
