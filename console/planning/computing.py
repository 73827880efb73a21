"""Members now and after, from the states that the engine saved last and the events that they name.

A shard's saved state stands at one place of the log. The state that the new definitions would have had there is
built from the archive (segmentation.evaluate.building), as the engine builds it when they are applied; the two are
compared user by user. So the numbers are exact at that place, which the report names, whatever happens meanwhile.
"""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.planning.model import Moves, Place, Sampled, Work
from segmentation.errors import TidegateError
from segmentation.evaluate.differences import Difference, differences
from segmentation.state.dump import unpack
from segmentation.types import Type
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.saved_state import records

if TYPE_CHECKING:
    from segmentation.compile.plan import Plan
    from segmentation.evaluate.shard import Shard
    from segmentation.events.schema import Schema
    from storage.settings import Settings

#: So often all is begun anew when an engine replaces files meanwhile.
_TRIES = 3

#: progress(rows done, rows in all); of all shards together.
Progress = Callable[[int, int], None]


class NotTold(TidegateError):
    """Members cannot be told now; the message says why, and what to do."""


@dataclass(slots=True)
class Found:
    """All shards together."""

    users: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    work: Work = Work(0, 0.0)
    since: dict[str, int] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)

    def moves(self) -> dict[str, Moves]:
        return {name: self._moves(name, one) for name, one in self.differences.items()}

    def _moves(self, name: str, one: Difference) -> Moves:
        enter, leave = ([Sampled(user, self.profiles.get(user, {})) for user in part] for part in self.samples[name])
        return Moves(
            name, one.now, one.after, len(one.enter), len(one.leave), enter, leave, self.since.get(name)
        )


@dataclass(frozen=True, slots=True)
class Task:
    """old, new: plans, with the schemas that they were compiled for; segments: whose members may differ."""

    old: "Plan"
    new: "Plan"
    old_schema: "Schema"
    new_schema: "Schema"
    segments: Sequence[str]
    sample: int


def compute(settings: "Settings", task: Task, progress: Progress) -> Found:
    """Raises NotTold where nothing is saved, or the saved states are not those of the deployed definitions."""
    url = settings.database_url.get_secret_value()
    for tries in range(1, _TRIES + 1):
        saved = records(url)
        if not saved:
            raise NotTold(
                "the engine has saved no state yet, so there are no archived events to compute from; it saves one every "
                f"`checkpoint_every` seconds ({settings.checkpoint_every:g}), and when it ends. Plan again then."
            )
        try:
            return _compute(settings, task, saved, progress)
        except StorageError as error:
            # The engine deletes a file once it is not needed by the next state.
            if tries == _TRIES or records(url) == saved:
                raise NotTold(
                    f"{error} Run this where storage_url ({settings.storage_url}) is the engine's."
                ) from None
    raise AssertionError("the last try raises")


def _compute(settings: "Settings", task: Task, saved: Sequence[CheckpointRecord], progress: Progress) -> Found:
    from segmentation.evaluate.building import build, rows_of

    found = Found(differences={segment: Difference() for segment in task.segments})
    states = [(record, unpack(CheckpointStore(settings.storage_url).load(record))) for record in saved]
    olds = [_loaded(settings, record, state, task) for record, state in states]
    total, done = sum(map(rows_of, olds)), 0

    def advance(rows: int) -> bool:
        nonlocal done
        done += rows
        progress(done, total)
        return True

    took = 0.0
    for (record, state), old in zip(states, olds):
        began = time.perf_counter()
        new = build(old, task.new, _archive(settings, record.shard, task.new_schema), progress=advance)
        took += time.perf_counter() - began
        users, here = differences(old, new, task.segments)
        found.users += users
        for segment, one in here.items():
            _add(found.differences[segment], one)
        found.places.append(Place(record.shard, record.step, old.watermark, dict(old.next_offset)))
    found.work = Work(total, took)
    found.samples = {segment: _samples(one, task.sample) for segment, one in found.differences.items()}
    _look_up_profiles(settings.storage_url, task, states, found)
    return found


def _loaded(settings: "Settings", record: CheckpointRecord, state: Mapping[str, Any], task: Task) -> "Shard":
    from segmentation.compile.plan import structure
    from segmentation.evaluate.shard import Shard

    if state["structure"] != structure(task.old):
        raise NotTold(
            "the states that the engine saved last are not of the deployed definitions: it is switching to others, or "
            "another version of Tidegate wrote them. Plan again when `tidegate status` finds nothing wrong."
        )
    archive = _archive(settings, record.shard, task.old_schema)
    return Shard.load(
        state, task.old, 0, settings.lateness_us, settings.dedupe_horizon_us, settings.clock == "live", archive,
        settings.retention_us,
    )  # fmt: skip


def _archive(settings: "Settings", shard: int, schema: "Schema") -> Any:
    from storage.reservoir import Reservoir, columns_of

    return Reservoir(settings.storage_url, shard, 0, columns_of(schema), read_only=True)


def _add(total: Difference, one: Difference) -> None:
    total.now += one.now
    total.after += one.after
    total.enter += one.enter
    total.leave += one.leave


def _samples(one: Difference, size: int) -> tuple[list[str], list[str]]:
    return heapq.nsmallest(size, one.enter), heapq.nsmallest(size, one.leave)


def _look_up_profiles(
    storage_url: Path, task: Task, states: Sequence[tuple[CheckpointRecord, Mapping[str, Any]]], found: Found
) -> None:
    from storage.saved_profiles import latest_profiles

    columns: dict[str, Type] = {name: column.type for name, column in task.old_schema.users.items()}
    users = {user for enter, leave in found.samples.values() for user in (*enter, *leave)}
    if columns and users:
        for record, state in states:
            found.profiles |= latest_profiles(storage_url, record.shard, state, users, columns)
