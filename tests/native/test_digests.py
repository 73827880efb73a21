"""Users belong to the same shards in C and without: by XXH3, whatever the id."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segmentation import native
from segmentation.shards import shard_of, shards_of

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")


@pytest.mark.parametrize("shards", [1, 3, 2**40 + 15, 2**63 - 1])
def test_every_length(shards: int) -> None:
    users = [("abcdefghijklmnopqrstuvwxyz7-_" * 10)[length % 7 :][:length] for length in range(260)]
    assert shards_of(users, shards).tolist() == [shard_of(user, shards) for user in users]


@given(st.lists(st.one_of(st.text("ab-0", max_size=40), st.text(max_size=40))))
@example([])
def test_any_texts(users: list[str]) -> None:
    assert shards_of(users, 2**63 - 1).tolist() == [shard_of(user, 2**63 - 1) for user in users]


@pytest.mark.parametrize(("users", "shards"), [((), 1), ([b"a"], 1), (["a"], 0), (["a"], -1)])
def test_wrong_arguments_are_refused(users: list[str], shards: int) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.code.shards_of_users(users, shards)
