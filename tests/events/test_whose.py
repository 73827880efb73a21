"""Whose a refused message is: read from what could not be read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.events.whose import user_of_key, user_of_value

PATH = ("who", "id")


@pytest.mark.parametrize(
    ("value", "user"),
    [
        (b'{"who": {"id": "anna"}, "at": nonsense}', "anna"),  # no JSON
        (b'{"who":{"id":"anna"},"amount":', "anna"),  # cut off
        (b'\x00\x00\x00\x00\x07{"who":{"id" : "anna"}}', "anna"),  # framed
        (b'{"x":"\xff","who":{"id":"anna"}}', "anna"),  # another encoding
        (b'{"who":{"id":"Gr\\u00f6\\u00dfe \\"x\\""},', 'Größe "x"'),
        (b'{"who":{"id":17}}', "17"),
        (b'{"who":{"id":true}}', None),
        (b'{"who":{"id":null}}', None),
        (b'{"id":"anna"}', None),
        (b'{"who":["id","anna"]}', None),
        (b'{"who":{"id":"a\\u0000b"}}', None),
        (b'{"who":{"id":"' + b"x" * 513 + b'"}}', None),
        (b'{"who":{"id":"\\ud800"}', None),
        (b'{"identity":"bob","friend":"anna"', None),
        (b"", None),
        (None, None),
    ],
)
def test_by_the_value(value: bytes | None, user: str | None) -> None:
    assert user_of_value(value, PATH) == user


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=100))
def test_every_user_id_is_read_again(user: str) -> None:
    whole = json.dumps({"n": 1, "who": {"id": user}}).encode()
    assert user_of_value(whole, PATH) == user_of_value(whole[:-1], PATH) == user_of_key(user.encode()) == user


@given(st.binary(max_size=60))
def test_anything_may_come(value: bytes) -> None:
    for found in (user_of_value(b'{"id":' + value, ("id",)), user_of_value(value, ("id",)), user_of_key(value)):
        assert found is None or found.encode()
