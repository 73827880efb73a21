"""A stored membership to ask about, written by the writer that the engine uses.

ann is in both segments, bob in none, and nobody else was ever seen.
"""

from collections.abc import Sequence

from segmentation.compile.tree import Definition, Select
from storage.engine_state import EngineRecord, prepare, take_over
from storage.writer import ShardWriter
from tests.storage.world import START, World, forget

LAPSED = """SELECT user_id
FROM events
WHERE channel <> 'store'
GROUP BY user_id
HAVING arg_max(region, event_time) = 'California'
   AND count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '30 days') = 0
   AND user_id NOT IN (SELECT user_id FROM segments.big_spenders)"""
SPENDERS = "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) > 100"

ANYBODY = Select(None, None)  # nothing is evaluated here
DEFINITIONS = [
    Definition("big_spenders", "big_spenders.sql", SPENDERS, ANYBODY, "spent over 100", "growth", ("money", "top")),
    Definition("lapsed_californians", "lapsed_californians.sql", LAPSED, ANYBODY),
]
NAMES = [definition.name for definition in DEFINITIONS]
BIG, LAPSED_CALIFORNIANS = range(2)


class Shop:
    """`move` commits a step in which each (user, segment numbers) flips, `advance` µs after START."""

    def __init__(self, url: str) -> None:
        record = EngineRecord.of(DEFINITIONS, "plan", "schema", 1, {})
        segments = prepare(url, record, DEFINITIONS)
        self.url, self.world = url, World(NAMES, 1)
        self._writer = ShardWriter(url, {0: take_over(url, [0])[0].token}, segments)

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def move(self, moves: Sequence[tuple[str, Sequence[int]]], advance: int = 0) -> None:
        self._writer.write([self.world.step(0, [(user, numbers, advance, True) for user, numbers in moves])])

    def erase(self, user: str) -> None:
        forget(self.world, user)
        self._writer.write([self.world.step(0, [], erased=[(user, START)])])

    def fill(self) -> None:
        self.move([("ann", [BIG, LAPSED_CALIFORNIANS]), ("bob", [])], advance=7)


__all__ = ["BIG", "LAPSED", "LAPSED_CALIFORNIANS", "NAMES", "START", "Shop"]
