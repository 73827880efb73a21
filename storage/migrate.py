"""Brings a database to this version's schema; safe to call at every start, by several at once.

Migrations are storage/migrations/NNN_name.sql. Each runs in a transaction of its own under an
advisory lock and is recorded with a checksum of its text. roles.sql is run whenever something was
applied, and left out with a notice where the user may not create roles.
"""

import hashlib
import logging
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files

from psycopg import errors

from storage import postgres
from storage.postgres import Connection, DatabaseError

log = logging.getLogger(__name__)

OLDEST_SERVER = 15
#: Held while migrating; any constant that nobody else uses in this database.
_LOCK = 0x7469_6465_6761_7465  # "tidegate"


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.blake2b(self.sql.encode(), digest_size=16).hexdigest()


def migrations() -> list[Migration]:
    """Those of this version of Tidegate, in order."""
    found = []
    for file in files("storage.migrations").iterdir():
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql") and number.isdigit():
            found.append(Migration(int(number), name, file.read_text()))
    return sorted(found, key=lambda migration: migration.version)


def migrate(url: str, *, wait: float = 0.0) -> list[str]:
    """Applies what is missing and returns its names; `wait`: seconds for the database to come up.

    Raises DatabaseError where the database is newer than this program, was migrated with other
    texts, or cannot hold the schema.
    """
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate migrate", wait=wait, autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        _check_server(connection, where)
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        done = _applied(connection)
        wanted = migrations()
        _compare(done, wanted, where)
        applied = []
        for migration in wanted[len(done) :]:
            _apply(connection, migration, where)
            applied.append(migration.name)
        if applied:
            _roles(connection, where)
        return applied


def check(url: str) -> None:
    """As `check_migrated`, for who has no connection yet."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate")) as connection:
        check_migrated(connection, where)


def check_migrated(connection: Connection, where: str) -> None:
    """For programs that do not migrate: DatabaseError unless the schema is exactly this version's."""
    with postgres.foreign_errors(where):
        done, wanted = _applied(connection), migrations()
    _compare(done, wanted, where)
    if len(done) < len(wanted):
        raise DatabaseError(f"{where} is at schema version {len(done)}, needed is {len(wanted)}. Migrate it first: "
                            "`tidegate migrate`.")


def _check_server(connection: Connection, where: str) -> None:
    major = connection.info.server_version // 10_000
    if major < OLDEST_SERVER:
        raise DatabaseError(f"{where} runs PostgreSQL {major}. Use {OLDEST_SERVER} or later.")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseError(f"{where} has encoding {encoding}. Create the database with ENCODING 'UTF8'.")


def _applied(connection: Connection) -> list[tuple[int, str, str]]:
    found = connection.execute("SELECT to_regclass('tidegate.schema_migrations')").fetchone()
    if found is None or found[0] is None:
        return []
    rows = connection.execute("SELECT version, name, checksum FROM tidegate.schema_migrations ORDER BY version")
    return [(version, name, checksum) for version, name, checksum in rows]


def _compare(done: list[tuple[int, str, str]], wanted: list[Migration], where: str) -> None:
    if len(done) > len(wanted):
        raise DatabaseError(
            f"{where} is at schema version {done[-1][0]}; this Tidegate knows versions up to {len(wanted)}. "
            "Update Tidegate, or use another database."
        )
    for (version, name, checksum), migration in zip(done, wanted):
        if (version, checksum) != (migration.version, migration.checksum):
            raise DatabaseError(
                f"{where}: migration {version} ({name}) was applied with another text than this version's "
                f"{migration.version:03}_{migration.name}.sql. Use the Tidegate that made it, or a new database."
            )


def _apply(connection: Connection, migration: Migration, where: str) -> None:
    try:
        with connection.transaction():
            connection.execute(
                """
                CREATE SCHEMA IF NOT EXISTS tidegate;
                CREATE TABLE IF NOT EXISTS tidegate.schema_migrations (
                    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
                    applied_at timestamptz NOT NULL DEFAULT now()
                );
                """
            )
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO tidegate.schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                [migration.version, migration.name, migration.checksum],
            )
    except (errors.DuplicateTable, errors.DuplicateObject, errors.WrongObjectType) as error:
        raise DatabaseError(
            f"{where}: {error.diag.message_primary}, and it is not Tidegate's. Use a database of its own."
        ) from error
    except errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{where}: {error.diag.message_primary}. Migrate as the owner of the database "
            "(it needs CREATE on the database and on schema public)."
        ) from error
    log.info("applied migration %03d %s", migration.version, migration.name)


def _roles(connection: Connection, where: str) -> None:
    try:
        with connection.transaction():
            connection.execute(_roles_script().encode())
    except errors.InsufficientPrivilege as error:
        log.warning(
            "%s: the roles tidegate_engine and tidegate_reader were not set up (%s); "
            "run storage/migrations/roles.sql as an administrator to have them",
            where, error.diag.message_primary,
        )


def _roles_script() -> str:
    return files("storage.migrations").joinpath("roles.sql").read_text()
