"""The engine's protections taken away, one at a time: a fault suite that stays green then proves nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flows import engine
from flows.relay_transactions import Transactions
from storage import writer
from storage.commits import Commit
from storage.engine_state import Takeover
from tests.torture.wrapping import wrap

Locked = Sequence[tuple[int, int, int, int]]


def without_fencing() -> None:
    """A writer whose shards somebody else has taken over goes on writing."""

    def blind(self: writer.ShardWriter, commits: Sequence[Commit], locked: Locked) -> Locked:
        return [(shard, self._tokens[shard], step, position) for shard, _, step, position in locked]

    _before_admission(blind)


def without_idempotence() -> None:
    """A commit whose answer was lost is stored once more; the tables' keys, the second lock, say nothing either."""

    def forgetful(self: writer.ShardWriter, commits: Sequence[Commit], locked: Locked) -> Locked:
        first = {commit.shard: commit.number - 1 for commit in reversed(commits)}
        return [(shard, token, first[shard], position) for shard, token, _, position in locked]

    _before_admission(forgetful)
    for name in ("TRANSITIONS", "INSERT", "STEPS"):
        setattr(writer, name, getattr(writer, name) + " ON CONFLICT DO NOTHING")

    def around(members: Callable[..., Any]) -> Callable[..., Any]:
        def unchecked(*given: Any) -> list[Any]:
            members(*given)
            return []

        return unchecked

    wrap(writer, "_members", around)


def without_replay() -> None:
    """A restarted shard goes on where the database is, from a state that is older."""

    def around(take_over: Callable[..., Any]) -> Callable[..., Any]:
        def hasty(*given: Any) -> dict[int, Takeover]:
            return {shard: _hurried(found) for shard, found in take_over(*given).items()}

        return hasty

    wrap(engine, "take_over", around)


def without_relay_record() -> None:
    """A relay that starts does not look in Kafka whether the last batch was sent."""
    wrap(Transactions, "sent", lambda sent: lambda self: None)


def _hurried(found: Takeover) -> Takeover:
    if found.checkpoint is None:
        return found
    return replace(found, steps=[], checkpoint=replace(found.checkpoint, offsets=found.offsets))


def _before_admission(change: Callable[[writer.ShardWriter, Sequence[Commit], Locked], Locked]) -> None:
    def around(admit: Callable[..., Any]) -> Callable[..., Any]:
        def admitted(self: writer.ShardWriter, commits: Sequence[Commit], shards: Sequence[int], locked: Locked) -> Any:
            return admit(self, commits, shards, change(self, commits, locked))

        return admitted

    wrap(writer.ShardWriter, "_admit", around)


OFF: dict[str, Callable[[], None]] = {
    "fencing": without_fencing, "idempotence": without_idempotence, "replay": without_replay,
    "relay_record": without_relay_record,
}  # fmt: skip
