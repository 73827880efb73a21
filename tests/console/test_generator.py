"""The shop's traffic: repeatable, in order, at the rate asked for, and believable."""

import itertools
import json
import random
from collections import Counter
from decimal import Decimal

import pytest

from loadtest.generator import DAY, MEAN_SESSION, SECOND, People, history, lapsing, person, session, traffic

NOW = 1_790_000_000 * SECOND
PEOPLE = People(5_000)


def test_same_seed_same_events_other_seed_others() -> None:
    def first(seed: int) -> list[object]:
        return list(itertools.islice(traffic(seed, NOW, 100, People(500)), 200))

    assert first(1) == first(1) != first(2)


def test_live_traffic_is_in_order_and_at_its_rate() -> None:
    events = list(traffic(3, NOW, 200, PEOPLE, until=NOW + 300 * SECOND))
    assert all(one.time <= other.time for one, other in itertools.pairwise(events))
    assert events[0].time >= NOW and events[-1].time < NOW + 300 * SECOND
    assert 150 < len(events) / 300 < 250
    assert len({event.event_id for event in events}) == len(events)


def test_mean_session_is_what_the_constant_says() -> None:
    chance = random.Random(5)
    count = 10_000
    mean = sum(len(session(PEOPLE.draw(chance), 0, "s", chance)) for _ in range(count)) / count
    assert mean == pytest.approx(MEAN_SESSION, rel=0.03)


def test_some_users_are_far_busier_than_others() -> None:
    chance = random.Random(6)
    counts = Counter(PEOPLE.draw(chance).user_id for _ in range(20_000))
    assert counts[person(0).user_id] > 20 * counts[person(400).user_id] > 0


def test_people_lapse_window_by_window_after_now() -> None:
    windows = [7 * DAY, 30 * DAY]
    last: dict[str, int] = {}
    for event in lapsing(1, NOW, windows, 1.0, 60, first_user=10_000):
        last[event.user_id] = event.time
    assert len(last) == 120
    for window in windows:
        assert sum(NOW - window <= time < NOW - window + 60 * SECOND for time in last.values()) == 60


def test_history_is_in_order_and_past() -> None:
    events = history(1, NOW, 40, 5_000, PEOPLE, [30 * DAY], 60)
    assert all(one.time <= other.time for one, other in itertools.pairwise(events))
    assert events[0].time >= NOW - 40 * DAY and events[-1].time < NOW
    assert len({event.event_id for event in events}) == len(events)


def test_messages_carry_exact_money_and_a_zone() -> None:
    bought = next(event for event in traffic(1, NOW, 200, PEOPLE) if event.event_type == "purchase")
    message = json.loads(bought.message(), parse_float=Decimal)
    assert Decimal(message["properties"]["amount"]) * 100 == bought.amount_cents
    assert message["event_time"].endswith("Z") and len(message["event_time"]) == 27
