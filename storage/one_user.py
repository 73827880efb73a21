"""One user of a deployment: his history, and what was stored of him, as of the last step that his shard has committed.

The engine's saved state, moved on by the steps that are recorded since, as a restarted engine would do it. They need
the messages, which are Kafka's: `Replay` is given by who reaches it (flows.present). Where they cannot be had, the
answer is as of the saved state, and says so. PostgreSQL says what the membership was at that step.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from segmentation.compile import compile_files
from segmentation.compile.explain import looks_back_for_ever
from segmentation.compile.plan import Plan, structure
from segmentation.compile.tree import Definition
from segmentation.errors import TidegateError
from segmentation.evaluate.looking import Alone
from segmentation.evaluate.shard import Shard
from segmentation.events.schema import Schema
from segmentation.explain.arrivals import Arrival
from segmentation.explain.arriving import event_types, unless
from segmentation.explain.explaining import Contradiction, Explanation, explain
from segmentation.explain.from_state import Kept, explain_state
from segmentation.reference_users import Event, Version, latest
from segmentation.shards import shard_of
from segmentation.state.dump import unpack
from storage import deployments, postgres
from storage.audit.columns import KNOWN_AT, TIME, VERSION
from storage.audit.sample import Sample, Saved, User
from storage.audit.stored import Moved, read_stored
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.disk import StorageError
from storage.engine_state import read_engine
from storage.migrate import check_migrated
from storage.postgres import Connection
from storage.reservoir import Reservoir, columns_of, kept_columns
from storage.standing import Standing, read_standing

#: A state that the engine replaces while it is read is looked for again, so often.
TRIES = 3
_NOT_ASKED = "what the engine has committed since it saved its state was not asked for."
_FOR_EVER = 1 << 60  # µs
OTHER_DEFINITIONS = (
    "the state that the engine saved last is of other definitions than those deployed now. Ask again once it has "
    "saved one of these (every `checkpoint_every` seconds, of very many users up to ten times as much)."
)


class NotSaved(TidegateError):
    """There is no state to look at, or not here; the message says why, and what to do."""


class NotReplayed(TidegateError):
    """The steps since the saved state cannot be run: why."""


class NotWhole(TidegateError):
    """Events that the answer depends on are not kept any more."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the engine answers by. options: its settings that change the meaning (EngineRecord). shards: how many there
    are."""

    version: int
    files: dict[str, str]
    schema: Schema
    plan: Plan
    options: Mapping[str, str]
    shards: int

    @property
    def live(self) -> bool:
        """Whether its clock is the wall clock."""
        return self.options.get("clock", "live") == "live"

    def definition(self, segment: str) -> Definition | None:
        return next((one for one in self.plan.segments if one.name == segment), None)


class Replay(Protocol):
    """Runs the steps that `standing` records on `shard`, which is as it was saved. Raises NotReplayed."""

    def __call__(self, what: Deployed, standing: Standing, shard: Shard) -> None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One user as of `at` (µs). behind: empty, or why what was committed since is not in it. arrivals: all that is kept
    of him, those that count later too; whole: is that everything there ever was? member, since (µs; since_pruned: it is
    not stored any more), held: what is stored of the segment that was asked for, None if that cannot be said any more.
    known False: nothing has arrived of him. complete_since: µs, of a segment that does not count what is older. shard:
    where it is not whole, or there is such a time, the engine's."""

    known: bool
    at: int
    whole: bool
    arrivals: list[Arrival]
    member: bool | None = None
    held: bool = False
    since: int | None = None
    since_pruned: bool = False
    complete_since: int | None = None
    shard: Shard | None = None
    behind: str = ""


def deployed(url: str) -> Deployed:
    """Raises NotSaved where no engine has run, DatabaseError."""
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        check_migrated(connection, where)
        found, engine = deployments.read_deployed(connection), read_engine(connection)
    if found is None or engine is None:
        raise NotSaved(f"no engine has run on the database {where}. Give the engine's settings, or files.")
    folder = found.folder
    plan = compile_files(folder.files, folder.schema)
    return Deployed(found.version, folder.files, folder.schema, plan, engine.options, engine.shards)


def standing_of(connection: Connection, what: Deployed, shard: int) -> Standing:
    """Raises NotSaved."""
    found = read_standing(connection, shard)
    if found is None:
        raise NotSaved(
            f"the engine has saved no state of shard {shard} yet; it does so every `checkpoint_every` seconds, "
            "and when it ends. Ask again then."
        )
    if found.shards != what.shards:
        raise NotSaved("the number of shards has just become another one. Ask again.")
    return found


def state_of(storage_url: Path, what: Deployed, record: CheckpointRecord) -> Mapping[str, Any]:
    """What was saved, unpacked. Raises NotSaved where that is of other definitions, StorageError."""
    state: Mapping[str, Any] = unpack(CheckpointStore(storage_url).load(record))
    if state["structure"] != structure(what.plan):
        raise NotSaved(OTHER_DEFINITIONS)
    return state


def load_shard(storage_url: Path, what: Deployed, record: CheckpointRecord, state: Mapping[str, Any]) -> Shard:
    """The shard as it was saved. It writes nothing; what it is moved on by drops no event."""
    archive = Reservoir(storage_url, record.shard, 0, kept_columns(what.schema), read_only=True)
    lateness = round(float(what.options.get("lateness", 0)) * 1_000_000)
    horizon = round(float(what.options.get("dedupe_horizon", 0)) * 1_000_000) if what.live else None
    return Shard.load(state, what.plan, 0, lateness, horizon, what.live, archive, retention_us=_FOR_EVER)


def now_of(
    storage_url: Path, what: Deployed, found: Standing, replay: Replay | None
) -> tuple[Shard, CheckpointRecord, str]:
    """(the shard at its last step, or where it was saved; the record that says which it is; why it is not the last).

    Raises NotSaved, StorageError."""
    state = state_of(storage_url, what, found.record)
    shard = load_shard(storage_url, what, found.record, state)
    if not found.parts:
        return shard, found.record, ""
    if replay is None:
        return shard, found.record, _NOT_ASKED
    try:
        replay(what, found, shard)
    except NotReplayed as error:
        state = state_of(storage_url, what, found.record)  # the other one may have been moved on in part
        return load_shard(storage_url, what, found.record, state), found.record, str(error)
    return shard, replace(found.record, step=found.step), ""


def see(
    url: str, storage_url: Path, what: Deployed, user_id: str, segment: str, replay: Replay | None = None
) -> Seen:
    """Raises NotSaved, StorageError for a damaged file, DatabaseError."""
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        shard = shard_of(user_id, what.shards)
        for tries in range(1, TRIES + 1):
            found = standing_of(connection, what, shard)
            try:
                return _see(connection, storage_url, what, found, user_id, segment, replay)
            except StorageError as error:
                # The engine deletes a file once the next state is recorded.
                if tries == TRIES or standing_of(connection, what, shard).record == found.record:
                    raise NotSaved(f"{error} Ask where storage_url ({storage_url}) is the engine's.") from None
    raise AssertionError("the last try raises")


def _see(
    connection: Connection, storage_url: Path, what: Deployed, found: Standing, user_id: str, segment: str,
    replay: Replay | None,
) -> Seen:  # fmt: skip
    profile = {name: column.type for name, column in what.schema.users.items()}
    shard, record, behind = now_of(storage_url, what, found, replay)
    saved = Saved(storage_url, record, columns_of(what.schema), profile, unpack(shard.dump()))
    sample = saved.of_user(user_id)
    if sample is None:
        return Seen(False, saved.applied_to, True, [], behind=behind)
    (user,) = sample.users
    member, held = None, False
    try:
        stored = read_stored(connection, sample, what.plan.digest)
    except Moved:
        pass
    else:
        held = segment in stored.still
        told = user_id in stored.told and segment not in stored.held
        member = (user_id, segment) in stored.members if told else None
    arrivals = list(_arrivals(sample, what.schema))
    complete_since = _complete_since(connection, segment)
    seen = Seen(True, user.at, user.whole, arrivals, member, held, complete_since=complete_since, behind=behind)
    if user.whole and complete_since is None:
        return seen
    since, pruned = _since(connection, user, segment)
    return replace(seen, since=since, since_pruned=pruned, shard=shard)


def _complete_since(connection: Connection, segment: str) -> int | None:
    row = connection.execute(
        "SELECT (extract(epoch FROM complete_since) * 1000000)::bigint FROM tidegate.definitions WHERE name = %s",
        [segment],
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _since(connection: Connection, user: User, segment: str) -> tuple[int | None, bool]:
    """(µs of his last entry or exit by then, whether that may have been pruned)."""
    # Published numbers are not the engine's where something was held (storage.guarding).
    seq = "(%(seq)s + coalesce((SELECT shift FROM tidegate.seq_shifts WHERE user_id = %(user)s), 0))"
    row = connection.execute(
        f"""
        SELECT (extract(epoch FROM coalesce(t.at, m.since)) * 1000000)::bigint,
               EXISTS (SELECT FROM tidegate.pruned p WHERE p.position > 0)
        FROM tidegate.definitions s
        LEFT JOIN LATERAL (
            SELECT effective_at AS at FROM tidegate.transitions t
            WHERE t.user_id = %(user)s AND t.segment_id = s.id AND t.seq <= {seq} ORDER BY t.seq DESC LIMIT 1
        ) t ON true
        LEFT JOIN tidegate.members m ON m.segment_id = s.id AND m.user_id = %(user)s AND m.seq <= {seq}
        WHERE s.name = %(segment)s
        """.encode(),
        {"user": user.user_id, "seq": user.seq, "segment": segment},
    ).fetchone()
    if row is None or row[0] is not None:
        return (None if row is None else int(row[0])), False
    return None, user.seq > 0 and bool(row[1])


def _arrivals(sample: Sample, schema: Schema) -> Iterator[Arrival]:
    for row in _plain(sample.events).to_pylist():
        values = {name: row[name] for name in schema.events if name in row}
        event = Event(row["user_id"], row["event_id"], row["event_time"], values)
        yield Arrival(event, row[KNOWN_AT])
    for row in _plain(sample.versions).to_pylist():
        values = {name: row[name] for name in schema.users}
        yield Arrival(Version(row["user_id"], row[VERSION], row[TIME], values), row[KNOWN_AT])


def _plain(table: pa.Table) -> pa.Table:
    """Times as µs."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    return table


def explained(
    url: str, storage_url: Path, what: Deployed, definition: Definition, user_id: str, at: int | None, events_max: int,
    replay: Replay | None = None,
) -> Explanation:  # fmt: skip
    """at: µs; None for as far as is known. A later one: what will be if nothing arrives.

    Raises NotSaved, NotWhole, Contradiction, DatabaseError."""
    segment = definition.name
    seen = see(url, storage_url, what, user_id, segment, replay)
    moment = seen.at if at is None else at
    partly = seen.complete_since is not None or not seen.whole
    if partly and moment < seen.at:
        what_is_gone = f"events of {user_id!r} have been dropped, because no definition needs them any more"
        if seen.complete_since is not None:
            what_is_gone = f"{segment} does not count what is older than its history"
        raise NotWhole(
            f"{what_is_gone}: a past instant cannot be explained for certain. Leave --at out; the setting `retention` "
            "keeps events for longer."
        )
    endless = seen.complete_since is not None or segment in looks_back_for_ever(what.plan)
    if seen.shard is not None and endless:
        told = _of_state(what, seen, seen.shard, user_id, segment, moment)
    else:
        told = explain(definition, what.schema, user_id, seen.arrivals, moment, events_max)
    if moment == seen.at and seen.member not in (None, told.member):
        raise Contradiction(
            f"what is stored says that {user_id!r} is {'' if seen.member else 'not '}in {segment}, and the events say "
            "the contrary. `tidegate audit` looks further."
        )
    return replace(
        told, held=seen.held, complete_since=seen.complete_since, as_of=seen.at, behind=seen.behind,
        unless=unless(event_types(definition.query, told.events > 0 or not seen.whole)),
        since_pruned=seen.since_pruned and told.since is None,
    )


def _of_state(what: Deployed, seen: Seen, shard: Shard, user_id: str, segment: str, at: int) -> Explanation:
    known = [arrival.event for arrival in seen.arrivals if arrival.known_at <= at]
    events, profile = [event for event in known if not isinstance(event, Version)], latest(known)
    kept = Kept(
        user_id, seen.at, seen.since, len(events), len(seen.arrivals) - len(known),
        None if profile is None else profile.time,
    )  # fmt: skip
    return explain_state(lambda: Alone(shard, user_id), what.plan.names.index(segment), kept, at)
