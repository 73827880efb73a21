"""Fixtures that the tests of commands share."""

from tests.fix_postgres import database_url, postgres_server

__all__ = ["database_url", "postgres_server"]
