"""When a partition says nothing: told from what steps record, and not by a clock of its own."""

from flows.items import ShardPoll
from flows.silence import Silence
from segmentation.evaluate.step import Part
from segmentation.events.rows import PROFILES

AFTER, LATENESS = 100, 7
END = 1_000


def read(partition: int, messages: int, clock: int, idle: bool) -> tuple[ShardPoll, Part]:
    """An idle partition's watermark follows the clock."""
    item = ShardPoll(0, END)
    return item, Part(partition, END + messages, clock, (clock if idle else clock - 60) - LATENESS)


def test_silence_begins_and_ends() -> None:
    silence = Silence(AFTER, LATENESS, {}, [])
    assert silence.step([read(0, 0, 500, True), read(1, 3, 500, False)]) == set(), "0 never had a message"
    assert silence.step([read(0, 0, 599, True), read(1, 0, 599, True)]) == set()
    assert silence.step([read(1, 0, 600, True)]) == {1}
    assert silence.news() == ({1: 500}, [1])
    assert silence.news() == (None, None), "as in the commit before"
    assert silence.step([read(0, 1, 700, False)]) == {1}, "another partition's message does not end it"
    assert silence.step([read(1, 0, 800, True), read(1, 1, 801, False)]) == {1}, "it was silent at the beginning"
    assert silence.step([read(1, 0, 802, True)]) == set()
    assert silence.news() == ({0: 700, 1: 801}, [])


def test_a_partition_that_is_not_read_to_its_end_is_not_silent() -> None:
    silence = Silence(AFTER, LATENESS, {1: 0}, [])
    assert silence.step([read(1, 0, 150, False)]) == set()
    assert silence.step([read(1, 0, 160, False)]) == {1}, "time has gone on so far nevertheless"


def test_it_goes_on_after_a_restart() -> None:
    silence = Silence(AFTER, LATENESS, {0: 500, 1: 500}, [1])
    assert silence.step([read(0, 2, 9_000, False)]) == {1}
    assert silence.step([read(1, 0, 9_001, True)]) == {1}
    assert silence.step([read(0, 0, 9_002, True)]) == {1}


def test_profiles_do_not_count_and_nobody_asks_without_a_guard() -> None:
    assert Silence(AFTER, LATENESS, {}, []).step([read(PROFILES, 1, 5, False), read(PROFILES, 0, 900, True)]) == set()
    off = Silence(0, LATENESS, {1: 5}, [1])
    assert off.step([read(1, 0, 900, True)]) == set()
    assert off.news() == ({}, []), "what was stored is forgotten"
