"""A broker, a database, and an engine in this process."""

from tests.fix_kafka import embedded_broker
from tests.fix_postgres import database_url, postgres_server
from tests.flows.conftest import make_world, start

__all__ = ["database_url", "embedded_broker", "make_world", "postgres_server", "start"]
