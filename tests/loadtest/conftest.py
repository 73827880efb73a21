"""The database fixtures for these tests."""

from tests.fix_postgres import database_url, postgres_server

__all__ = ["database_url", "postgres_server"]
