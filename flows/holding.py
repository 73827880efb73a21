"""Watches over what the guard holds, in the first process: says what is held, and lets go what may go by itself."""

import logging
import threading
from contextlib import closing

from flows import metrics
from flows.engine import Engine
from segmentation.errors import TidegateError
from storage import postgres
from storage.guarding import limits_of
from storage.releasing import settle, tidy

log = logging.getLogger("tidegate.guard")

#: Between two looks, s; and every so many looks numbers that are not needed any more are forgotten.
LOOK_SECONDS, TIDY_LOOKS = 1.0, 60

_STANDING = """
    SELECT ARRAY(SELECT name FROM tidegate.definitions WHERE held_since IS NOT NULL ORDER BY name),
           ARRAY(SELECT DISTINCT unnest(silent) AS partition FROM tidegate.shards ORDER BY partition)
"""


def watch_holds(engine: Engine, end: threading.Event) -> None:
    """Until `end`. A database that is away is tried again."""
    limits = limits_of(engine.plan.segments, engine.settings.guard)
    before: tuple[list[str], list[int]] = [], []
    looks = 0
    while not end.wait(LOOK_SECONDS):
        try:
            for name, (entered, left) in settle(engine.url, engine.segments, limits).items():
                log.warning("segment %s is released: %d entered and %d left", name, entered, left)
            now = _standing(engine.url)
            if looks % TIDY_LOOKS == 0 and not now[0]:
                tidy(engine.url)
        except TidegateError as error:
            log.warning("%s", error)
            continue
        looks += 1
        _tell(before, now)
        before = now


def _standing(url: str) -> tuple[list[str], list[int]]:
    """Names of the segments that are held, and the silent partitions."""
    with (
        closing(postgres.connect(url, application="tidegate engine", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        ((held, silent),) = connection.execute(_STANDING.encode()).fetchall()
    return held, silent


def _tell(before: tuple[list[str], list[int]], now: tuple[list[str], list[int]]) -> None:
    metrics.segments_held.set(len(now[0]))
    metrics.partitions_silent.set(len(now[1]))
    if new := sorted(set(now[0]) - set(before[0])):
        log.warning(
            "held, because no events come and more of their members would flip by time alone than `guard` lets: %s. "
            "They go on by themselves when the events are back, or by `tidegate release`.", ", ".join(new),
        )  # fmt: skip
    if now[1] != before[1]:
        log.warning(
            "%s", f"no events come on partition {', '.join(map(str, now[1]))}" if now[1] else "events come again"
        )
