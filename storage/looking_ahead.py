"""Who enters and leaves a segment of a deployment by time alone: the states that were saved last, moved on in memory.

Nothing is written: neither a file nor the database. As of the saved states; what arrived since is not in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from segmentation.compile.plan import structure
from segmentation.evaluate.shard import Shard
from segmentation.explain.forecasting import Forecast, forecast
from segmentation.state.dump import unpack
from segmentation.types import NEVER
from storage import postgres
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.disk import StorageError
from storage.one_user import OTHER_DEFINITIONS, TRIES, Deployed, NotSaved, record_of
from storage.reservoir import Reservoir, kept_columns


def look_ahead(url: str, storage_url: Path, what: Deployed, segment: str, within: int, most: int) -> Forecast:
    """within: µs, from where the shard that is furthest is; most: entries and exits that are named at most.

    Raises NotSaved, DatabaseError."""
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        for tries in range(1, TRIES + 1):
            records = [record_of(connection, shard) for shard in range(what.shards)]
            row = connection.execute("SELECT max(watermark) FROM tidegate.shards").fetchone()
            furthest = NEVER if row is None or row[0] is None else int(row[0])
            if furthest <= NEVER:
                return Forecast(NEVER)
            try:
                shards = _loaded(storage_url, records, what)
                return forecast(shards, what.plan.names.index(segment), furthest - 1 + within, most)
            except StorageError as error:
                # The engine deletes a file once the next state is recorded.
                if tries == TRIES or [record_of(connection, one.shard) for one in records] == records:
                    raise NotSaved(f"{error} Ask where storage_url ({storage_url}) is the engine's.") from None
    raise AssertionError("the last try raises")


def _loaded(storage_url: Path, records: Sequence[CheckpointRecord], what: Deployed) -> Iterator[Shard]:
    expected = structure(what.plan)
    for record in records:
        state = unpack(CheckpointStore(storage_url).load(record))
        if state["structure"] != expected:
            raise NotSaved(OTHER_DEFINITIONS)
        archive = Reservoir(storage_url, record.shard, 0, kept_columns(what.schema), read_only=True)
        yield Shard.load(state, what.plan, 0, 0, None, what.live, archive)
