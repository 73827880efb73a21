"""One user of a deployment, as the state that the engine saved last knows him: his history, and what was stored of him.

It is as of one step that was committed: the saved state names its files, and PostgreSQL says what the membership was
then. What arrived since is not in it.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

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
from segmentation.explain.explaining import Contradiction, Explanation, explain
from segmentation.explain.from_state import Kept, explain_state
from segmentation.reference_users import Event, Version, latest
from segmentation.shards import shard_of
from storage import deployments, postgres
from storage.audit.sample import Sample, Saved, User
from storage.audit.stored import Moved, read_stored
from storage.commits import CheckpointRecord
from storage.disk import StorageError
from storage.engine_state import checkpoint_of, read_engine
from storage.migrate import check_migrated
from storage.postgres import Connection
from storage.reservoir import Reservoir, columns_of, kept_columns

#: A state that the engine replaces while it is read is looked for again, so often.
TRIES = 3
OTHER_DEFINITIONS = (
    "the state that the engine saved last is of other definitions than those deployed now. Ask again once it has "
    "saved one of these (every `checkpoint_every` seconds)."
)


class NotSaved(TidegateError):
    """There is no state to look at, or not here; the message says why, and what to do."""


class NotWhole(TidegateError):
    """Events that the answer depends on are not kept any more."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the engine answers by. live: whether its clock is the wall clock. shards: how many there are."""

    version: int
    files: dict[str, str]
    schema: Schema
    plan: Plan
    live: bool
    shards: int

    def definition(self, segment: str) -> Definition | None:
        return next((one for one in self.plan.segments if one.name == segment), None)


@dataclass(frozen=True, slots=True)
class Seen:
    """One user as of `at` (µs). arrivals: all that is kept of him, those that count later too; whole: is that
    everything there ever was? member, since (µs), held: what is stored of the segment that was asked for, None if that
    cannot be said any more. known False: nothing has arrived of him. complete_since: µs, of a segment that does not
    count what is older. shard: where it is not whole, or there is such a time, the engine's."""

    known: bool
    at: int
    whole: bool
    arrivals: list[Arrival]
    member: bool | None = None
    held: bool = False
    since: int | None = None
    complete_since: int | None = None
    shard: Shard | None = None


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
    return Deployed(
        found.version, folder.files, folder.schema, plan, engine.options.get("clock", "live") == "live", engine.shards
    )


def record_of(connection: Connection, shard: int) -> CheckpointRecord:
    row = connection.execute("SELECT checkpoint FROM tidegate.shards WHERE shard = %s", [shard]).fetchone()
    if row is None or row[0] is None:
        raise NotSaved(
            f"the engine has saved no state of shard {shard} yet; it does so every `checkpoint_every` seconds, "
            "and when it ends. Ask again then."
        )
    return checkpoint_of(row[0])


def see(url: str, storage_url: Path, what: Deployed, user_id: str, segment: str) -> Seen:
    """Raises NotSaved, StorageError for a damaged file, DatabaseError."""
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        shard = shard_of(user_id, what.shards)
        for tries in range(1, TRIES + 1):
            record = record_of(connection, shard)
            try:
                return _see(connection, storage_url, what, record, user_id, segment)
            except StorageError as error:
                # The engine deletes a file once the next state is recorded.
                if tries == TRIES or record_of(connection, shard) == record:
                    raise NotSaved(f"{error} Ask where storage_url ({storage_url}) is the engine's.") from None
    raise AssertionError("the last try raises")


def _see(
    connection: Connection, storage_url: Path, what: Deployed, record: CheckpointRecord, user_id: str, segment: str
) -> Seen:
    profile = {name: column.type for name, column in what.schema.users.items()}
    saved = Saved(storage_url, record, columns_of(what.schema), profile)
    if saved.structure != structure(what.plan):
        raise NotSaved(OTHER_DEFINITIONS)
    sample = saved.of_user(user_id)
    if sample is None:
        return Seen(False, saved.applied_to, True, [])
    (user,) = sample.users
    member, held = None, False
    try:
        stored = read_stored(connection, sample, what.plan.digest)
    except Moved:
        pass
    else:
        held = segment in stored.held
        member = (user_id, segment) in stored.members if user_id in stored.told and not held else None
    arrivals = list(_arrivals(sample, what.schema))
    complete_since = _complete_since(connection, segment)
    if user.whole and complete_since is None:
        return Seen(True, user.at, True, arrivals, member, held)
    archive = Reservoir(storage_url, record.shard, 0, kept_columns(what.schema), read_only=True)
    shard = Shard.load(saved.state, what.plan, 0, 0, None, what.live, archive)
    since = _since(connection, user, segment)
    return Seen(True, user.at, user.whole, arrivals, member, held, since, complete_since, shard)


def _complete_since(connection: Connection, segment: str) -> int | None:
    row = connection.execute(
        "SELECT (extract(epoch FROM complete_since) * 1000000)::bigint FROM tidegate.definitions WHERE name = %s",
        [segment],
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _since(connection: Connection, user: User, segment: str) -> int | None:
    """Of his last entry or exit by then, µs."""
    row = connection.execute(
        """
        SELECT (extract(epoch FROM t.effective_at) * 1000000)::bigint
        FROM tidegate.transitions t JOIN tidegate.definitions s ON s.id = t.segment_id
        WHERE t.user_id = %s AND s.name = %s AND t.seq <= %s ORDER BY t.seq DESC LIMIT 1
        """,
        [user.user_id, segment, user.seq],
    ).fetchone()
    return None if row is None else int(row[0])


def _arrivals(sample: Sample, schema: Schema) -> Iterator[Arrival]:
    for row in _plain(sample.events).to_pylist():
        values = {name: row[name] for name in schema.events if name in row}
        event = Event(row["user_id"], row["event_id"], row["event_time"], values)
        yield Arrival(event, row["known_at"])
    for row in _plain(sample.versions).to_pylist():
        values = {name: row[name] for name in schema.users}
        yield Arrival(Version(row["user_id"], row["version"], row["time"], values), row["known_at"])


def _plain(table: pa.Table) -> pa.Table:
    """Times as µs."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    return table


def explained(
    url: str, storage_url: Path, what: Deployed, definition: Definition, user_id: str, at: int | None, events_max: int
) -> Explanation:
    """at: µs; None for as far as is known. A later one: what will be if nothing arrives.

    Raises NotSaved, NotWhole, Contradiction, DatabaseError."""
    segment = definition.name
    seen = see(url, storage_url, what, user_id, segment)
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
    return replace(told, held=seen.held, complete_since=seen.complete_since)


def _of_state(what: Deployed, seen: Seen, shard: Shard, user_id: str, segment: str, at: int) -> Explanation:
    known = [arrival.event for arrival in seen.arrivals if arrival.known_at <= at]
    events, profile = [event for event in known if not isinstance(event, Version)], latest(known)
    kept = Kept(
        user_id, seen.at, seen.since, len(events), len(seen.arrivals) - len(known),
        None if profile is None else profile.time,
    )  # fmt: skip
    return explain_state(lambda: Alone(shard, user_id), what.plan.names.index(segment), kept, at)
