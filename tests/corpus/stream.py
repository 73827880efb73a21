"""A shop's events from a seed: some users in three partitions, late, tied and repeated, over a hundred days."""

import random
from decimal import Decimal
from typing import Any

from segmentation.events.rows import PROFILES
from segmentation.reference import Event, Version
from tests.oracle.grammar import START_US
from tests.oracle.strategies import PARTITIONS, Read
from tests.oracle.streams import numbered

SEED = 20260101
HOUR = 3_600_000_000
DAY = 24 * HOUR
USERS = 16
EVENTS = 160
LATENESS_US = 6 * HOUR
#: When every window has closed.
END = START_US + 240 * DAY

KINDS = [
    "page_viewed", "page_viewed", "product_viewed", "product_viewed", "add_to_cart", "purchase", "purchase", "purchase",
    "refund", "login", "support_ticket", "review", "signup",
]  # fmt: skip
URLS = ["/", "/Checkout", "/checkout/pay", "/help/refunds", "/help/hours", "/sofa", "/lamp", None]
REGIONS = ["California", "california", "Oregon", "Bavaria", None]
#: The branch in San Francisco, its surroundings, two other towns, and nowhere.
PLACES = [
    (37.7749, -122.4194), (37.7752, -122.4180), (37.8716, -122.2727), (48.1372, 11.5755), (34.0522, -118.2437),
    *[(None, None)] * 4,
]  # fmt: skip
AMOUNTS = [None, "9.99", "19.90", "35.00", "49.50", "60.00", "89.90", "99.99", "0.00", "-5.00"]


def reads(seed: int = SEED) -> list[Read]:
    """In the order in which they are read; each user's events in one partition, and versions of profiles in another."""
    draw = random.Random(seed)
    return numbered(sorted([*_events(draw), *_profiles(draw)], key=lambda read: read.clock))


def _profiles(draw: random.Random) -> list[Read]:
    """Most users have one, from the start or later, and some another one; so have some without events."""
    found = []
    for _ in range(36):
        clock = START_US + draw.choice([0, 0, *range(0, 100 * 24, 12)]) * HOUR
        joined = draw.choice([None, START_US - 90 * DAY, START_US, START_US + 31 * DAY - HOUR, clock])
        values = {
            "city_tier": draw.choice([None, 1, 1, 2, 3]), "country": draw.choice(["US", "DE", "DE", "CA", None]),
            "credit": draw.choice([None, Decimal("20.00"), Decimal("100.00"), Decimal("0.00")]),
            "vip": draw.choice([None, True, True, False]), "rating": draw.choice([None, 0.1, 0.5, 0.9]),
            "joined": joined,
        }  # fmt: skip
        version = Version(f"u{draw.randrange(USERS + 4):02}", "", clock - draw.choice([0, 0, 24]) * HOUR, values)
        found.append(Read(PROFILES, clock, records=[version]))
    return found


def _events(draw: random.Random) -> list[Read]:
    habits = [{"mobile": draw.random(), "buys": draw.random(), "talks": draw.random()} for _ in range(USERS)]
    moments = sorted(draw.choice(range(0, 100 * 24, 6)) for _ in range(EVENTS))
    found: list[Read] = []
    sent: list[tuple[int, Event]] = []
    for number, moment in enumerate(moments):
        clock = START_US + moment * HOUR
        user = draw.randrange(USERS) if draw.random() < 0.8 else draw.choice((0, 1, 2))
        late = draw.choice((0, 0, 0, 0, 0, 6, 30)) * HOUR
        event = Event(f"u{user:02}", f"{draw.choice('abc')}{number}", clock - late, _values(draw, habits[user], clock))
        if sent and draw.random() < 0.05:  # sent twice
            user, event = draw.choice(sent)
        sent.append((user, event))
        found.append(Read(user % PARTITIONS, clock, [event]))
    return found


def _values(draw: random.Random, habit: dict[str, float], clock: int) -> dict[str, Any]:
    kind = draw.choice(KINDS) if draw.random() > habit["buys"] / 2 else "purchase"
    money = kind in ("purchase", "refund", "add_to_cart")
    amount = draw.choice(AMOUNTS) if money else None
    bought = kind == "purchase"
    return {
        "event_type": kind,
        "region": draw.choice(REGIONS) if draw.random() < 0.5 else "California" if habit["talks"] < 0.3 else None,
        "url": draw.choice(URLS) if kind.endswith("viewed") else None,
        "device": "mobile" if draw.random() < habit["mobile"] else draw.choice(["desktop", "tablet", "desktop", None]),
        "source": draw.choice(["ad:search", "ad:video", "mail", "direct", None]),
        "amount": None if amount is None else Decimal(amount),
        "quantity": draw.choice([None, 1, 1, 2, 2, 3]) if money else None,
        "rating": draw.choice([0.5, 2.5, 3.5, 4.5, 5.0, None]) if kind == "review" else None,
        "gift": draw.random() < 0.3 if bought else None,
        "delivered_at": clock + draw.choice([1, 2, 5]) * DAY if bought and draw.random() < 0.7 else None,
    } | dict(zip(("latitude", "longitude"), draw.choice(PLACES)))
