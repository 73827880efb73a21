"""Fixtures: a fresh, migrated database per test, on the embedded PostgreSQL or the one of DATABASE_URL.

Use: `from tests.fix_postgres import database_url, postgres_server` in a conftest.py, or as plug-in
(`pytest_plugins = ["tests.fix_postgres"]` in the topmost one).
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage import embedded, postgres
from storage.migrate import migrate

_numbers = itertools.count(1)


@dataclass(frozen=True)
class PostgresServer:
    """`url` of any database; `template` is a migrated one that nobody connects to."""

    url: str
    template: str

    def create(self, template: str | None = None) -> str:
        """The URL of a new database; `template` "template0": without Tidegate's schema."""
        name = f"tidegate_test_{os.getpid()}_{next(_numbers)}"
        with closing(postgres.connect(self.url, autocommit=True)) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template or self.template)
                )
            )
        return self.url_of(name)

    def drop(self, url: str) -> None:
        name = str(conninfo_to_dict(url)["dbname"])
        with closing(postgres.connect(self.url, autocommit=True)) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url_of(self, database: str) -> str:
        return make_conninfo(self.url, dbname=database)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with embedded.server() as url:
        template = PostgresServer(url, "template0").create()
        migrate(template)
        server = PostgresServer(url, str(conninfo_to_dict(template)["dbname"]))
        yield server
        server.drop(template)


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def create_database(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes empty databases without Tidegate's schema."""
    made: list[str] = []

    def create() -> str:
        made.append(postgres_server.create("template0"))
        return made[-1]

    yield create
    for url in made:
        postgres_server.drop(url)


def empty(url: str) -> None:
    """As if newly migrated, for the examples of a property."""
    with closing(postgres.connect(url)) as connection, connection.transaction():
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'tidegate' AND tablename <> 'schema_migrations'"
        ).fetchall()
        names = sql.SQL(", ").join(sql.Identifier("tidegate", name) for (name,) in tables)
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))
