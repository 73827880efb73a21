"""The stateful step: Bytewax's side of a shard.

Its state is not given to Bytewax: the database knows the saved state and the steps since (see
storage.engine_state), so `snapshot` is empty and Bytewax's recovery store may be on or off.
`on_notify` only wakes a shard to commit; it gives no time to anything that counts.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from bytewax.operators import StatefulBatchLogic

from flows import clock
from flows.engine import Engine
from flows.items import ShardPoll, Work
from flows.shard_runner import ShardRunner

Result = tuple[Iterable[Work], bool]


class ShardLogic(StatefulBatchLogic[list[ShardPoll], Work, None]):
    """One per key; which shard it is, its first item says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runner: ShardRunner | None = None

    def on_batch(self, batches: list[list[ShardPoll]]) -> Result:
        items = [item for batch in batches for item in batch]
        if items[0].shard < 0:  # the key of a worker, not of a shard
            self._engine.end(f"another process of the cluster ends: {items[0].why}")
            return [], StatefulBatchLogic.RETAIN
        began = clock.now_us()
        result = self._guarded(lambda: self._opened(items[0].shard).take(items, began))
        self._engine.pace.took(clock.now_us() - began)
        return result

    def on_notify(self) -> Result:
        runner = self._runner
        return self._guarded(lambda: runner.tick(clock.now_us()) if runner is not None else [])

    def on_eof(self) -> Result:
        return self._guarded(self._end)

    def notify_at(self) -> datetime | None:
        due = self._runner.due_us() if self._runner is not None else None
        return clock.as_datetime(due) if due is not None else None

    def snapshot(self) -> None:
        return None

    def _opened(self, shard: int) -> ShardRunner:
        if self._runner is None:
            self._runner = self._engine.runner(shard)
        return self._runner

    def _end(self) -> list[Work]:
        runner, goal = self._runner, self._engine.goal
        if runner is None:
            return []
        now = clock.now_us()
        finished = []
        # The input also ends where another process of the cluster was lost: then time must not end.
        read = not self._engine.ending and (runner.catching_up or runner.has_read(self._engine.ends))
        if goal.until_end and read:
            finished = runner.rest(now) if goal.finish_at is None else runner.finish(goal.finish_at, now)
        return [*finished, *runner.end(now)]

    def _guarded(self, call: Callable[[], list[Work]]) -> Result:
        work: list[Work] = []
        self._engine.guarded(lambda: work.extend(call()))
        return work, StatefulBatchLogic.RETAIN
