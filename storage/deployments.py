"""Versions of the definitions folder: what is deployed, what was, and what is being built.

The database's newest complete version is what the engine answers by; the folder on its disk only says what the
very first one is. A version is written by `add` and taken up by the engine (flows.deploying), which makes it complete
in the transaction that switches (storage.rebuild).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from psycopg.types.json import Json

from segmentation.errors import TidegateError
from storage import postgres
from storage.definitions_folder import SCHEMA_FILE, DefinitionsFolder
from storage.postgres import Connection

T = TypeVar("T")

#: Who deployed what an engine found in its folder.
ENGINE = "engine"
#: And where it had run before there were versions.
UPGRADED = "engine, upgraded"
BUILDING, COMPLETE, WITHDRAWN = "building", "complete", "withdrawn"


class DeploymentError(TidegateError):
    """There is no such version, or another one is being built."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """files: bare name -> text, schema.yml included. by: who made it; at: when, in UTC. state: building, complete or
    withdrawn; reason: why it was withdrawn. rebuilt: segments to be computed anew though their meaning is the same.
    progress: (rows done, rows to do) while it is built; ready: only the switch is left. switched_at: when it
    became what is answered by; outcome: how many entered and left each segment then. held_since: when it was built,
    and held because outcome would be too much; confirmed_by: who wants it all the same. waited: how long events did
    for the switch, seconds. begins: events from then on are read with its schema; None: from switched_at on."""

    version: int
    files: dict[str, str]
    digest: str
    by: str
    at: datetime
    state: str
    reason: str | None = None
    rebuilt: tuple[str, ...] = ()
    allow_incomplete: bool = False
    progress: tuple[int, int] | None = None
    ready: bool = False
    switched_at: datetime | None = None
    outcome: dict[str, tuple[int, int]] = field(default_factory=dict)
    held_since: datetime | None = None
    confirmed_by: str | None = None
    waited: float | None = None
    begins: datetime | None = None

    @property
    def held(self) -> bool:
        """It waits for somebody to confirm or withdraw it."""
        return self.state == BUILDING and self.held_since is not None and self.confirmed_by is None

    @property
    def folder(self) -> DefinitionsFolder:
        """Ready to be compiled; its paths are the files' bare names."""
        return DefinitionsFolder.of_texts(self.files)


def digest_of(files: Mapping[str, str]) -> str:
    """Of every letter: what differs in spelling only has another one."""
    state = blake2b(digest_size=16)
    for name, text in sorted(files.items()):
        for part in (name.encode(), text.encode()):
            state.update(len(part).to_bytes(8, "little") + part)
    return state.hexdigest()


def deployed(url: str) -> Deployment | None:
    """The version that is answered by; None before an engine's first start. DatabaseError."""
    return _read(url, read_deployed)


def building(url: str) -> Deployment | None:
    """The version that is to be taken up, if there is one. DatabaseError."""
    return _read(url, read_building)


def versions(url: str) -> list[Deployment]:
    """All of them, the first one first. DatabaseError."""
    return _read(url, lambda connection: _select(connection, "true"))


def version(url: str, number: int) -> Deployment:
    """DeploymentError where there is no such version; DatabaseError."""
    found = _read(url, lambda connection: _select(connection, "version = %s", [number]))
    if not found:
        raise DeploymentError(f"There is no version {number}. `tidegate apply --versions` lists those that are.")
    return found[0]


def read_deployed(connection: Connection) -> Deployment | None:
    latest = "version = (SELECT max(version) FROM tidegate.deployments WHERE state = 'complete')"
    return next(iter(_select(connection, latest)), None)


def read_building(connection: Connection) -> Deployment | None:
    return next(iter(_select(connection, "state = 'building'")), None)


def add(
    connection: Connection, files: Mapping[str, str], by: str, state: str, *, rebuilt: Sequence[str] = (),
    allow_incomplete: bool = False,
) -> int:  # fmt: skip
    """A new version in `state`; its number. For whoever holds storage.engine_state.lock.

    DeploymentError where it is to be built while another one is."""
    assert SCHEMA_FILE in files, "schema.yml belongs to a version"
    other = read_building(connection)
    if state == BUILDING and other is not None:
        raise DeploymentError(
            f"Version {other.version}, applied by {other.by}, is being built. Wait for it, or take it back with "
            "`tidegate apply --withdraw`."
        )
    row = connection.execute(
        """
        INSERT INTO tidegate.deployments
            (version, files, digest, made_by, state, rebuilt, allow_incomplete, switched_at)
        SELECT coalesce(max(version), 0) + 1, %s, %s, %s, %s, %s, %s, CASE WHEN %s = 'complete' THEN now() END
        FROM tidegate.deployments
        RETURNING version
        """,
        [Json(dict(files)), digest_of(files), by, state, list(rebuilt), allow_incomplete, state],
    ).fetchone()
    assert row is not None
    return int(row[0])


def adopt(connection: Connection, files: Mapping[str, str], by: str = ENGINE) -> None:
    """What an engine answers by from now on, having read all events: a new version, by the engine.

    One that is being built was meant for what was there before: it is withdrawn."""
    connection.execute(
        "UPDATE tidegate.deployments SET state = 'withdrawn', reason = 'the engine was rebuilt meanwhile' "
        "WHERE state = 'building'"
    )
    add(connection, files, by, COMPLETE)


def complete(connection: Connection, number: int, outcome: Mapping[str, tuple[int, int]]) -> None:
    """It is answered by from now on. DeploymentError where it has been withdrawn meanwhile."""
    found = connection.execute(
        "UPDATE tidegate.deployments SET state = 'complete', switched_at = now(), progress = NULL, outcome = %s "
        "WHERE version = %s AND state = 'building'",
        [Json({name: list(both) for name, both in outcome.items()}), number],
    )
    if found.rowcount != 1:
        raise DeploymentError(f"Version {number} was withdrawn. Nothing was changed.")


def begins(connection: Connection, number: int, at: int) -> None:
    """All events from this instant on (µs) are read with its schema."""
    connection.execute(
        "UPDATE tidegate.deployments SET begins = to_timestamp(0) + %s * interval '1 microsecond' WHERE version = %s",
        [at, number],
    )


def withdraw(url: str, number: int, reason: str) -> bool:
    """It is not to be taken up any more; False where it is not being built. DatabaseError."""
    found = _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET state = 'withdrawn', reason = %s, progress = NULL "
        "WHERE version = %s AND state = 'building'", [reason, number],
    ).rowcount)  # fmt: skip
    return found == 1


def hold(url: str, number: int, outcome: Mapping[str, tuple[int, int]]) -> None:
    """It is not to be taken up before it is confirmed. DatabaseError."""
    _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET held_since = now(), outcome = %s, progress = NULL, ready = false "
        "WHERE version = %s AND state = 'building'",
        [Json({name: list(both) for name, both in outcome.items()}), number],
    ))  # fmt: skip


def confirm(url: str, number: int, by: str) -> bool:
    """It is to be taken up whatever comes of it; False where it is not held. DatabaseError."""
    found = _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET confirmed_by = %s "
        "WHERE version = %s AND state = 'building' AND held_since IS NOT NULL", [by, number],
    ).rowcount)  # fmt: skip
    return found == 1


def tell(url: str, number: int, done: int, total: int) -> bool:
    """How far its building is, in rows; False where it is not wanted any more. DatabaseError."""
    found = _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET progress = %s, ready = %s WHERE version = %s AND state = 'building'",
        [Json({"done": done, "total": total}), done == total, number],
    ).rowcount)  # fmt: skip
    return found == 1


def stopped(url: str, number: int) -> None:
    """The flow ends now for the switch to it. DatabaseError."""
    _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET stopped_at = now(), waited = NULL WHERE version = %s", [number]
    ))  # fmt: skip


def resumed(url: str) -> tuple[int, float] | None:
    """Events are taken again after a switch, or the attempt at one: the version, and how long they waited, seconds."""
    return _read(url, lambda connection: connection.execute(
        "UPDATE tidegate.deployments SET waited = extract(epoch FROM now() - stopped_at) "
        "WHERE stopped_at IS NOT NULL AND waited IS NULL RETURNING version, waited"
    ).fetchone())  # fmt: skip


def switching(url: str) -> bool:
    """The flow was ended for a version that is not switched to yet. DatabaseError."""
    return _read(url, lambda connection: connection.execute(
        "SELECT FROM tidegate.deployments WHERE state = 'building' AND stopped_at IS NOT NULL AND waited IS NULL "
        "AND (held_since IS NULL OR confirmed_by IS NOT NULL)"
    ).fetchone() is not None)  # fmt: skip


def builders(url: str) -> int:
    """Sessions of processes that build a version, or switch to it. DatabaseError."""
    row = _read(url, lambda connection: connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name IN ('tidegate builder', 'tidegate rebuild')"
    ).fetchone())  # fmt: skip
    return 0 if row is None else int(row[0])


_COLUMNS = """version, files, digest, made_by, made_at, state, reason, rebuilt, allow_incomplete, progress, ready,
    switched_at, outcome, held_since, confirmed_by, waited, begins"""


def _select(connection: Connection, condition: str, parameters: Sequence[Any] = ()) -> list[Deployment]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tidegate.deployments WHERE {condition} ORDER BY version".encode(), parameters
    ).fetchall()
    return [_deployment(*row) for row in rows]


def _deployment(*row: Any) -> Deployment:
    *first, progress, ready, switched_at, outcome, held_since, confirmed_by, waited, begins = row
    number, files, digest, by, at, state, reason, rebuilt, allow_incomplete = first
    return Deployment(
        number, files, digest, by, at, state, reason, tuple(rebuilt), allow_incomplete,
        None if progress is None else (progress["done"], progress["total"]), ready, switched_at,
        {name: (entered, left) for name, (entered, left) in (outcome or {}).items()}, held_since, confirmed_by, waited,
        begins,
    )


def _read(url: str, question: Callable[[Connection], T]) -> T:
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        return question(connection)
