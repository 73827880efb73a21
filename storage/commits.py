"""What goes into one transaction of the engine: a shard's step with all its consequences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segmentation.errors import TidegateError
from segmentation.evaluate.step import Part, Step, Transitions
from segmentation.events.rows import Bool
from segmentation.events.whose import user_of_key


class Fenced(TidegateError):
    """Another engine took the shard over; this one must end without writing anything more."""


class StepGap(TidegateError):
    """A step number that does not follow the stored one: the writer was not resumed from the database."""

    passing = True


class Disagreement(TidegateError):
    """A commit contradicts the stored membership (enters a member, removes a stranger); nothing was stored."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as the database knows it; in lists at the place that the plan gives it."""

    id: int
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A state file and what it holds: the shard's state after `step`, offsets per partition.

    `digest` is that of the file's content, hex; `file` its name below the storage folder.
    """

    shard: int
    step: int
    file: str
    digest: str
    offsets: dict[int, int]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message with its origin. `topic`, `partition`, `offset` identify it; stored once. user_id: whose it
    is by what its value says, where that can be read (segmentation.events.whose); stamp: its Kafka timestamp, µs."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    reason: str
    detail: str
    user_id: str | None = None
    stamp: int | None = None

    @property
    def users(self) -> list[str]:
        """Whose it may be: whom its key names, then whom its value names."""
        return [user_id for user_id in (user_of_key(self.key), self.user_id) if user_id is not None]


@dataclass(slots=True)
class Commit:
    """One step of one shard; `number` is the stored one plus 1, the first is 1.

    `checkpoint` may be of this step or of an earlier one: from then on only later steps are
    recorded. `erased`: (user id, T µs), ahead of this commit's transitions and new users.
    `scattered`: how many of the shard's users have had events in several partitions, and some of them; None: as before.
    `dead_letters` may be given to any shard's commit, but each to one only.
    `by_silence`: of the transitions' messages, which are time's doing to users of a silent partition (flows.silence);
    None: none. `heard`: by partition, the clock of the last read that brought a message, µs, and `silent`: which
    partitions have said nothing for too long; None: as before.
    """

    shard: int
    number: int
    parts: Sequence[Part]
    watermark: int
    transitions: Transitions = field(default_factory=Transitions.none)
    new_users: Sequence[str] = ()
    dead_letters: Sequence[DeadLetter] = ()
    checkpoint: CheckpointRecord | None = None
    erased: Sequence[tuple[str, int]] = ()
    scattered: tuple[int, Sequence[str]] | None = None
    by_silence: Bool | None = None
    heard: Mapping[int, int] | None = None
    silent: Sequence[int] | None = None

    @staticmethod
    def of_step(
        shard: int,
        number: int,
        step: Step,
        dead_letters: Sequence[DeadLetter] = (),
        checkpoint: CheckpointRecord | None = None,
    ) -> "Commit":
        return Commit(
            shard, number, step.parts, step.watermark, step.transitions, step.new_users, dead_letters, checkpoint,
            step.erased,
        )
