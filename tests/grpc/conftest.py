"""Fixtures: a database with a small, fixed membership, and a server on it."""

from collections.abc import Iterator

import pytest

from tests.fix_postgres import database_url, postgres_server
from tests.grpc.serving import Serving, serving
from tests.grpc.shop import Shop

__all__ = ["database_url", "postgres_server"]


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with Shop(database_url) as shop:
        yield shop


@pytest.fixture
def server(shop: Shop) -> Iterator[Serving]:
    with serving(shop.url) as server:
        yield server
