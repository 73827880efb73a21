"""Answers to batches in C and in Python, byte for byte; and what the C refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_server import fast, records
from grpc_server.cache import Copy, columns_of
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.requests import PAIRS_MAX
from segmentation import native
from storage.snapshot import StoredDefinition
from storage.transitions import Position

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")

MICROS = st.integers(0, 2**35 * 10**6 - 1)
NAMES = [f"segment_{n}" for n in range(20)]


def stamp(micros: int) -> bytes:
    found = records.stamp(micros)
    assert found is not None
    return found


@st.composite
def copies(draw: st.DrawFn) -> Copy:
    segments = draw(st.integers(1, 20))
    exact = draw(st.lists(st.booleans(), min_size=segments, max_size=segments))
    order = draw(st.permutations(NAMES[:segments]))
    stored = [StoredDefinition(i, name, i, told) for i, (name, told) in enumerate(zip(order, exact))]
    copy = Copy("", Position({}), *columns_of(stored))
    inside = st.dictionaries(st.integers(0, segments - 1), MICROS.map(stamp), max_size=segments)
    for user in range(6):
        copy.users[b"u%d" % user] = records.record(draw(st.integers(0, 2)), draw(inside), copy.bitmap_bytes)
    copy.as_of = draw(st.dictionaries(st.integers(0, 2).map(records.shard_key), st.just(b"") | MICROS.map(stamp)))
    for user, at in draw(st.dictionaries(st.integers(0, 5), MICROS.map(stamp), max_size=3)).items():
        copy.ahead[b"u%d" % user] = at
    return copy


PAIRS = st.lists(st.tuples(st.integers(0, 6).map(lambda n: f"u{n}"), st.sampled_from(NAMES)), max_size=12)


@given(copies(), PAIRS)
def test_c_and_python_give_the_same_bytes(copy: Copy, asked: list[tuple[str, str]]) -> None:
    names = {name for name, column in copy.columns.items() if column.status}
    for pairs in (asked, [(user, name) for user, name in asked if name in names and user.encode() in copy.users]):
        data = pb.BatchCheckMembershipRequest(
            pairs=[pb.MembershipPair(user_id=user, segment=name) for user, name in pairs]
        ).SerializeToString()
        answer = fast.batch(copy, data)
        assert answer == fast.batch_by_python(copy, data)
        if answer is not None:
            found = pb.BatchCheckMembershipResponse.FromString(answer)
            assert [(one.user_id, one.segment) for one in found.results] == pairs
            assert [one.segment for one in found.definitions] == sorted({name for _, name in pairs})


def call(**other: Any) -> bytes | None:
    request = pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id="u", segment="s")])
    spelled = {pb.MembershipPair(segment="s").SerializeToString(): 0}
    given: dict[str, Any] = {
        "request": request.SerializeToString(), "pairs_max": PAIRS_MAX, "users": {b"u": b"\0\0\1" + stamp(1)},
        "ahead": {}, "as_of": {b"\0\0": b""}, "spelled": spelled, "places": np.zeros(1, np.int32),
        "definitions": (b"",), "bitmap_bytes": 1,
    }  # fmt: skip
    given |= other
    for name in ("users", "ahead"):
        table = native.code.Records()
        for key, record in given[name].items():
            table[key] = record
        given[name] = table
    return native.code.batch_answer(*given.values())


@pytest.mark.parametrize(
    "other",
    [
        {"users": {b"u": b"\0\0\1"}}, {"users": {b"u": b"\0"}}, {"ahead": {b"u": b"short"}},
        {"as_of": {b"\0\0": b"short"}}, {"as_of": {b"\0": b""}}, {"places": np.array([8], np.int32)},
        {"places": np.zeros(2, np.int32)}, {"places": np.zeros(1, np.int64)}, {"definitions": ("text",)},
        {"request": "text"}, {"spelled": {pb.MembershipPair(segment="s").SerializeToString(): 7}}, {"bitmap_bytes": -1},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(other: dict[str, Any]) -> None:
    assert call() is not None
    with pytest.raises((TypeError, ValueError)):
        call(**other)


def test_what_is_not_known_is_no_answer() -> None:
    shard = {b"\0\4": b""}  # number 1024
    assert call(users={}) is None and call(spelled={}) is None and call(as_of={}) is None and call(pairs_max=0) is None
    assert call(users={b"u": b"\0\4\0"}, as_of=shard) is None
