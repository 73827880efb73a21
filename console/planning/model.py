"""What `tidegate plan` has found out; `text`, `markdown` and `objects` say it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from segmentation.compile.changes import Change, Changes, of_file


@dataclass(frozen=True, slots=True)
class Sampled:
    """A user who enters or leaves, with the columns of the latest profile that are not NULL."""

    user_id: str
    profile: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Moves:
    """Of one segment. now, after: members; enter, leave: how many; complete_since: µs, None where no history is
    missing; accepted: that is so already of what is deployed, and so no reason for `apply` to refuse it."""

    segment: str
    now: int
    after: int
    enter: int
    leave: int
    enter_sample: list[Sampled] = field(default_factory=list)
    leave_sample: list[Sampled] = field(default_factory=list)
    complete_since: int | None = None
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """How far a shard had taken the log in the state that was computed from. as_of: µs, its watermark."""

    shard: int
    step: int
    as_of: int
    offsets: dict[int, int]


@dataclass(frozen=True, slots=True)
class Work:
    """What it took to build the new state: rows of the archive, and seconds, on this machine and one core."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StateCost:
    """Bytes per user of what has a fixed size; added: features that nothing deployed keeps; heavy: of those, what
    they keep without bound or in proportion to rows; dropped: how many features are not needed any more."""

    bytes_now: int
    bytes_after: int
    added: list[str]
    heavy: list[str]
    dropped: int


@dataclass(slots=True)
class Deployed:
    version: int
    by: str
    at: datetime


@dataclass(slots=True)
class Report:
    """folder: as a person types it. deployed: None where nothing is. moves: by segment, of the affected ones; empty
    where `unknown` says why members cannot be told. coming: what
    is on its way to be deployed; members_file: where all who enter and leave were written."""

    folder: str
    deployed: Deployed | None
    changes: Changes
    cost: StateCost
    users: int = 0
    moves: dict[str, Moves] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    work: Work | None = None
    unknown: str = ""
    coming: str = ""
    members_file: str = ""

    @property
    def differs(self) -> bool:
        return not self.changes.harmless or any(one.enter or one.leave for one in self.moves.values())

    def segments(self, change: Change) -> list[str]:
        """Those of a definition of which there is something to say: what may differ by what it means, or for lack of
        history."""
        return sorted({*change.affected} | {name for name in self.moves if of_file(name) == change.name})
