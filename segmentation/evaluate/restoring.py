"""A saved state into an empty shard, those of earlier versions too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.evaluate.ranks import Front
from segmentation.state.kept import grown
from segmentation.types import NEVER

if TYPE_CHECKING:
    from segmentation.evaluate.shard import Shard


def restore(shard: "Shard", state: Mapping[str, Any]) -> None:
    """state: what `Shard.dump` packed, of the same plan."""
    shard.next_offset = dict(state["next_offset"])
    shard._high |= dict(state["high"])
    shard._partition |= dict(state["partition"])
    shard.watermark, shard._clock, shard._applied_to = state["watermark"], state["clock"], state["applied_to"]
    shard._users.restore(state["users"])
    shard._texts.restore(state["texts"])
    room = len(state["users"]) + 1024
    shard._newest, shard._applied = grown(state["newest"], room, NEVER), grown(state["applied"], room, NEVER)
    shard._reached, shard._seq = np.full(room, NEVER, np.int64), grown(state["seq"], room, 0)
    shard._had_event = np.zeros(room, np.bool_)
    # Those of versions before this one do not have it: then whoever was seen had an event.
    shard._had_event[: len(state["users"])] = state.get("had_event", state["applied"] > NEVER)
    shard._network.load(state["network"])
    shard._log.load(state["log"])
    if "dropped" not in state["log"] and shard._horizon is not None:  # before there was this, so much was kept
        shard._log.dropped_before = shard._kept_from(shard._horizon)
    shard._waiting = state["waiting"]
    if "erasures" in state:  # not in those of the version before
        shard.erasures.load(state["erasures"])
    if "homes" in state:
        shard._homes.load(state["homes"])
    shard._slicing.front = Front.of(state.get("front"))
    shard._index.since = state.get("since")
