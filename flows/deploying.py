"""Another version of the definitions, taken up by the engine: built from the archive, then one switch for all shards.

`tidegate apply` writes the version (storage.deployments). The first process of a running engine sees it and ends the
flow in order, so that every shard is saved where it stands; whoever supervises starts the flow again, or the same
process does. Before that start, `take_up` makes every shard's state for the new definitions
(segmentation.evaluate.building) and one transaction makes them the valid ones and publishes the differences
(storage.rebuild). Until it is committed everybody reads the old membership, and a kill at any point leaves the old
version, to be tried again at the next start; after it, the new one. Offsets and watermarks stay: no event is counted
twice or not at all.

A shard that was not saved where it stands, after a kill, has recorded steps to run again. Then the engine starts with
the old version, catches up, and ends in order once more.
"""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from flows import clock, kafka
from flows.engine import NEW_SHARDS_FILES, Engine, meaning_of, wait_for_database
from flows.partitions import events_of, profiles_of, there_are
from flows.placement import Placement
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.errors import TidegateError
from segmentation.evaluate import building
from segmentation.evaluate.carrying import chosen
from segmentation.evaluate.history import Held, HistoryMissing, Missing, check_types, missing
from segmentation.evaluate.shard import Shard
from storage import deployments, engine_state, postgres, reservoir
from storage.checkpoints import CheckpointStore
from storage.column_history import columns_since
from storage.commits import CheckpointRecord
from storage.definitions_folder import DefinitionsFolder
from storage.deployments import Deployment, DeploymentError
from storage.engine_state import DefinitionsChanged, EngineRecord, checkpoint_of
from storage.rebuild import Rebuild
from storage.reservoir import Reservoir, kept_columns
from storage.settings import Settings

log = logging.getLogger("tidegate.deploying")

#: Between looks at whether there is a new version; between two words about how far its building is, s.
LOOK_SECONDS, TELL_SECONDS = 1.0, 1.0


def watch_deployments(engine: Engine, end: threading.Event) -> None:
    """Ends the flow when there is a version to be taken up, and all shards can be saved where they stand."""
    while not end.wait(LOOK_SECONDS):
        try:
            new = deployments.building(engine.url)
            if new is not None and not new.held and _fits(engine, new) and _caught_up(engine):
                engine.end(f"version {new.version} of the definitions is to be taken up")
                return
        except TidegateError as error:
            log.warning("%s", error)


def _fits(engine: Engine, new: Deployment) -> bool:
    """What can be known to be refused is withdrawn without ending the flow."""
    try:
        compile_files(new.folder.files, new.folder.schema)
        check_types(engine.decoder.schema, new.folder.schema)
    except TidegateError as error:
        deployments.withdraw(engine.url, new.version, str(error))
        log.warning("version %d was withdrawn: %s", new.version, error)
        return False
    return True


def _caught_up(engine: Engine) -> bool:
    """A shard of any process that has recorded steps to run again commits nothing before it has run them."""
    begun = engine.begun_at
    return all(
        not recorded or shard not in begun or step > begun[shard]
        for shard, (step, recorded, _) in _standing(engine.url).items()
    )


def take_up(settings: Settings, placement: Placement, stop: threading.Event) -> None:
    """Before a flow: switches to the version that is to be taken up, if there is one and all shards are saved.

    Done by the first process; the others wait for it. A version that cannot be built is withdrawn, with the reason.
    """
    url = settings.database_url.get_secret_value()
    wait_for_database(url, stop)
    while (new := _due(url)) is not None:
        if placement.process == 0:
            _switch(settings, new, stop)
            return
        if stop.wait(LOOK_SECONDS / 4):
            raise kafka.Stopped


def _due(url: str) -> Deployment | None:
    new = deployments.building(url)
    if new is None or new.held or any(recorded for _, recorded, _ in _standing(url).values()):
        return None
    return new


def _standing(url: str) -> dict[int, tuple[int, bool, CheckpointRecord | None]]:
    """By shard: its last step, whether there are steps to run again after its saved state, and that state."""
    with (
        closing(postgres.connect(url, application="tidegate engine", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        rows = connection.execute("SELECT shard, step, checkpoint FROM tidegate.shards ORDER BY shard").fetchall()
    saved = {shard: None if stored is None else checkpoint_of(stored) for shard, _, stored in rows}
    return {
        shard: (step, step > (0 if (record := saved[shard]) is None else record.step), saved[shard])
        for shard, step, _ in rows
    }


def _switch(settings: Settings, new: Deployment, stop: threading.Event) -> None:
    """Raises TidegateError where a new start goes on; what never would is the end of that version."""
    url = settings.database_url.get_secret_value()
    log.info("taking up version %d of the definitions, applied by %s", new.version, new.by)
    try:
        _Switch(settings, new, stop).run()
    except _Held as held:
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
    except Exception as error:
        reason = f"unexpected {type(error).__name__}: {error}. This is a defect of Tidegate: report it."
        deployments.withdraw(url, new.version, reason)
        log.exception("version %d was withdrawn", new.version)


class _Held(TidegateError):
    """More would change than may without somebody's word."""

    def __init__(self, version: int, limit: float, shares: Mapping[str, float], outcome: dict[str, tuple[int, int]]):
        self.outcome = outcome
        said = ", ".join(f"{name} ({share:.1f}%)" for name, share in sorted(shares.items()))
        super().__init__(
            f"Version {version} is held: of these segments more than {limit:g}% of the members would change: {said}. "
            "Nothing was changed. `tidegate apply --confirm` deploys it all the same, `--withdraw` takes it back."
        )


class _Switch:
    """One attempt, from the saved states to the commit."""

    def __init__(self, settings: Settings, new: Deployment, stop: threading.Event) -> None:
        self.settings, self.new, self.stop = settings, new, stop
        self.url = settings.database_url.get_secret_value()
        self.checkpoints = CheckpointStore(settings.storage_url)
        self.done = self.total = 0
        self.told_at = time.monotonic()

    def run(self) -> None:
        before = deployments.deployed(self.url)
        assert before is not None, "a version is applied to a database that has one"
        old_folder, folder = before.folder, self.new.folder
        old_plan, plan = (compile_files(each.files, each.schema) for each in (old_folder, folder))
        record = self._record(plan, folder)
        self._check_settings(self._record(old_plan, old_folder))
        check_types(old_folder.schema, folder.schema)
        known = engine_state.tokens(self.url, self.settings.shards)
        saved = {shard: found for shard, (_, _, found) in _standing(self.url).items()}
        olds = {number: self._loaded(number, found, old_plan, old_folder) for number, found in saved.items()}
        columns = columns_since(deployments.versions(self.url), folder.schema, clock.now_us())
        before_incomplete = self._incomplete_before()
        held = {number: building.held_by(old, columns, before_incomplete.keys()) for number, old in olds.items()}
        incomplete = self._incomplete(old_plan, plan, held, before_incomplete)
        self.total = sum(map(building.rows_of, olds.values()))
        self._tell()
        kept = kept_columns(folder.schema)
        shards = {}
        for number in sorted(olds):
            # Its files have numbers that an engine does not come to which takes that token if this is broken off.
            first = NEW_SHARDS_FILES * (1 + secrets.randbelow(90))
            archive = Reservoir(self.settings.storage_url, number, known[number] + 1, kept, first_number=first)
            old = olds.pop(number)
            shards[number] = building.build(
                old, plan, archive, self.settings.retention_us, held[number], self._progress
            )
        self._commit(record, plan, known, shards, saved, incomplete)

    def _incomplete_before(self) -> dict[str, str]:
        with (
            closing(postgres.connect(self.url, application="tidegate engine", autocommit=True)) as connection,
            postgres.foreign_errors(postgres.address(self.url)),
        ):
            return engine_state.read_complete_since(connection)

    def _incomplete(
        self, old_plan: Plan, plan: Plan, held: Mapping[int, Held], before: Mapping[str, str]
    ) -> dict[str, int]:
        """By segment, µs: where history is missing and that was allowed, now or when it was deployed."""
        found: dict[str, Missing] = {}
        for each in held.values():
            for name, one in missing(plan, each, chosen(old_plan, plan, each)).items():
                if name not in found or found[name].since < one.since:
                    found[name] = one
        if found and not self.new.allow_incomplete:
            now = {segment.name: engine_state.segment_digest(segment) for segment in plan.segments}
            refused = {name: one for name, one in found.items() if before.get(name) != now[name]}
            if refused:
                said = "; ".join(f"{name}: {one.why}" for name, one in sorted(refused.items()))
                raise HistoryMissing(
                    f"The history of {len(refused)} segment{'s' * (len(refused) > 1)} is not whole ({said}). Deploy "
                    "with --allow-incomplete, and answers say since when they are complete; or start the engine with "
                    "--rebuild, if the topic still reaches back."
                )
        return {name: one.since for name, one in found.items()}

    def _loaded(self, number: int, saved: CheckpointRecord | None, plan: Plan, folder: DefinitionsFolder) -> Shard:
        settings = self.settings
        archive = Reservoir(settings.storage_url, number, 0, kept_columns(folder.schema), read_only=True)
        live = settings.clock == "live"
        options = settings.lateness_us, settings.dedupe_horizon_us, live, archive, settings.retention_us
        if saved is not None:
            return Shard.load(self.checkpoints.load(saved), plan, 0, *options)
        found = there_are(settings, self.stop)
        shard = Shard(plan, events_of(found), *options)
        shard.add_partitions(events_of(found), profiles_of(found))
        return shard

    def _record(self, plan: Plan, folder: DefinitionsFolder) -> EngineRecord:
        meaning = meaning_of(self.settings)
        return EngineRecord.of(plan.segments, plan.digest, folder.schema.digest, self.settings.shards, meaning)

    def _check_settings(self, record: EngineRecord) -> None:
        with (
            closing(postgres.connect(self.url, application="tidegate engine", autocommit=True)) as connection,
            postgres.foreign_errors(postgres.address(self.url)),
        ):
            stored = engine_state.read_engine(connection)
        if stored is not None:
            engine_state.check_definitions(stored, record)

    def _progress(self, rows: int) -> bool:
        self.done += rows
        if time.monotonic() - self.told_at < TELL_SECONDS:
            return not self.stop.is_set()
        return not self.stop.is_set() and self._tell()

    def _tell(self) -> bool:
        """False where the version is not wanted any more."""
        self.told_at = time.monotonic()
        return deployments.tell(self.url, self.new.version, self.done, max(self.total, 1))

    def _commit(
        self, record: EngineRecord, plan: Plan, known: Mapping[int, int], shards: Mapping[int, Shard],
        saved: Mapping[int, CheckpointRecord | None], incomplete: Mapping[str, int],
    ) -> None:  # fmt: skip
        """All shards in one transaction: the new states are the valid ones, and the differences are transitions."""
        written: list[CheckpointRecord] = []
        try:
            with Rebuild(
                self.url, record, plan.segments, known, version=self.new.version, complete_since=incomplete
            ) as rebuild:
                for number, shard in shards.items():
                    differences = rebuild.apply_differences(number, shard.members(), max(shard.watermark, 0))
                    shard.restore_seq(rebuild.sequence_numbers(number))
                    before = saved[number]
                    offsets = {} if before is None else dict(before.offsets)
                    step = rebuild.next_step(number)
                    written.append(self.checkpoints.save(number, step, offsets, shard.dump()))
                    rebuild.finish(number, written[-1], shard.watermark)
                    log.info("shard %d: %d entered and %d left", number, differences.entered, differences.left)
                self._guard(rebuild)
        except TidegateError as error:
            if not error.passing:  # else it may have been committed
                self._discard(written, known)
            raise
        log.info("version %d of the definitions is answered by now", self.new.version)

    def _guard(self, rebuild: Rebuild) -> None:
        """Raises _Held, which undoes all of it."""
        limit = self.settings.guard
        too_much = {name: share for name, share in rebuild.shares().items() if share > limit} if limit else {}
        if too_much and self.new.confirmed_by is None:
            raise _Held(self.new.version, limit, too_much, dict(rebuild.outcome))

    def _discard(self, written: Sequence[CheckpointRecord], known: Mapping[int, int]) -> None:
        for record in written:
            self.checkpoints.remove(record)
        for number, token in known.items():
            reservoir.discard(self.settings.storage_url, number, token + 1, NEW_SHARDS_FILES)
