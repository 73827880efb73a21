"""Fixtures that the tests of commands share."""

from tests.fix_kafka import embedded_broker
from tests.fix_postgres import database_url, postgres_server

__all__ = ["database_url", "embedded_broker", "postgres_server"]
