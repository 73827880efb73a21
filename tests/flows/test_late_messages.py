"""Messages that were too late are fetched once more for their dead letters: all of them, soon, also after a pause."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from flows.engine import Engine
from flows.late_messages import late_letters
from segmentation.errors import TidegateError
from storage.settings import Settings, load
from tests.fix_kafka import new_topic, produce


class Here:
    """As much of an engine as is needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.stop = settings, threading.Event()

    @property
    def ending(self) -> bool:
        return self.stop.is_set()


def here(bootstrap: str, topic: str) -> Engine:
    return Here(load(kafka=bootstrap, events_topic=topic))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def topic(embedded_broker: str) -> Iterator[str]:
    topic = new_topic(embedded_broker, "late", 2)
    for partition in (0, 1):
        messages = [(f"k{n}", f"{partition}-{n}".encode()) for n in range(5_000)]
        produce(embedded_broker, topic, messages, partition=partition, headers={"trace": b"\xff"})
    yield topic


def test_a_crowd_is_read_in_one_go(embedded_broker: str, topic: str) -> None:
    wanted = [(partition, offset, "") for offset in range(4_999, -1, -1) for partition in (0, 1)]
    began = time.monotonic()
    letters = late_letters(here(embedded_broker, topic), wanted)
    took = time.monotonic() - began
    assert [(x.partition, x.offset, "") for x in letters] == sorted(wanted)
    assert all(x.value == f"{x.partition}-{x.offset}".encode() for x in letters)
    assert letters[17].key == b"k17" and list(letters[17].headers) == [("trace", b"\xff")]
    assert took < 10, f"{took:.1f} s for {len(wanted)} messages"


@pytest.mark.parametrize("offsets", [[0], [4_999], [0, 1, 2_500, 2_501, 4_999], list(range(0, 5_000, 1_250))])
def test_gaps_are_jumped_over(embedded_broker: str, topic: str, offsets: list[int]) -> None:
    letters = late_letters(here(embedded_broker, topic), [(1, offset, "") for offset in offsets])
    assert [x.value for x in letters] == [f"1-{offset}".encode() for offset in offsets]


def test_what_is_gone_leaves_a_letter_without_a_value(embedded_broker: str, topic: str) -> None:
    letters = late_letters(here(embedded_broker, topic), [(0, 4_998, ""), (0, 7_000, "u"), (1, 3, "")])
    assert [x.users for x in letters] == [["k4998", ""], ["u"], ["k3", ""]]
    assert [(x.offset, x.value) for x in letters] == [(4_998, b"0-4998"), (7_000, None), (3, b"1-3")]


@pytest.mark.kafka
def test_deleted_messages_do_not_hold_the_others_up(apache_kafka: str) -> None:
    topic = new_topic(apache_kafka, "late", 1)
    produce(apache_kafka, topic, [(None, f"{n}".encode()) for n in range(3_000)])
    admin = AdminClient({"bootstrap.servers": apache_kafka, "log_level": 0})
    admin.delete_records([TopicPartition(topic, 0, 2_000)])[TopicPartition(topic, 0)].result(30)
    began = time.monotonic()
    letters = late_letters(here(apache_kafka, topic), [(0, offset, "") for offset in range(3_000)])
    assert [x.value for x in letters] == [None] * 2_000 + [f"{n}".encode() for n in range(2_000, 3_000)]
    assert time.monotonic() - began < 10


def test_a_broker_that_is_away_is_waited_for(unreachable: str) -> None:
    """A letter without its value would be a loss; who stops meanwhile finds the message again later."""
    engine = here(unreachable, "events")
    engine.stop.set()
    with pytest.raises(TidegateError, match=unreachable):
        late_letters(engine, [(0, 1, "")])


@pytest.fixture
def unreachable() -> Iterator[str]:
    with socket.socket() as held:  # bound and not listening
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
