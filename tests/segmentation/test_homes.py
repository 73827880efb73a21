"""Users whose events come in more than one partition, as a naive model counts them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.evaluate.homes import NAMED, Homes

users = st.lists(st.integers(0, 30), max_size=6)
acts = st.lists(
    st.tuples(st.just("seen"), users, st.integers(0, 2)) | st.tuples(st.just("erase"), users, st.just(0))
    | st.tuples(st.sampled_from(["begin_anew", "saved", "moved"]), st.just([]), st.just(0)),
    max_size=20,
)  # fmt: skip


def test_more_users_than_there_was_room_for() -> None:
    homes = Homes()
    for partition in (0, 1):
        homes.seen(np.array([7, 5_000, 40_000 * partition]), np.full(3, partition, np.int32))
    homes.erase(np.array([99_999]))
    assert (homes.scattered, homes.some(), len(homes.dump(300_000))) == (2, [7, 5_000], 300_000)


@given(acts)
def test_a_model(given: list[tuple[str, list[int], int]]) -> None:
    homes, places = Homes(), dict[int, set[int]]()
    for act, some, partition in given:
        numbers = np.array(sorted(set(some)) if act == "erase" else some, np.int64)
        if act == "seen":
            homes.seen(numbers, np.full(len(numbers), partition, np.int32))
            for user in some:
                places.setdefault(user, set()).add(partition)
        elif act == "erase":
            homes.erase(numbers)
            places = {user: found for user, found in places.items() if user not in some}
        elif act == "begin_anew":
            homes.begin_anew()
            places = {}
        elif act == "saved":
            state = homes.dump(31)
            homes = Homes()
            homes.load(state)
        else:
            new = Homes()
            new.adopt(homes, np.arange(31), np.arange(31)[::-1].copy())
            homes, places = new, {30 - user: found for user, found in places.items()}
        scattered = sorted(user for user, found in places.items() if len(found) > 1)
        assert (homes.scattered, homes.some()) == (len(scattered), scattered[:NAMED])
