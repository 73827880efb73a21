"""What a load asks of a shard's present state: its users' numbers, who was erased, and which events it has had."""

from dataclasses import dataclass

import numpy as np

from segmentation.evaluate.arrivals import repeats
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Bool, Int64
from storage.backfill.repeats import Ids


@dataclass(slots=True)
class ShardLog:
    """users: how many numbers the shard has given."""

    shard: Shard
    users: int

    @staticmethod
    def of(shard: Shard) -> "ShardLog":
        return ShardLog(shard, len(shard.user_ids))

    def find(self, user_id: str) -> int:
        """-1: the shard does not know him."""
        return self.shard._users.find(user_id)

    def erased_until(self, user_id: str) -> int:
        """His events up to this time (µs) are not to come back; NEVER: he was not erased."""
        return self.shard.erasures.until(user_id)

    def repeats(self, user: Int64, time: Int64, ids: Ids) -> Bool:
        """bool[n]: rows that the shard has counted before."""
        out = np.zeros(len(time), np.bool_)
        known = np.flatnonzero(user < self.users)
        if not len(known):
            return out
        old = self.shard._log.same(user[known], time[known])
        near = known[np.isin(time[known], old["time"]) & np.isin(user[known], old["user"])]
        if not len(near):
            return out
        event_id = np.empty(len(near), object)
        event_id[:] = ids(near)
        out[near] = repeats(user[near], time[near], event_id, self.shard._log)
        return out
