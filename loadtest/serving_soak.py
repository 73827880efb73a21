"""The soak of `loadtest.serving`: an engine, a database and a server for many minutes, the first two of which are
killed again and again; every answer is compared with the log afterwards.

By turns, every `break_every` seconds, one of the database's processes is killed with -9 (so that it ends all sessions,
recovers and starts again), and the engine. UNAVAILABLE from a crash of the database until it answers again (and
STATED_S more, for connections to be made) is what is stated for that; any other failed call is one.
"""

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from flows.embedded_broker import EmbeddedBroker
from loadtest.serving_compare import Answer, compare
from loadtest.serving_engine import PARTITIONS, TOPIC, Engine
from storage import postgres
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

OUT = Path(__file__).parent / "out"
STATED_S = 5.0
#: The soak begins when the engine is no farther behind the clock.
CAUGHT_UP_S = 2.0
_LOADED_WITHIN_S, _CAUGHT_UP_WITHIN_S, _BACK_WITHIN_S = 900.0, 300.0, 120.0
_SAMPLE_EVERY_S = 5.0


@contextmanager
def process(module: str, *words: object, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process of ours and what it prints after `ready`; killed in the end."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)], env={**ours, **variables}, stdout=subprocess.PIPE, text=True
    ) as popen:
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            if not line.startswith("ready"):
                raise SystemExit(f"{module} ended; what it says stands above")
            yield popen, line.removeprefix("ready").strip()
        finally:
            popen.kill()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def server_variables(url: str) -> dict[str, str]:
    return {
        "TIDEGATE_DATABASE_URL": url, "TIDEGATE_GRPC_LISTEN": "127.0.0.1:0", "TIDEGATE_GRPC_CACHE": "true",
        "TIDEGATE_SERVER_METRICS_PORT": "0",
    }  # fmt: skip


class Breaks:
    """Crashes and kills, in a thread; `away`: from when to when the database was (seconds since 1970)."""

    def __init__(self, url: str, engine: Engine, every: float) -> None:
        self._url, self._engine, self._every = url, engine, every
        self._ended = threading.Event()
        self.away: list[tuple[float, float]] = []
        self.kills = 0
        self.problem = ""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Breaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._every):
                begun = time.time()
                crash(self._url)
                postgres.connect(self._url, wait=_BACK_WITHIN_S).close()
                self.away.append((begun, time.time()))
                say(f"the database was killed, and back after {time.time() - begun:.1f} s")
                if self._ended.wait(self._every):
                    return
                self._engine.check()
                self._engine.kill()
                self._engine.start()
                self.kills += 1
                say("the engine was killed and started again")
        except (Exception, SystemExit) as error:
            self.problem = str(error)


def crash(url: str) -> None:
    """Returns when the database has noticed: for a moment it takes new sessions, and then ends them with the others."""
    with (
        closing(postgres.connect(url, wait=30, autocommit=True)) as connection,
        closing(postgres.connect(url, wait=30, autocommit=True)) as other,
    ):
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)
        with contextlib.suppress(psycopg.Error):
            while True:
                other.execute("SELECT 1")
                time.sleep(0.01)


def taken(url: str) -> int:
    """Events that all shards have taken, and have committed."""
    query = f"""
        SELECT coalesce(sum(least), 0)::bigint FROM (
            SELECT min(coalesce((s.offsets->>p::text)::bigint, 0)) AS least
            FROM tidegate.shards s CROSS JOIN generate_series(0, {PARTITIONS - 1}) AS p GROUP BY p) each
    """
    with closing(postgres.connect(url, wait=30)) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


def behind(url: str) -> float:
    """Seconds of the shard that is the farthest behind the clock."""
    with closing(postgres.connect(url, wait=30)) as connection:
        row = connection.execute("SELECT min(watermark) FROM tidegate.shards").fetchone()
        assert row is not None
        return time.time() - float(row[0]) / 1e6


def wait_for(what: str, engine: Engine, count: Callable[[], float], least: float, within: float) -> None:
    end = time.monotonic() + within
    told = time.monotonic()
    while (now := count()) < least:
        engine.check()
        if time.monotonic() > end:
            raise SystemExit(f"waited {within:.0f} s in vain until {what}")
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"{now:,.0f} of {least:,.0f}: waiting until {what}")
        time.sleep(0.5)


def soak(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it, with a database and a broker of its own below `folder`."""
    with (
        EmbeddedPostgres(folder / "soak_db", {"fsync": "off"}) as database,
        EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker,
    ):
        migrate(database.url)
        engine = Engine(folder / "engine", database.url, broker.bootstrap, given.segments)
        try:
            engine.start()
            say(f"soak: {given.users:,} users send their first events")
            with process("loadtest.serving_engine", broker.bootstrap, given.users, given.segments, 0):
                pass
            wait_for("the engine has taken them", engine, lambda: taken(database.url), given.users, _LOADED_WITHIN_S)
            return _soak(given, folder, database.url, broker.bootstrap, engine)
        finally:
            engine.kill()


def _soak(given: argparse.Namespace, folder: Path, url: str, bootstrap: str, engine: Engine) -> dict[str, Any]:
    answers = folder / "answers.csv"
    with (
        process("loadtest.serving_engine", bootstrap, given.users, given.segments, given.soak_rate),
        process("loadtest.serving_server", **server_variables(url)) as (server, port),
    ):
        wait_for("the engine has caught up", engine, lambda: -behind(url), -CAUGHT_UP_S, _CAUGHT_UP_WITHIN_S)
        say(f"soak: {given.soak:.0f} s, a break every {given.break_every:.0f} s")
        memory = Memory(server.pid)
        with Breaks(url, engine, given.break_every) as breaks, memory:
            words = [port, given.users, given.segments, given.soak, answers]
            done = subprocess.run(
                [sys.executable, "-m", "loadtest.serving_callers", *map(str, words)],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
        result: dict[str, Any] = json.loads(done.stdout)
    if breaks.problem:
        raise SystemExit(breaks.problem)
    say("soak: comparing every answer with the log")
    with answers.open(newline="") as file:
        told = [
            Answer(user, segment, member == "1", int(since), int(as_of), int(at))
            for user, segment, member, since, as_of, at in csv.reader(file)
        ]
    found = compare(url, told, {})
    OUT.mkdir(exist_ok=True)
    found.write(OUT / "serving_wrong.csv")
    if found.wrong:
        say(f"soak: {found.wrong:,} answers are not what the log says: {OUT / 'serving_wrong.csv'}")
    result |= {"answers": found.answers, "wrong": found.wrong, "flips_met": found.flips_met}
    failures = result.pop("failures")
    stated = [
        code == "UNAVAILABLE" and any(begun <= at <= back + STATED_S for begun, back in breaks.away)
        for code, at in failures
    ]
    others: dict[str, int] = {}
    for (code, _), fine in zip(failures, stated):
        if not fine:
            others[code] = others.get(code, 0) + 1
    return {
        **result, **memory.found, "unavailable": sum(stated), "failed": others,
        "database_crashes": len(breaks.away), "engine_kills": breaks.kills,
        "longest_away_s": max((back - begun for begun, back in breaks.away), default=0.0),
    }  # fmt: skip


class Memory:
    """Resident memory of a process, every few seconds, while this is entered. `found`: MB."""

    def __init__(self, pid: int) -> None:
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self._samples: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        self._sample()
        while not self._ended.wait(_SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        self._samples.append(self._process.memory_info().rss / 1e6)

    @property
    def found(self) -> dict[str, float]:
        samples = self._samples
        return {"rss_start_mb": samples[0], "rss_middle_mb": samples[len(samples) // 2], "rss_end_mb": samples[-1],
                "rss_most_mb": max(samples)}  # fmt: skip
