"""How far the shards of every process are, asked of the database."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from flows.pace import Pace
from segmentation.errors import TidegateError
from segmentation.events.rows import PROFILES
from segmentation.types import NEVER
from storage import postgres
from storage.engine_state import read_engine
from storage.postgres import Connection

log = logging.getLogger("tidegate.engine")

#: Between looks at the other processes' shards, s.
FOLLOW_SECONDS = 0.1
TO_THE_END = 1 << 62


@dataclass(frozen=True, slots=True)
class Progress:
    """committed: first offset not committed yet, per partition. saved: that of the saved state; None: no state.

    token: of the shard's writer; step: the last one committed.
    """

    committed: dict[int, int]
    saved: dict[int, int] | None
    token: int = 0
    step: int = 0


def read_progress(connection: Connection) -> dict[int, Progress]:
    """By shard."""
    rows = connection.execute(
        "SELECT shard, offsets, checkpoint -> 'offsets', token, step FROM tidegate.shards"
    ).fetchall()
    return {
        shard: Progress(_offsets(offsets), None if saved is None else _offsets(saved), token, step)
        for shard, offsets, saved, token, step in rows
    }


def progress_of(url: str) -> dict[int, Progress]:
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        return read_progress(connection)


def _offsets(stored: dict[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in stored.items()}


def follow(url: str, pace: Pace, renewed: Callable[[Mapping[int, Progress]], bool], stop: threading.Event) -> None:
    """In a cluster: tells this process's source how far the other processes' shards are.

    Until `stop`, or until `renewed` says that the cluster is another one than this process's flow is
    part of. While the database is away nothing is told, and the source soon waits.
    """
    while not stop.is_set():
        try:
            with closing(
                postgres.connect(url, application="tidegate progress", wait=None, stop=stop, autocommit=True)
            ) as connection, postgres.foreign_errors(postgres.address(url)):
                while not stop.wait(FOLLOW_SECONDS):
                    found = read_progress(connection)
                    if renewed(found):
                        return
                    for shard, each in found.items():
                        pace.reached(shard, each.committed, each.step)
        except TidegateError as error:
            if not stop.is_set():
                log.warning("%s", error)
            stop.wait(1)


@dataclass(frozen=True, slots=True)
class Counted:
    """How far the stored membership of a shard goes: first offset not counted, per partition; its watermark, µs."""

    offsets: dict[int, int]
    watermark: int


def counted_of(url: str, meaning: Mapping[str, str], shards: int, partitions: Iterable[int]) -> list[Counted]:
    """By shard. If their number was another one, all as far as the furthest; of another topic, to its end.

    meaning: the present settings' (flows.engine.meaning_of)."""
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        stored = read_engine(connection)
        rows = connection.execute("SELECT offsets, watermark FROM tidegate.shards ORDER BY shard").fetchall()
    found = [Counted(_offsets(offsets), watermark) for offsets, watermark in rows]
    if stored is None or not found:
        return [Counted({}, NEVER)] * shards
    other = {name for name in ("topic", "profiles") if stored.options.get(name) != meaning.get(name)}
    if len(found) != shards:
        furthest = {p: max(each.offsets.get(p, 0) for each in found) for each in found for p in each.offsets}
        found = [Counted(furthest, max(each.watermark for each in found))] * shards
    end = {p: TO_THE_END for p in partitions if ("profiles" if p >= PROFILES else "topic") in other}
    return [Counted(each.offsets | end, each.watermark) for each in found]
