"""A database and the two brokers."""

from tests.fix_kafka import apache_kafka, embedded_broker
from tests.fix_postgres import database_url, postgres_server

__all__ = ["apache_kafka", "database_url", "embedded_broker", "postgres_server"]
