"""An engine that was shut out says so, whatever it meets first of what its successor has done."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from flows.engine import Engine, Goal
from flows.placement import Placement
from storage.commits import Fenced
from storage.engine_state import take_over
from storage.reservoir import ReservoirError
from tests.flows.conftest import World


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_the_successor_has_deleted(
    make_world: Callable[..., World], embedded_broker: str, replaced: bool
) -> None:
    world = make_world(embedded_broker)
    settings = world.settings()
    with closing(Engine.open(settings, Placement(settings.shards), Goal(), threading.Event())) as engine:
        if replaced:
            take_over(world.url, [2])
        engine.fail(ReservoirError("The chunk is not there."))
        if replaced:
            assert isinstance(engine.fatal, Fenced)
            assert "Shard 2 was taken over by another engine" in str(engine.fatal)
        else:
            assert isinstance(engine.fatal, ReservoirError)
