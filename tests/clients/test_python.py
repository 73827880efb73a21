"""The Python client against the real server: answers, errors, retries, and a watch that outlives servers."""

import asyncio
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

import tidegate_client
from storage import postgres
from storage.pruning import prune
from tests.grpc.proxy import Proxy
from tests.grpc.serving import Serving, serving
from tests.grpc.shop import BIG, LAPSED_CALIFORNIANS, NAMES, START, Shop
from tidegate_client import AsyncClient, Client, SegmentState, Transition, digest_of
from tidegate_client._errors import Unavailable
from tidegate_client._retry import Budget, Tries, pause_of

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).parents[2]


def at(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def client_of(server: Serving, **given: Any) -> Client:
    return Client(f"localhost:{server.running.port}", **{"timeout": 20.0, **given})


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        return int(held.getsockname()[1])


def test_every_call(shop: Shop, server: Serving) -> None:
    shop.fill()
    with client_of(server) as client:
        assert client.is_member("ann", "big_spenders") and not client.is_member("nobody", "big_spenders")
        found = client.check("ann", "big_spenders")
        assert (found.member, found.known, found.since, found.as_of) == (True, True, at(START + 7), at(START + 7))
        assert (found.definition.version, found.definition.state) == (1, SegmentState.COMPLETE)
        unknown = client.check("nobody", "big_spenders")
        assert (unknown.member, unknown.known, unknown.since) == (False, False, None)
        several = client.batch((user, name) for user in ["ann", "bob"] * 600 for name in NAMES)
        assert [one.member for one in several] == [True, True, False, False] * 600
        assert {one.definition.segment for one in several} == set(NAMES)
        assert client.batch([]) == []
        mine = client.list_user_segments("ann")
        assert (mine.known, [one.segment for one in mine.segments]) == (True, NAMES)
        assert mine.segments[0].since == at(START + 7)
        shop.move([(f"u{i:04}", [BIG]) for i in range(2_050)])
        assert list(client.list_members("big_spenders")) == ["ann", *(f"u{i:04}" for i in range(2_050))]
        segments = list(client.list_segments())
        assert [(one.name, one.members) for one in segments] == [(NAMES[BIG], 2_051), (NAMES[LAPSED_CALIFORNIANS], 1)]
        assert client.get_segment(NAMES[LAPSED_CALIFORNIANS]).depends_on == ("big_spenders",)


def test_every_call_with_asyncio(shop: Shop, server: Serving) -> None:
    shop.fill()

    async def ask() -> None:
        async with AsyncClient(f"localhost:{server.running.port}", timeout=20.0) as client:
            assert await client.is_member("ann", "big_spenders")
            assert (await client.check("bob", "big_spenders")).known
            assert [one.member for one in await client.batch([("ann", NAMES[0]), ("bob", NAMES[0])])] == [True, False]
            assert (await client.list_user_segments("bob")).segments == ()
            assert [user async for user in client.list_members("big_spenders")] == ["ann"]
            assert [one.name async for one in client.list_segments()] == NAMES
            assert (await client.get_segment("big_spenders")).sql
            with pytest.raises(tidegate_client.UnknownSegment):
                await client.is_member("ann", "nothing")
            async for update in client.watch():
                if not update.events:
                    shop.move([("bob", [BIG])], advance=9)
                    continue
                [moved] = update.events
                assert moved == Transition("bob", 1, {NAMES[BIG]: 1}, {}, at(START + 9), "event")
                break

    asyncio.run(ask())


def test_errors_say_what_happened(shop: Shop, server: Serving) -> None:
    shop.fill()
    with client_of(server) as client:
        with pytest.raises(tidegate_client.UnknownSegment, match="Did you mean 'big_spenders'") as unknown:
            client.is_member("ann", "big_spender")
        assert unknown.value.metadata["did_you_mean"] == "big_spenders"
        with pytest.raises(tidegate_client.InvalidRequest, match="user_id") as invalid:
            client.is_member("", "big_spenders")
        assert (invalid.value.reason, invalid.value.code) == ("EMPTY_USER_ID", grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(tidegate_client.DeadlineExceeded, match="Allow more time"):
            client.check("ann", "big_spenders", timeout=0)
        with pytest.raises(tidegate_client.InvalidRequest):
            next(client.watch(position="made up"))
    port = free_port()
    with Client(f"127.0.0.1:{port}", timeout=0.5) as nobody:
        with pytest.raises(tidegate_client.Unavailable, match=rf"127.0.0.1:{port}: .*Is a server running there"):
            nobody.is_member("ann", "big_spenders")
        with pytest.raises(tidegate_client.Unavailable):
            next(nobody.watch(give_up_after=0.1))


def test_tls_and_a_token(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    given: dict[str, Any] = {"grpc_tls_cert": cert, "grpc_tls_key": key, "grpc_tokens": {"secret": "read"}}
    with serving(shop.url, credentials=trusted, **given) as server:
        with client_of(server, tls=ca, token="secret") as client:
            assert client.is_member("ann", "big_spenders")
        with (
            client_of(server, tls=ca.read_bytes(), token="other") as client,
            pytest.raises(tidegate_client.Unauthenticated),
        ):
            client.is_member("ann", "big_spenders")
    with pytest.raises(ValueError, match="plain text"):
        Client("tidegate.internal:50051", token="secret")
    Client("tidegate.internal:50051", token="secret", plaintext_token=True).close()


def test_what_may_pass_is_tried_again(shop: Shop) -> None:
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url) as server, client_of(server) as client:
        assert client.is_member("ann", "big_spenders")
        proxy.cut()
        back = threading.Timer(1.0, proxy.restore)
        back.start()
        assert client.is_member("ann", "big_spenders")
        back.join()
    port = free_port()
    answers: list[bool] = []
    with Client(f"127.0.0.1:{port}", timeout=60.0) as client:
        asking = threading.Thread(target=lambda: answers.append(client.is_member("ann", "big_spenders")))
        asking.start()
        with serving(shop.url, grpc_listen=f"127.0.0.1:{port}"):
            asking.join(60)
    assert answers == [True]


def test_the_budget_bounds_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = Unavailable("away", grpc.StatusCode.UNAVAILABLE, "", {}, None)
    budget = Budget()
    tries = [Tries(budget, time.monotonic() + 3_600) for _ in range(100)]
    assert sum(one.pause_after(passing) is not None for one in tries) == 10
    for _ in range(25):
        budget.succeeded()
    assert sum(one.pause_after(passing) is not None for one in tries) == 2
    late = Tries(Budget(), time.monotonic())
    assert late.pause_after(passing) is None, "a pause beyond the deadline would be no try"
    hint = Unavailable("busy", grpc.StatusCode.UNAVAILABLE, "OVERLOADED", {}, 0.7)
    pause = Tries(Budget(), time.monotonic() + 3_600).pause_after(hint)
    assert pause is not None and pause >= 0.7
    assert Tries(Budget(), time.monotonic() + 3_600).pause_after(
        tidegate_client.InvalidRequest("", grpc.StatusCode.INVALID_ARGUMENT, "", {}, None)
    ) is None
    assert len({pause_of(3, None) for _ in range(10)}) > 1


def test_a_watch_goes_on_over_servers_that_end(shop: Shop) -> None:
    """Several servers, one after the other on the same port, while transitions are written all the time."""
    port, chance = free_port(), random.Random(7)
    shop.move([("u0", [])])
    heard: list[tuple[str, int, str]] = []
    done, begun = threading.Event(), threading.Event()

    def logged() -> list[tuple[str, int, str]]:
        return sorted((flip.user, flip.seq, flip.segment) for flip in shop.world.log)

    def listen() -> None:
        with Client(f"127.0.0.1:{port}") as client:
            for update in client.watch():
                begun.set()
                for event in update.events:
                    assert isinstance(event, Transition)
                    heard.extend((event.user_id, event.seq, name) for name in (*event.entered, *event.left))
                if done.is_set() and sorted(heard) == logged():
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    for turn in range(4):
        with serving(shop.url, grpc_listen=f"127.0.0.1:{port}") as server:
            assert begun.wait(60)
            for number in range(15):
                shop.move([(f"u{chance.randrange(30)}", [chance.randrange(2)]) for _ in range(10)], number)
            server.run(server.running.stop(grace=chance.choice([0, 5])))
        shop.move([(f"between{turn}", [BIG])])
    with serving(shop.url, grpc_listen=f"127.0.0.1:{port}"):
        shop.move([("last", [BIG])])
        done.set()
        listener.join(60)
    assert not listener.is_alive()
    assert sorted(heard) == logged()


def test_an_erased_user_is_told_by_digest(shop: Shop, server: Serving) -> None:
    shop.fill()
    with client_of(server) as client:
        updates = client.watch()
        next(updates)
        shop.erase("ann")
        [event] = next(update for update in updates if update.events).events
        assert isinstance(event, tidegate_client.Erasure)
        assert (event.user_id, event.digest) == (None, digest_of("ann"))


def test_whoever_was_away_for_too_long_begins_anew(shop: Shop, server: Serving) -> None:
    """As the README has it: the position, the members, and what came meanwhile again, which changes nothing."""
    with client_of(server) as client:
        begin = client.position_now()
        shop.fill()
        with closing(postgres.connect(shop.url, autocommit=True)) as connection:
            connection.execute("UPDATE tidegate.shards SET checkpoint = jsonb_build_object('step', step)")
        assert [prune(shop.url, 0, threading.Event()) for _ in range(2)] == [0, 2]
        with pytest.raises(tidegate_client.PositionGone, match="Watch from now") as gone:
            list(client.watch(position=begin))
        assert gone.value.cause == "pruned" and gone.value.kept_since is not None
        position = client.position_now()
        shop.move([("bob", [BIG])])
        copy = set(client.list_members(NAMES[BIG]))
        [event] = next(update.events for update in client.watch(position=position) if update.events)
        assert isinstance(event, Transition) and (event.user_id, set(event.entered)) == ("bob", {NAMES[BIG]})
        assert copy | {event.user_id} == {"ann", "bob"}

    async def now() -> str:
        async with AsyncClient(f"localhost:{server.running.port}", timeout=20.0) as client:
            return await client.position_now()

    assert asyncio.run(now()) != position
    with Client(f"127.0.0.1:{free_port()}", timeout=0.5) as nobody, pytest.raises(Unavailable):
        nobody.position_now()


def test_it_is_installed_alone(tmp_path: Path, shop: Shop, server: Serving) -> None:
    """From its own pyproject, into a folder without anything else of this repository."""
    shop.fill()
    run: Callable[..., Any] = subprocess.run
    copy = shutil.copytree(ROOT / "clients" / "python", tmp_path / "copy")  # a build leaves files beside its sources
    alone = tmp_path / "alone"
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--target", str(alone), str(copy)], check=True)  # fmt: skip
    program = f"""
import sys
sys.path[:] = [{str(alone)!r}] + [p for p in sys.path if "site-packages" in p or "python3" in p]
from tidegate_client import Client
print(Client("localhost:{server.running.port}", timeout=20).is_member("ann", "big_spenders"))
ours = {{"segmentation", "storage", "grpc_server", "flows", "console"}}
print(sorted(ours & {{name.partition(".")[0] for name in sys.modules}}), "google.rpc" in sys.modules)
import tidegate_client; print(tidegate_client.__file__.startswith({str(alone)!r}))
"""
    out = run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True, cwd=alone).stdout
    assert out.split("\n")[:3] == ["True", "[] False", "True"]
