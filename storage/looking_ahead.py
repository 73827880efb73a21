"""Who enters and leaves a segment of a deployment by time alone: its shards at their last steps, moved on in memory.

Nothing is written: neither a file nor the database.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from segmentation.evaluate.shard import Shard
from segmentation.explain.forecasting import Forecast, forecast
from segmentation.types import NEVER
from storage import postgres
from storage.disk import StorageError
from storage.one_user import TRIES, Deployed, NotSaved, Replay, now_of, standing_of
from storage.standing import Standing


def look_ahead(
    url: str, storage_url: Path, what: Deployed, segment: str, within: int, most: int, replay: Replay | None = None,
    progress: Callable[[int, int], None] = lambda done, shards: None,
) -> Forecast:  # fmt: skip
    """within: µs, from where the shard that is furthest is; most: entries and exits that are named at most. progress:
    told before each shard how many are done, and how many there are.

    Raises NotSaved, DatabaseError."""
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        for tries in range(1, TRIES + 1):
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                found = [standing_of(connection, what, shard) for shard in range(what.shards)]
                row = connection.execute("SELECT max(watermark) FROM tidegate.shards").fetchone()
            furthest = NEVER if row is None or row[0] is None else int(row[0])
            if furthest <= NEVER:
                return Forecast(NEVER)
            behind: list[str] = []
            try:
                shards = _shards(storage_url, what, found, replay, progress, behind)
                told = forecast(shards, what.plan.names.index(segment), furthest - 1 + within, most)
                return replace(told, behind="".join(sorted(set(behind))[:1]))
            except StorageError as error:
                # The engine deletes a file once the next state is recorded.
                now = [standing_of(connection, what, one.shard).record for one in found]
                if tries == TRIES or now == [one.record for one in found]:
                    raise NotSaved(f"{error} Ask where storage_url ({storage_url}) is the engine's.") from None
    raise AssertionError("the last try raises")


def _shards(
    storage_url: Path, what: Deployed, found: Sequence[Standing], replay: Replay | None,
    progress: Callable[[int, int], None], behind: list[str],
) -> Iterator[Shard]:  # fmt: skip
    for done, one in enumerate(found):
        progress(done, len(found))
        shard, _, why = now_of(storage_url, what, one, replay)
        behind += [why] if why else []
        yield shard
