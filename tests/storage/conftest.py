"""The database fixtures for these tests."""

from tests.fix_postgres import create_database, database_url, postgres_server

__all__ = ["create_database", "database_url", "postgres_server"]
