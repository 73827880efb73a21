"""Members now and after, from the states that the engine saved last and the events that they name.

A shard's saved state stands at one place of the log. The state that the new definitions would have had there is
built from the archive (segmentation.evaluate.building), as the engine builds it when they are applied; the two are
compared user by user. So the numbers are exact at that place, which the report names, whatever happens meanwhile.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.output import rfc3339
from console.planning.model import Moves, Place, Sampled, Work
from segmentation.errors import TidegateError
from segmentation.evaluate.differences import Difference, differences
from segmentation.state.dump import unpack
from segmentation.types import Kind, Type
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.disk import StorageError
from storage.engine_state import segment_digest
from storage.saved_state import records

if TYPE_CHECKING:
    from segmentation.compile.plan import Plan
    from segmentation.evaluate.shard import Shard
    from segmentation.events.schema import Schema
    from storage.settings import Settings

#: So often all is begun anew when an engine replaces files meanwhile.
_TRIES = 10

#: progress(share of the whole that is done, 0 to 1; rows of the archive so far).
Progress = Callable[[float, int], None]


class NotTold(TidegateError):
    """Members cannot be told now; the message says why, and what to do."""


@dataclass(slots=True)
class Found:
    """All shards together."""

    users: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    work: Work = field(default_factory=lambda: Work(0, 0.0))
    since: dict[str, int] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)

    def moves(self, sample: int) -> dict[str, Moves]:
        return {name: self._moves(name, one, sample) for name, one in self.differences.items()}

    def _moves(self, name: str, one: Difference, sample: int) -> Moves:
        enter, leave = (
            [Sampled(user, self.profiles.get(user, {})) for user in _first(users, sample)]
            for users in (one.enter, one.leave)
        )
        return Moves(
            name, one.now, one.after, len(one.enter), len(one.leave), enter, leave, self.since.get(name),
            name in self.accepted,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """old, new: plans, with the schemas that they were compiled for; segments: whose members may differ by what they
    mean; columns: from when on (µs) those have values that were declared later (storage.column_history);
    partial: of the deployed segments that are not whole, the digest."""

    old: "Plan"
    new: "Plan"
    old_schema: "Schema"
    new_schema: "Schema"
    segments: Sequence[str]
    sample: int
    columns: Mapping[str, int] = field(default_factory=dict)
    partial: Mapping[str, str] = field(default_factory=dict)


def compute(settings: "Settings", task: Task, progress: Progress) -> Found:
    """Raises NotTold where nothing is saved, or the saved states are not those of the deployed definitions."""
    _check_types(task)
    url = settings.database_url.get_secret_value()
    for tries in range(1, _TRIES + 1):
        saved = records(url)
        if not saved:
            raise NotTold(
                "the engine has saved no state yet, so there are no archived events to compute from; it saves one "
                f"every `checkpoint_every` seconds ({settings.checkpoint_every:g}), and when it ends. Plan again then."
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


def _check_types(task: Task) -> None:
    """Values in the archive have the type that was declared when they came."""
    was, is_ = task.old_schema, task.new_schema
    for section, old, new in (("events", was.events, is_.events), ("users", was.users, is_.users)):
        changed = [name for name in old.keys() & new.keys() if old[name].type != new[name].type]
        if changed:
            name = min(changed)
            raise NotTold(
                f"{section}.{name} was {old[name].type} and is to be {new[name].type}, and the archive has values of "
                f"the old type only. Declare another column with the same `path` ({name}_2, say), and read that one."
            )


def _compute(settings: "Settings", task: Task, saved: Sequence[CheckpointRecord], progress: Progress) -> Found:
    found = Found(differences={segment: Difference() for segment in sorted({*task.old.names, *task.new.names})})
    store = CheckpointStore(settings.storage_url)
    # All at once, for the engine deletes them soon; as bytes, for only one is wanted in full at a time.
    states = deque([(record, store.load(record)) for record in saved])
    while states:
        advance = partial(_advance, progress, len(saved) - len(states), len(saved))
        _add_shard(settings, task, *states.popleft(), advance, found)
    now = {one.name: segment_digest(one) for one in task.new.segments}
    found.accepted = {name for name in found.since if task.partial.get(name) == now[name]} - found.later
    # Others move only where their own history is not held any more.
    moved = {name for name, one in found.differences.items() if one.enter or one.leave}
    shown = moved | found.since.keys() | set(task.segments)
    found.differences = {name: one for name, one in found.differences.items() if name in shown}
    return found


def _advance(progress: Progress, number: int, shards: int, share: float, rows: int) -> None:
    progress((number + share) / shards, rows)


def _add_shard(
    settings: "Settings", task: Task, record: CheckpointRecord, data: bytes, progress: Progress, found: Found
) -> None:
    from segmentation.evaluate.building import build, held_by, rows_of
    from segmentation.evaluate.carrying import chosen
    from segmentation.evaluate.history import counts_later, missing

    state = unpack(data)
    old = _loaded(settings, record, state, task)
    total, rows_before, rows = rows_of(old), found.work.rows, 0

    def advance(more: int) -> bool:
        nonlocal rows
        rows += more
        progress(rows / max(1, total), rows_before + rows)
        return True

    held = held_by(old, task.columns, task.partial.keys())
    not_whole = missing(task.new, held, chosen(task.old, task.new, held))
    for name, one in not_whole.items():
        found.since[name] = max(one.since, found.since.get(name, one.since))
    found.later |= counts_later(task.old, not_whole, held)
    began = time.perf_counter()
    archive = _archive(settings, record.shard, task.new_schema)
    new = build(old, task.new, archive, settings.retention_us, held, advance)
    found.work = Work(rows_before + total, found.work.seconds + time.perf_counter() - began)
    users, here = differences(old, new, list(found.differences))
    found.users += users
    found.places.append(Place(record.shard, record.step, old.expired_to, dict(old.next_offset)))
    _look_up_profiles(settings.storage_url, task, record, state, here, found)
    for segment, difference in here.items():
        _add(found.differences[segment], difference)


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
    from storage.reservoir import Reservoir, kept_columns

    return Reservoir(settings.storage_url, shard, 0, kept_columns(schema), read_only=True)


def _add(total: Difference, one: Difference) -> None:
    total.now += one.now
    total.after += one.after
    total.enter += one.enter
    total.leave += one.leave


def _first(users: Sequence[str], size: int) -> list[str]:
    return heapq.nsmallest(size, users)


def _look_up_profiles(
    storage_url: Path, task: Task, record: CheckpointRecord, state: Mapping[str, Any], here: Mapping[str, Difference],
    found: Found,
) -> None:  # fmt: skip
    """Of the shard's users who may come to be shown."""
    from storage.saved_profiles import latest_profiles

    columns: dict[str, Type] = {name: column.type for name, column in task.old_schema.users.items()}
    users = {
        user for one in here.values() for part in (one.enter, one.leave) for user in _first(part, task.sample)
    }
    if columns and users:
        profiles = latest_profiles(storage_url, record.shard, state, users, columns)
        found.profiles |= {user: _readable(profile, columns) for user, profile in profiles.items()}


def _readable(profile: Mapping[str, Any], columns: Mapping[str, Type]) -> dict[str, Any]:
    return {
        name: rfc3339(value) if columns[name].kind is Kind.TIMESTAMPTZ else value for name, value in profile.items()
    }
