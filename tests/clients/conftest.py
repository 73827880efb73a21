"""The fixtures of tests/grpc: a small, fixed membership and a server on it."""

from tests.grpc.conftest import database_url, postgres_server, server, shop

__all__ = ["database_url", "postgres_server", "server", "shop"]
