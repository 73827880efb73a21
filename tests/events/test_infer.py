"""A schema guessed from samples always loads, and always takes the samples it was guessed from."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from segmentation.errors import TidegateError
from segmentation.events.decode import Decoder, Reason
from segmentation.events.infer import infer_schema
from segmentation.events.schema import load_schema
from segmentation.types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMPTZ, numeric
from tests.events import messages
from tests.events.test_decode import OTHER_PRODUCER, decode

keys = st.sampled_from(
    ["id", "userId", "event", "type", "time", "ts", "amount", "a.b", "user", "Größe", "1", "a", "no", ""]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | messages.times
    | st.sampled_from(["", "x", "2024-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
FIXED = {"uid": "u", "eventName": "e", "createdAt": "2024-01-01T00:00:00Z"}


@hypothesis.given(
    st.lists(st.dictionaries(keys, values, max_size=6).map(json.dumps).map(str.encode), min_size=1, max_size=5)
)
def test_it_always_loads(samples: list[bytes]) -> None:
    load_schema(infer_schema(samples))


@hypothesis.given(
    st.lists(
        st.dictionaries(keys.filter(lambda key: key in ("amount", "a.b", "a", "no", "1")), values),
        min_size=1,
        max_size=5,
    )
)
def test_it_takes_the_samples(found: list[dict[str, object]]) -> None:
    samples = [json.dumps({"p": fields} | FIXED).encode() for fields in found]
    decoder = Decoder(load_schema(infer_schema(samples)), None)
    for reject in decoder.decode(samples, np.arange(len(samples)), np.zeros(len(samples), np.int64)).rejects:
        # what is an object in one sample and a value in another cannot be read from both
        assert reject.reason is Reason.WRONG_TYPE and "expected an object" in reject.detail


def test_another_producers_sample() -> None:
    text = infer_schema([OTHER_PRODUCER, OTHER_PRODUCER.replace(b'""', b"12.5")])
    schema = load_schema(text)
    assert {name: column.path for name, column in schema.events.items()} == {
        "user_id": ("id",), "event_id": (), "event_type": ("payload", "activity_type"), "event_time": ("created_at",),
        "id_type": ("id_type",), "region": ("region",), "device_type": ("device_type",),
        "order_total": ("payload", "order_total"),
    }  # fmt: skip
    assert schema.events["event_time"].timezone == "UTC" and "is it this one?" in text
    assert schema.events["order_total"].type == numeric(18, 2) and schema.events["order_total"].empty_as_null
    assert decode(Decoder(schema, None), [OTHER_PRODUCER]).rejects == []


def test_types_and_names() -> None:
    first = {
        "event_id": "e", "user_id": "u", "event_type": "x", "event_time": "2024-01-01T00:00:00Z",
        "properties": {"n": 1, "price": 1.125, "far": 1e300, "ok": True, "at": "2024-01-01T00:00:00+02:00", "since": "",
                       "userId": "v", "tags": [1], "mixed": 1, "nothing": None, "order": "o"},
    }  # fmt: skip
    second = first | {"event_id": "f", "properties": {"price": 3, "since": 7, "mixed": "x", "n": 2**70}}
    text = infer_schema([json.dumps(first).encode(), json.dumps(second).encode(), b"not json", b"[]"])
    events = load_schema(text).events
    assert [events[name].path for name in ("user_id", "event_id")] == [("user_id",), ("event_id",)]
    assert {name: column.type for name, column in list(events.items())[4:]} == {
        "n": DOUBLE, "price": numeric(18, 3), "far": DOUBLE, "ok": BOOLEAN, "at": TIMESTAMPTZ, "since": BIGINT,
        "properties_user_id": TEXT, "properties_order": TEXT,
    }  # fmt: skip
    assert events["since"].empty_as_null
    assert "# properties.tags: list, which no type takes" in text
    assert "# properties.mixed: bigint and text, which no type takes" in text
    assert text.startswith("# Guessed from 2 events")


@pytest.mark.parametrize("samples", [[], [b"x", b"[1]"]])
def test_without_an_object_there_is_nothing_to_guess(samples: list[bytes]) -> None:
    with pytest.raises(TidegateError, match="None of the sample's lines is a JSON object"):
        infer_schema(samples)
