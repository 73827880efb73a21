"""A deployment to ask about: an engine has read events of some users, most of which are in files, and has ended."""

from collections.abc import Callable

import pytest

from flows.run import run
from segmentation.state import log
from tests.fix_kafka import embedded_broker, produce
from tests.fix_postgres import database_url, postgres_server
from tests.flows.conftest import World, make_world, start
from tests.flows.test_flow import HOUR, some_events

__all__ = ["database_url", "embedded_broker", "make_world", "postgres_server", "start"]

AT = 1_767_225_600_000_000
END = AT + HOUR // 2
USERS = 12


@pytest.fixture
def world(make_world: Callable[..., World], embedded_broker: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(log, "CHUNK_ROWS", 20)
    world = make_world(embedded_broker, clock="event", shards=2, poll_rows=20)
    produce(world.bootstrap, world.topic, some_events(300, USERS, AT))
    run(world.settings(), until_end=True, finish_at=END)
    assert list((world.folder / "storage/reservoir").glob("*/*.parquet"))
    return world
