"""Migrations: once each, whoever comes first; refusals say what to do; the views are what psql users type."""

import threading
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from storage import migrate as migrating
from storage import postgres
from storage.migrate import Migration, check_migrated, migrate, migrations
from storage.postgres import DatabaseError
from tests.storage.world import World, open_writer

pytestmark = pytest.mark.postgres
ALL = [migration.name for migration in migrations()]


def test_each_is_applied_once(create_database: Callable[[], str]) -> None:
    url = create_database()
    with closing(postgres.connect(url)) as connection, pytest.raises(DatabaseError, match="Migrate it first"):
        check_migrated(connection, "here")
    assert migrate(url) == ALL
    assert migrate(url) == []
    with closing(postgres.connect(url)) as connection:
        check_migrated(connection, "here")


def test_several_at_once(create_database: Callable[[], str]) -> None:
    url, done = create_database(), list[list[str]]()
    threads = [threading.Thread(target=lambda: done.append(migrate(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done, key=len) == [[], [], [], ALL]


def test_a_newer_database_is_refused(create_database: Callable[[], str]) -> None:
    url = create_database()
    migrate(url)
    with closing(postgres.connect(url)) as connection, connection.transaction():
        connection.execute("INSERT INTO tidegate.schema_migrations VALUES (99, 'future', 'x')")
    with pytest.raises(DatabaseError, match=r"schema version 99; this Tidegate knows versions up to .*Update Tidegate"):
        migrate(url)


def test_a_changed_migration_is_refused(create_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, first = create_database(), migrations()
    migrate(url)
    changed = [Migration(1, "membership", first[0].sql + "\n-- edited"), *first[1:]]
    monkeypatch.setattr(migrating, "migrations", lambda: changed)
    with pytest.raises(DatabaseError, match=r"migration 1 \(membership\) was applied with another text"):
        migrate(url)


def test_a_failing_migration_leaves_nothing(
    create_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, given = create_database(), migrations()
    broken = Migration(len(given) + 1, "broken", "CREATE TABLE tidegate.half (); SELECT 1/0")
    monkeypatch.setattr(migrating, "migrations", lambda: [*given, broken])
    with pytest.raises(DatabaseError, match="division by zero"):
        migrate(url)
    monkeypatch.undo()
    assert migrate(url) == []
    with closing(postgres.connect(url)) as connection:
        assert connection.execute("SELECT to_regclass('tidegate.half')").fetchone() == (None,)


def test_a_database_that_is_in_use_for_something_else(create_database: Callable[[], str]) -> None:
    url = create_database()
    with closing(postgres.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE public.segments (id int)")
    with pytest.raises(DatabaseError, match=r"segments.*not Tidegate's"):
        migrate(url)


def test_the_views_answer_by_their_bare_names(database_url: str) -> None:
    """Also for the user tidegate, whose search path has schema tidegate first."""
    world = World(["active", "idle"], 1)
    with open_writer(database_url, world.names, 1) as out:
        out.write([world.step(0, [("ann", [0], 0, True), ("bob", [0, 1], 5, False)])])
    with closing(postgres.connect(database_url)) as connection:
        for view, columns in {
            "segments": "segment description owner tags enabled version sql members updated_at state",
            "segment_members": "segment user_id since",
            "segment_transitions": "user_id seq segment entered effective_at version cause recorded_at shard",
        }.items():
            described = connection.execute(f"SELECT * FROM {view}".encode()).description
            assert described is not None and " ".join(column.name for column in described) == columns
        assert connection.execute("SELECT segment, members FROM segments").fetchall() == [("active", 2), ("idle", 1)]
        assert connection.execute("SELECT count(*) FROM segment_transitions WHERE entered").fetchone() == (3,)


@pytest.mark.parametrize(
    ("role", "statement", "allowed"),
    [
        ("tidegate_reader", "SELECT * FROM segment_members", True),
        ("tidegate_reader", "SELECT watermark FROM tidegate.shards", True),
        ("tidegate_reader", "DELETE FROM tidegate.members", False),
        ("tidegate_reader", "SELECT value FROM tidegate.outbox", False),
        ("tidegate_engine", "DELETE FROM tidegate.members", True),
        ("tidegate_engine", "INSERT INTO tidegate.relay DEFAULT VALUES", True),
        ("tidegate_reader", "UPDATE tidegate.relay SET token = NULL", False),
        ("tidegate_engine", "UPDATE tidegate.transitions SET seq = 0", False),
        ("tidegate_engine", "DROP TABLE tidegate.members", False),
        ("tidegate_engine", "UPDATE tidegate.dead_letters SET replayed_at = now()", True),
        ("tidegate_engine", "UPDATE tidegate.dead_letters SET reason = ''", False),
    ],
)
def test_roles_may_do_their_work_and_no_more(database_url: str, role: str, statement: str, allowed: bool) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        connection.execute(f"SET ROLE {role}".encode())
        if allowed:
            connection.execute(statement.encode())
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_an_engine_works_with_the_engine_role_alone(database_url: str) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE some_engine LOGIN PASSWORD 'pw' IN ROLE tidegate_engine; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    url = psycopg.conninfo.make_conninfo(database_url, user="some_engine", password="pw")
    assert migrate(url) == []
    world = World(["active"], 1)
    with open_writer(url, world.names, 1) as out:
        assert out.write([world.step(0, [("ann", [0], 0, True)])]).flips == 1
        out.write([world.step(0, [("ann", [0], 0, True)])])


def test_without_the_right_to_create_roles_there_is_a_notice(
    create_database: Callable[[], str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, script = create_database(), migrating._roles_script()
    monkeypatch.setattr(migrating, "_roles_script", lambda: script.replace("tidegate_", "not_yet_made_"))
    with closing(postgres.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'pw'")
        try:
            connection.execute("GRANT CREATE ON SCHEMA public TO plain")
            connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO plain".encode())
            plain = psycopg.conninfo.make_conninfo(url, user="plain", password="pw")
            assert migrate(plain) == ALL and migrate(plain) == []
        finally:
            connection.execute("DROP OWNED BY plain")
            connection.execute("DROP ROLE plain")
    assert "were not set up (permission denied to create role)" in caplog.text and "roles.sql" in caplog.text


def test_an_old_server_is_refused(create_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "OLDEST_SERVER", 99)
    with pytest.raises(DatabaseError, match="Use 99 or later"):
        migrate(create_database())
