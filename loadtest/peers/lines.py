"""End to end: both contenders read one topic of one broker and write to one PostgreSQL, all on this machine's cores."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest.peers import flink, flink_sql
from loadtest.peers.flink import LOOK_SECONDS, Progress
from loadtest.peers.world import OVER_DAYS, Judge, Members, World

TOPIC, PARTITIONS = "events", 4
LIMIT_SECONDS = 1_800
#: Small enough that a member's row is there within the second, large enough for a batch.
_SINK = {"sink.buffer-flush.max-rows": "5000", "sink.buffer-flush.interval": "1 s"}

_TAKEN = f"""
    SELECT coalesce(sum(least_taken), 0)::bigint FROM (
        SELECT min(coalesce((s.offsets->>p::text)::bigint, 0)) AS least_taken
        FROM tidegate.shards s CROSS JOIN generate_series(0, {PARTITIONS - 1}) AS p GROUP BY p) each
"""


def produce(bootstrap: str, world: World) -> None:
    """All messages, keyed by user."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
        future.result()
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2_random",
        "queue.buffering.max.messages": 1_000_000, "compression.type": "lz4", "enable.idempotence": True,
    })  # fmt: skip
    for message in world.messages:
        at = message.index(b'"user_id":"') + 11
        while True:
            try:
                producer.produce(TOPIC, message, message[at : message.index(b'"', at)])
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def flink_job(
    bootstrap: str, postgres: str, world: World, settings: dict[str, str], parallelism: int
) -> tuple[Progress, Members]:
    address = urlsplit(postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        masks = flink_sql.masks_of(len(world.definitions))
        columns = "".join(f", m{number} bigint" for number in range(masks))
        connection.execute(f"DROP TABLE IF EXISTS {flink_sql.MASKS}".encode())
        connection.execute(f"CREATE TABLE {flink_sql.MASKS} (user_id text PRIMARY KEY{columns})".encode())
        source = {
            "connector": "kafka", "topic": TOPIC, "properties.bootstrap.servers": bootstrap,
            "properties.group.id": "flink", "scan.startup.mode": "earliest-offset",
            "scan.bounded.mode": "latest-offset", "format": "json", "json.timestamp-format.standard": "ISO-8601",
        }  # fmt: skip
        sink = {
            "connector": "jdbc", "table-name": flink_sql.MASKS, "username": address.username or "",
            "url": f"jdbc:postgresql://{address.hostname}:{address.port}{address.path}?reWriteBatchedInserts=true",
            "password": address.password or "", **_SINK,
        }  # fmt: skip
        statements = [
            flink_sql.source(source, disorder_seconds(world)),
            flink_sql.sink(sink, masks, True),
            flink_sql.insert(world.definitions, OVER_DAYS if world.form == "over" else None),
        ]
        progress = flink.run(statements, settings, parallelism)
        members = {
            (user, number * flink_sql.BITS + bit)
            for user, *values in connection.execute(f"SELECT * FROM {flink_sql.MASKS}".encode())
            for number, value in enumerate(values)
            for bit in range(flink_sql.BITS)
            if value >> bit & 1
        }
    return progress, members


def disorder_seconds(world: World) -> int | None:
    return None if world.form == "lifetime" else -(-world.disorder_us // 1_000_000)


def tidegate(
    bootstrap: str, postgres: str, world: World, judge: Judge, workers: int
) -> tuple[Progress, Members, Members]:
    """How it went; the members that it has stored; those that DuckDB finds at the same instant."""
    with tempfile.TemporaryDirectory() as name, psycopg.connect(postgres, autocommit=True) as connection:
        folder = Path(name)
        (folder / "defs").mkdir()
        for file, text in world.files().items():
            (folder / "defs" / file).write_text(text)
        environment = os.environ | {
            "TIDEGATE_DEFINITIONS": str(folder / "defs"), "TIDEGATE_DATABASE_URL": postgres,
            "TIDEGATE_KAFKA": bootstrap, "TIDEGATE_STORAGE_URL": str(folder / "storage"), "TIDEGATE_CLOCK": "event",
            "TIDEGATE_ENGINE_METRICS_PORT": "0",
        }  # fmt: skip
        command = [sys.executable, "-m", "console.main"]
        connection.execute("DROP SCHEMA IF EXISTS tidegate CASCADE")
        subprocess.run([*command, "migrate"], env=environment, check=True, capture_output=True)
        progress = Progress(time.time())
        with (folder / "log").open("wb") as log:
            more = ["--workers", str(workers)] if workers > 1 else []
            engine = subprocess.Popen([*command, "run", *more], env=environment, stdout=log, stderr=log)
            try:
                _watch(engine, connection, progress, len(world.messages), folder / "log")
            finally:
                engine.terminate()
                engine.wait(120)
        watermark = connection.execute("SELECT min(watermark), max(watermark) FROM tidegate.shards").fetchone()
        assert watermark is not None and watermark[0] == watermark[1], "the shards stand at different times"
        rows = connection.execute("SELECT user_id, segment FROM segment_members").fetchall()
        return progress, {(user, int(segment[1:])) for user, segment in rows}, judge.members(watermark[0])


def _watch(
    engine: "subprocess.Popen[bytes]", connection: psycopg.Connection, progress: Progress, total: int, log: Path
) -> None:
    """Until all events have been taken by every shard, committed."""
    while not progress.seen or progress.seen[-1][1] < total:
        if engine.poll() is not None or time.time() - progress.began > LIMIT_SECONDS:
            raise SystemExit(f"the engine did not end its work:\n{log.read_text()[-2_000:]}")
        time.sleep(LOOK_SECONDS)
        row = connection.execute(_TAKEN.encode()).fetchone()
        progress.seen.append((time.time() - progress.began, row[0] if row else 0))
    progress.ended = progress.seen[-1][0]
