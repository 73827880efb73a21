"""From one version of the definitions to another: every shard's state is built, and one transaction switches.

    switch = Switch(settings, new, stop)
    switch.prepare()    # what cannot be built exactly is refused; saved states are taken, with files of their own
    switch.build()      # from the archive (segmentation.evaluate.building)
    switch.follow()     # what an engine has committed since; as often as one likes
    switch.commit()     # the rest of it, then the switch

An engine may run and answer by the old version until `commit`, and is shut out by it. A kill at any point leaves the
old version or, after the commit, the new one. Offsets and watermarks are the engine's: no event is counted twice or
not at all.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from flows import clock, kafka
from flows.engine import NEW_SHARDS_FILES, meaning_of
from flows.following import Following
from flows.partitions import events_of, profiles_of, there_are
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.errors import TidegateError
from segmentation.evaluate import building
from segmentation.evaluate.carrying import chosen
from segmentation.evaluate.history import HistoryMissing, check_types, counts_later, missing, of_all
from segmentation.evaluate.shard import Shard
from segmentation.types import FOREVER
from storage import deployments, engine_state, following, postgres, reservoir
from storage.checkpoints import CheckpointStore
from storage.column_history import columns_since
from storage.commits import CheckpointRecord
from storage.definitions_folder import DefinitionsFolder
from storage.deployments import Deployment, DeploymentError
from storage.disk import StorageError
from storage.engine_state import DefinitionsChanged, EngineRecord
from storage.following import Begun, NotKept
from storage.guarding import limits_of
from storage.linking import linked_state
from storage.postgres import Connection
from storage.rebuild import Rebuild
from storage.reservoir import Reservoir, kept_columns
from storage.settings import Settings

log = logging.getLogger("tidegate.deploying")

#: Between two words about how far the building is, s.
TELL_SECONDS = 1.0


class HeldBack(TidegateError):
    """More would change than may without somebody's word."""

    def __init__(
        self, version: int, shares: Mapping[str, tuple[float, float]], outcome: dict[str, tuple[int, int]]
    ) -> None:
        self.outcome = outcome
        said = ", ".join(f"{name} ({share:.1f}%, limit {limit:g}%)" for name, (share, limit) in sorted(shares.items()))
        super().__init__(
            f"Version {version} is held: of these segments more of the members would change than may: {said}. "
            "Nothing was changed. `tidegate apply --confirm` deploys it all the same, `--withdraw` takes it back."
        )


@contextmanager
def outcome(settings: Settings, new: Deployment, stop: threading.Event) -> Iterator[None]:
    """Around an attempt: a TidegateError is passed on where a new attempt may do; what never would is the end of that
    version, here."""
    url = settings.database_url.get_secret_value()
    try:
        yield
    except HeldBack as held:
        deployments.hold(url, new.version, held.outcome)
        log.warning("%s", held)
    except DeploymentError as error:
        deployments.withdraw(url, new.version, str(error))
        log.warning("%s", error)
    except building.Stopped:
        if stop.is_set():
            raise kafka.Stopped from None
        log.info("version %d was withdrawn while it was built", new.version)
    except DefinitionsChanged:
        log.info("version %d waits: the engine's settings are not those that its state was made with", new.version)
    except TidegateError as error:
        if error.passing:
            raise
        deployments.withdraw(url, new.version, str(error))
        log.error("version %d was withdrawn: %s", new.version, error)
    except kafka.Stopped:
        raise
    except Exception as error:
        reason = f"unexpected {type(error).__name__}: {error}. This is a defect of Tidegate: report it."
        deployments.withdraw(url, new.version, reason)
        log.exception("version %d was withdrawn", new.version)


class Switch:
    """One attempt. partitions: those that the running engine reads, where one runs.

    tokens: by shard, of the engine that is followed."""

    def __init__(
        self, settings: Settings, new: Deployment, stop: threading.Event, partitions: Sequence[int] | None = None
    ) -> None:
        self.settings, self.new, self.stop = settings, new, stop
        self.url = settings.database_url.get_secret_value()
        self.checkpoints = CheckpointStore(settings.storage_url)
        self.done = self.total = 0
        self.tokens: dict[int, int] = {}
        self._partitions = partitions
        self._told_at = time.monotonic()
        self._begun: dict[int, Begun] = {}
        self._archives: dict[int, Reservoir] = {}
        self._olds: dict[int, Shard] = {}
        self._shards: dict[int, Shard] = {}
        self._following: Following | None = None

    def prepare(self) -> None:
        """DeploymentError, HistoryMissing where it cannot be built; nothing is changed."""
        before = deployments.deployed(self.url)
        assert before is not None, "a version is applied to a database that has one"
        self._old_folder, self._folder = before.folder, self.new.folder
        self._old_plan, self._plan = (
            compile_files(each.files, each.schema) for each in (self._old_folder, self._folder)
        )
        self._check_settings(self._record(self._old_plan, self._old_folder))
        check_types(self._old_folder.schema, self._folder.schema)
        with self._connected() as connection:
            for number in range(self.settings.shards):
                self._olds[number] = self._loaded(connection, number)
            before_incomplete = engine_state.read_complete_since(connection)
        # Columns that are new have values from the switch on, whenever that is.
        columns = columns_since(deployments.versions(self.url), self._folder.schema, FOREVER)
        self._held = of_all(building.held_by(old, columns, before_incomplete.keys()) for old in self._olds.values())
        self._missing = self._incomplete(before_incomplete)
        self.total = sum(map(building.rows_of, self._olds.values()))
        self._tell()

    def build(self) -> None:
        """building.Stopped where the version is not wanted any more."""
        for number in sorted(self._olds):
            old = self._olds.pop(number)
            self._shards[number] = building.build(
                old, self._plan, self._archives[number], self.settings.retention_us, self._held, self._progress,
                self.new.rebuilt if self._plan.digest == self._old_plan.digest else (),
            )
        self.done = self.total

    def follow(self) -> int:
        """Runs what the engine has committed by now; how many steps that were."""
        with self._connected() as connection:
            followed = self._followed()
            count = self._run(connection, followed)
            following.forget(connection, followed.steps)
        if not self._tell():
            raise building.Stopped("the state is not wanted any more.")
        return count

    def commit(self) -> None:
        """All shards in one transaction: the new states are the valid ones, and the differences are transitions."""
        written: list[CheckpointRecord] = []
        record, followed = self._record(self._plan, self._folder), self._followed()
        try:
            with Rebuild(
                self.url, record, self._plan.segments, self.tokens, version=self.new.version
            ) as rebuild:
                # From here on no engine commits.
                self._follow_to_the_end(followed)
                begins = building.begin_at(self._shards.values(), clock.now_us())
                rebuild.begins(begins, {name: min(since, begins) for name, since in self._missing.items()})
                for number, shard in self._shards.items():
                    differences = rebuild.apply_differences(number, shard.members(), max(shard.expired_to, 0))
                    shard.restore_seq(rebuild.sequence_numbers(number))
                    step = rebuild.next_step(number)
                    assert step == followed.steps[number] + 1, "every step was run"
                    written.append(self.checkpoints.save(number, step, followed.positions[number], shard.dump()))
                    rebuild.finish(number, written[-1], shard.expired_to)
                    log.info("shard %d: %d entered and %d left", number, differences.entered, differences.left)
                self._guard(rebuild)
        except TidegateError as error:
            if not error.passing:  # else it may have been committed
                for one in written:
                    self.checkpoints.remove(one)
                discard(self.settings, self.tokens)
            raise
        log.info("version %d of the definitions is answered by now", self.new.version)

    def close(self) -> None:
        if self._following is not None:
            self._following.close()

    def _follow_to_the_end(self, followed: Following) -> None:
        with self._connected() as connection:
            self._run(connection, followed)
            for number, there in following.reached(connection).items():
                shard = self._shards[number]
                found = {partition: shard.next_offset.get(partition) for partition in there.offsets}
                if (found, shard.expired_to) != (there.offsets, there.watermark):
                    raise AssertionError(
                        f"shard {number} was brought to {found}, watermark {shard.expired_to}, and the engine's stands "
                        f"at {there.offsets}, {there.watermark}"
                    )

    def _run(self, connection: Connection, followed: Following) -> int:
        try:
            return followed.run(following.steps_after(connection, followed.steps))
        except building.Stopped:
            raise
        except TidegateError as error:
            if error.passing:
                raise
            # Nothing is wrong with the version: messages that were counted are gone, from a compacted topic say.
            raise NotKept(f"{error} The version is built from a newer saved state.") from error

    def _followed(self) -> Following:
        if self._following is None:
            self._following = Following(self.settings, self._old_folder, self._shards, self._begun, self.stop)
        return self._following

    def _loaded(self, connection: Connection, number: int) -> Shard:
        """The saved state, with names of its own for its files; the engine may go on and delete those it had."""
        settings = self.settings
        kept, old_kept = kept_columns(self._folder.schema), kept_columns(self._old_folder.schema)
        begun = following.begin(connection, number)
        while True:
            self._begun[number], self.tokens[number] = begun, begun.token
            # Numbers that an engine does not come to which takes that token if this is broken off.
            first = NEW_SHARDS_FILES * (1 + secrets.randbelow(90))
            ours = Reservoir(settings.storage_url, number, begun.token + 1, kept, first_number=first)
            theirs = Reservoir(settings.storage_url, number, 0, old_kept, read_only=True)
            self._archives[number] = ours
            options = settings.lateness_us, settings.dedupe_horizon_us, settings.clock == "live", theirs
            if begun.checkpoint is None:
                there = self._partitions if self._partitions is not None else there_are(settings, self.stop)
                shard = Shard(self._old_plan, events_of(there), *options, settings.retention_us)
                shard.add_partitions(events_of(there), profiles_of(there))
                return shard
            try:
                state = linked_state(self.checkpoints, begun.checkpoint, theirs, ours)
            except StorageError:
                again = following.begin(connection, number)
                if again.checkpoint == begun.checkpoint:
                    raise
                begun = again
                continue
            shard = Shard.load(state, self._old_plan, 0, *options, settings.retention_us)
            self._grow(shard, begun)
            return shard

    def _grow(self, shard: Shard, begun: Begun) -> None:
        """A saved state has the partitions that there were then, and so have the steps after it: until the engine
        has run those, and saves anew with the first one that has more."""
        now = self._partitions
        if now is None or set(now) == set(shard.partitions):
            return
        assert begun.checkpoint is not None
        if begun.last_step > begun.checkpoint.step:
            raise NotKept("The partitions have become more; a state that was saved since then is waited for.")
        shard.add_partitions(events_of(now), profiles_of(now))

    def _incomplete(self, before: Mapping[str, str]) -> dict[str, int]:
        """By segment, µs: where history is missing and that was allowed, now or when it was deployed."""
        carried = chosen(self._old_plan, self._plan, self._held)
        found = missing(self._plan, self._held, carried)
        if found and not self.new.allow_incomplete:
            now = {segment.name: engine_state.segment_digest(segment) for segment in self._plan.segments}
            later = counts_later(self._old_plan, found, self._held)
            refused = {name: one for name, one in found.items() if before.get(name) != now[name] or name in later}
            if refused:
                said = "; ".join(f"{name}: {one.why}" for name, one in sorted(refused.items()))
                raise HistoryMissing(
                    f"The history of {len(refused)} segment{'s' * (len(refused) > 1)} is not whole ({said}). Deploy "
                    "with --allow-incomplete, and answers say since when they are complete; or start the engine with "
                    "--rebuild, if the topic still reaches back."
                )
        return {name: one.since for name, one in found.items()}

    def _record(self, plan: Plan, folder: DefinitionsFolder) -> EngineRecord:
        meaning = meaning_of(self.settings)
        return EngineRecord.of(plan.segments, plan.digest, folder.schema.digest, self.settings.shards, meaning)

    def _check_settings(self, record: EngineRecord) -> None:
        with self._connected() as connection:
            stored = engine_state.read_engine(connection)
        if stored is not None:
            engine_state.check_definitions(stored, record)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with (
            closing(postgres.connect(self.url, application="tidegate builder", autocommit=True)) as connection,
            postgres.foreign_errors(postgres.address(self.url)),
        ):
            yield connection

    def _progress(self, rows: int) -> bool:
        self.done += rows
        if time.monotonic() - self._told_at < TELL_SECONDS:
            return not self.stop.is_set()
        return not self.stop.is_set() and self._tell()

    def _tell(self) -> bool:
        """False where the version is not wanted any more. A database that is away does not end a long building."""
        self._told_at = time.monotonic()
        try:
            return deployments.tell(self.url, self.new.version, self.done, max(self.total, 1))
        except TidegateError as error:
            if not error.passing:
                raise
            log.warning("%s", error)
            return True

    def _guard(self, rebuild: Rebuild) -> None:
        """Raises HeldBack, which undoes all of it."""
        limits = {
            one.name: limit
            for plan in (self._old_plan, self._plan)
            for one, limit in zip(plan.segments, limits_of(plan.segments, self.settings.guard).percent)
        }
        too_much = {
            name: (share, limit)
            for name, share in rebuild.shares().items()
            if 0 < (limit := limits.get(name, 0)) < share
        }
        if too_much and self.new.confirmed_by is None:
            raise HeldBack(self.new.version, too_much, dict(rebuild.outcome))


def discard(settings: Settings, tokens: Mapping[int, int]) -> None:
    """Deletes the files of an attempt on top of these tokens that was not committed."""
    for number, token in tokens.items():
        reservoir.discard(settings.storage_url, number, token + 1, NEW_SHARDS_FILES)
