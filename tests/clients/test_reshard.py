"""Other numbers of shards under streams that stay open and clients that resume: each transition once."""

import threading
from collections.abc import Callable

import pytest

from flows.run import run
from tests.fix_kafka import embedded_broker, produce
from tests.flows.conftest import World, make_world, until
from tests.flows.test_reshard import AT, MINUTE, minutes, to
from tests.grpc.serving import Serving, serving
from tidegate_client import Client, Transition

__all__ = ["embedded_broker", "make_world"]
pytestmark = pytest.mark.postgres
LAYOUTS = (2, 5, 1, 3)
Flip = tuple[str, int, str, bool]


class Listener(threading.Thread):
    """Hears what a watch tells; a watch that has told `breaks` updates with events is ended, and resumed. 0: never."""

    def __init__(self, server: Serving, breaks: int) -> None:
        super().__init__(daemon=True)
        self.client, self.breaks = Client(f"localhost:{server.running.port}", timeout=60), breaks
        self.heard: list[Flip] = []
        self.begun, self.stop = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        position = ""
        try:
            while not self.stop.is_set():
                position = self.listen(position)
        except BaseException as error:
            self.error = error

    def listen(self, position: str) -> str:
        some = 0
        for update in self.client.watch(position=position, give_up_after=60):
            self.begun.set()
            for event in update.events:
                assert isinstance(event, Transition)
                self.heard += [(event.user_id, event.seq, name, True) for name in event.entered]
                self.heard += [(event.user_id, event.seq, name, False) for name in event.left]
            position, some = update.position, some + bool(update.events)
            if self.stop.is_set() or (self.breaks and some >= self.breaks):
                break
        return position


def test_every_transition_once_over_reshards(make_world: Callable[..., World], embedded_broker: str) -> None:
    world = make_world(embedded_broker, 2, clock="event", shards=LAYOUTS[0], poll_rows=40)
    messages, end = minutes(0, 120 * len(LAYOUTS)), AT + 1_000 * MINUTE
    run(world.settings(), until_end=True)
    with serving(world.url) as server:
        listeners = [Listener(server, breaks) for breaks in (0, 1, 3)]
        for listener in listeners:
            listener.start()
            assert listener.begun.wait(60)
        for number, shards in enumerate(LAYOUTS):
            if number:
                to(world, shards)
            produce(world.bootstrap, world.topic, messages[number * 120 : number * 120 + 120])
            last = shards == LAYOUTS[-1]
            run(world.settings(shards=shards), until_end=True, finish_at=end if last else None)
        logged = sorted((user, seq, name, entered) for user, seq, name, entered, _ in world.log())
        for listener in listeners:
            until(lambda: listener.error or len(listener.heard) >= len(logged), "all is heard")  # noqa: B023
            assert listener.error is None and sorted(listener.heard) == logged
            seqs = [(user, seq) for user, seq, *_ in listener.heard]
            for user in {user for user, _ in seqs}:
                mine = [seq for other, seq in seqs if other == user]
                assert mine == sorted(mine), "in the user's order, whatever shard he is in"
            listener.stop.set()
        for listener in listeners:
            listener.client.close()
    assert len(logged) > 500 and len(world.query("SELECT DISTINCT shard FROM tidegate.transitions")) == max(LAYOUTS)
