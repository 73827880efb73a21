"""What the operators of one process share: settings, plan, positions, and the way to stop.

`Engine.open` does everything that must be done before the first read: definitions compiled and
compared with the stored ones, topics and database reached, this process's shards taken over.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows import clock, kafka
from flows.pace import Pace
from flows.partitions import bounds, create_topics, events_of, profiles_of, there_are
from flows.placement import Placement
from flows.progress import Progress, progress_of
from flows.save_costs import SaveCosts
from flows.shard_runner import Rules, ShardLike, ShardRunner
from flows.slices import FLIPS
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.errors import TidegateError
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.profiles import ProfileDecoder
from segmentation.types import Type
from storage import deployments, disk, postgres, reservoir
from storage.checkpoints import CheckpointStore
from storage.commits import Fenced, StoredSegment
from storage.definitions_folder import DefinitionsFolder, read_definitions
from storage.disk import StorageError
from storage.engine_state import EngineRecord, Takeover, prepare, take_over
from storage.migrate import check_migrated
from storage.reservoir import Reservoir, kept_columns
from storage.settings import Settings

if TYPE_CHECKING:
    from flows.beside import Beside

log = logging.getLogger("tidegate.engine")

#: Reads of one partition that may await their commit.
POLLS_IN_FLIGHT = 4
#: Bytes of all partitions that may await their commit; each has its share of it, but not less than the least.
BYTES_IN_FLIGHT, LEAST_BYTES = 128 << 20, 1 << 20
#: Reads without messages, of each partition, that may be sent while a shard commits nothing: some ten seconds' worth.
TICKS_IN_FLIGHT = 100

#: More files than an engine writes in its life.
NEW_SHARDS_FILES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """until_end: stop at the ends that the partitions have now; finish_at: then expire windows up to it, µs."""

    until_end: bool = False
    finish_at: int | None = None
    rebuild: bool = False


@dataclass(slots=True)
class Engine:
    """starts: per partition where to read from; ends: its end at the start, at least. columns: of the
    events, as the reservoir keeps them; writing: its thread. begun_at: every shard's last step at the start.

    stop: set from outside, by whoever wants the flow to drain and end. started: set when the flow
    runs, which in a cluster is when all processes are there. fatal: why it must not go on. again: why
    it ends, to be started again. on_end: called once when the flow ends for one of these two reasons. opened: set when
    all shards of this process are loaded; beside: who builds another version beside the flow.
    """

    settings: Settings
    placement: Placement
    goal: Goal
    plan: Plan
    decoder: Decoder
    profiles: ProfileDecoder
    segments: list[StoredSegment]
    starts: dict[int, int]
    ends: dict[int, int]
    takeovers: dict[int, Takeover]
    pace: Pace
    stop: threading.Event
    checkpoints: CheckpointStore
    columns: dict[str, Type]
    begun_at: dict[int, int] = field(default_factory=dict)
    save_costs: SaveCosts = field(default_factory=lambda: SaveCosts(time.thread_time_ns))
    writing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reservoir"))
    started: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    beside: "Beside | None" = None
    fatal: BaseException | None = None
    again: str | None = None
    on_end: Callable[[], None] = lambda: None
    _ending_at: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loaded: set[int] = field(default_factory=set)
    _closing: list[Callable[[], None]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.settings.clock == "live"

    @property
    def guards(self) -> bool:
        """Has any segment a limit to what may flip at one stroke?"""
        return any(self.settings.guard if one.guard is None else one.guard for one in self.plan.segments)

    @property
    def user_path(self) -> tuple[str, ...]:
        """Where in an event its user's id is."""
        return self.decoder.schema.events["user_id"].path

    @property
    def partitions(self) -> int:
        """Of the topic of events."""
        return events_of(self.starts)

    @property
    def profile_partitions(self) -> int:
        return profiles_of(self.starts)

    @property
    def ending(self) -> bool:
        """Nothing more is read, what has been read is committed."""
        return self.stop.is_set() or self.fatal is not None or self.again is not None

    def why_it_ends(self) -> str:
        """Empty while it does not."""
        return str(self.fatal or self.again or ("it was told to stop" if self.stop.is_set() else ""))

    def ending_seconds(self) -> float:
        """How long that has been known; 0 while it is not so."""
        if not self.ending:
            return 0.0
        if self._ending_at is None:
            self._ending_at = time.monotonic()
        return time.monotonic() - self._ending_at

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    @staticmethod
    def open(settings: Settings, placement: Placement, goal: Goal, stop: threading.Event) -> "Engine":
        """Raises TidegateError where the engine cannot start; kafka.Stopped when told to stop meanwhile."""
        if goal.finish_at is not None and settings.clock == "live":
            raise TidegateError("a time to finish at needs `clock: event`: with the live clock, time ends nowhere.")
        url = settings.database_url.get_secret_value()
        wait_for_database(url, stop)
        folder = _deployed(settings, url) or read_definitions(settings.definitions)
        plan = compile_files(folder.files, folder.schema)
        record = EngineRecord.of(
            plan.segments, plan.digest, folder.schema.digest, settings.shards, meaning_of(settings)
        )
        disk.check(settings.storage_url)
        create_topics(settings, stop)
        found = bounds(settings, there_are(settings, stop), stop)
        segments = prepare(url, record, plan.segments, folder.texts)
        takeovers = take_over(url, placement.shards_here(), settings.shards)
        if placement.process == 0:
            clean_beyond(settings, settings.shards)
        progress = progress_of(url)
        earliest = {partition: first for partition, (first, _) in found.items()}
        pace = Pace(
            range(settings.shards), POLLS_IN_FLIGHT * settings.poll_rows, share_of_bytes(len(found)),
            TICKS_IN_FLIGHT * len(found),
        )  # fmt: skip
        for shard, each in progress.items():
            pace.reached(shard, each.committed, each.step)
        return Engine(
            settings,
            placement,
            goal,
            plan,
            Decoder(folder.schema, settings.max_skew_us if settings.clock == "live" else None),
            ProfileDecoder(folder.schema),
            segments,
            starts_of(progress, earliest),
            {partition: end for partition, (_, end) in found.items()},
            takeovers,
            pace,
            stop,
            CheckpointStore(settings.storage_url),
            kept_columns(folder.schema),
            {shard: each.step for shard, each in progress.items()},
        )

    def new_shard(self, shard: int, token: int, partitions: int) -> Shard:
        """An empty one, that is to be stored with this token, the next one.

        Its files have numbers that an engine does not come to which takes that token if this is broken off."""
        settings = self.settings
        first = NEW_SHARDS_FILES * (1 + secrets.randbelow(90))
        archive = Reservoir(settings.storage_url, shard, token, self.columns, self.writing, first_number=first)
        return Shard(
            self.plan, partitions, settings.lateness_us, settings.dedupe_horizon_us, self.live, archive,
            settings.retention_us,
        )  # fmt: skip

    def runner(self, shard: int) -> ShardRunner:
        """The shard as its saved state has it, or empty; with the steps that are to be run again."""
        found = self.takeovers[shard]
        archive = Reservoir(self.settings.storage_url, shard, found.token, self.columns, self.writing)
        settings = self.settings
        options = settings.lateness_us, settings.dedupe_horizon_us, self.live, archive, settings.retention_us
        state: ShardLike
        if found.checkpoint is None:
            state = Shard(self.plan, self.partitions, *options)
            state.add_partitions(self.partitions, self.profile_partitions)
        else:
            # 0: with the partitions that it had when it was saved.
            state = Shard.load(self.checkpoints.load(found.checkpoint), self.plan, 0, *options)
        rules = Rules(
            round(self.settings.checkpoint_every * 1_000_000),
            self.partitions,
            max(1, POLLS_IN_FLIGHT * self.settings.poll_rows // 2),
            self.pace.quiet,
            self.pace.handed,
            self.profile_partitions,
            self.settings.guard_outage_us if self.guards else 0,
            self.settings.lateness_us,
            # With the clock of the events nothing comes, where no event does, that would take what is left.
            max(1, FLIPS // settings.shards) if self.live else None,
            self.pace.step,
            self.save_costs,
        )
        runner = ShardRunner(found, state, rules, clock.now_us())
        with self._lock:
            self._loaded.add(shard)
            if self._loaded >= self.takeovers.keys():
                self.opened.set()
        return runner

    def fail(self, error: BaseException) -> None:
        """The first one counts; the flow then ends without writing anything more."""
        error = self._cause(error)
        with self._lock:
            first = not (self.fatal or self.again)
            if self.fatal is None:
                self.fatal = error
                if not isinstance(error, TidegateError):
                    log.error("unexpected error", exc_info=error)
        if first:
            self.on_end()

    def _cause(self, error: BaseException) -> BaseException:
        """A file that cannot be read may be gone because another engine took over and has cleaned up."""
        return (self.shut_out() or error) if isinstance(error, StorageError) else error

    def shut_out(self) -> Fenced | None:
        """Whether another engine has taken a shard of this process's over, as far as the database can be asked."""
        try:
            found = progress_of(self.url)
        except TidegateError:
            return None
        for shard, mine in self.takeovers.items():
            # One more is a switch to another version (storage.rebuild), not an engine.
            if shard not in found or found[shard].token not in (mine.token, mine.token + 1):
                return Fenced(f"Shard {shard} was taken over by another engine. This one stops.")
        return None

    def end(self, why: str) -> None:
        """The flow drains and ends, and is to be started again; if it does not end for another reason already."""
        with self._lock:
            if self.ending:
                return
            self.again = why
        self.on_end()

    def on_close(self, call: Callable[[], None]) -> None:
        self._closing.append(call)

    def close(self) -> None:
        """After the flow has ended: nothing that was handed to the sink is left behind."""
        for call in self._closing:
            call()
        self.writing.shutdown(cancel_futures=True)

    def guarded(self, call: Callable[[], None]) -> None:
        """Runs what an operator does; an error stops the flow instead of tearing it apart."""
        if self.fatal is not None:
            return
        try:
            call()
        except Exception as error:
            self.fail(error)


def _deployed(settings: Settings, url: str) -> DefinitionsFolder | None:
    """What is answered by, whatever the folder says now; None before the first start, which deploys the folder."""
    found = deployments.deployed(url)
    if found is None:
        return None
    try:
        here = read_definitions(settings.definitions).texts
    except TidegateError as error:
        log.warning("the definitions are those of version %d: %s", found.version, error)
    else:
        names = sorted(name for name in here.keys() | found.files.keys() if here.get(name) != found.files.get(name))
        if names:
            log.warning(
                "%s differs from version %d, which is deployed, in: %s. `tidegate apply` deploys the folder.",
                settings.definitions, found.version, ", ".join(names),
            )  # fmt: skip
    return found.folder


def clean_beyond(settings: Settings, shards: int) -> None:
    """Deletes what is left of shards that do not exist. For who has taken some over, and so shut out a reshard
    that is under way."""
    CheckpointStore(settings.storage_url).clean_beyond(shards)
    reservoir.clean_beyond(settings.storage_url, shards)


def wait_for_database(url: str, stop: threading.Event) -> None:
    """Returns when it answers; kafka.Stopped when told to stop before. DatabaseError where it is not migrated."""
    try:
        with closing(postgres.connect(url, application="tidegate engine", wait=None, stop=stop)) as connection:
            check_migrated(connection, postgres.address(url))
    except TidegateError:
        if stop.is_set():
            raise kafka.Stopped from None
        raise


def share_of_bytes(partitions: int) -> int:
    return max(LEAST_BYTES, BYTES_IN_FLIGHT // max(1, partitions))


def meaning_of(settings: Settings) -> dict[str, str]:
    """The settings that change what is counted, so that a recorded step run again would differ."""
    meaning = {"clock": settings.clock, "topic": settings.events_topic, "lateness": f"{settings.lateness:g}"}
    if settings.profiles_topic != "profiles":  # what it was before there was a setting
        meaning["profiles"] = settings.profiles_topic
    if settings.clock == "live":
        meaning |= {"max_skew": f"{settings.max_skew:g}", "dedupe_horizon": f"{settings.dedupe_horizon:g}"}
    return meaning


def starts_of(progress: Mapping[int, Progress], earliest: Mapping[int, int]) -> dict[int, int]:
    """Where to read each partition from: where the least advanced saved state ends."""
    starts = {}
    for partition, first in earliest.items():
        known = [(each.saved or {}).get(partition) for each in progress.values()]
        starts[partition] = first if not known or None in known else min(at for at in known if at is not None)
    return starts
