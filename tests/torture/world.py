"""What a torture runs on: Apache Kafka and PostgreSQL of its own, proxies in front of both, a folder."""

import json
import os
import shutil
import signal
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg.conninfo import make_conninfo

from storage import postgres
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from tests.kafka_node.node import KafkaNode
from tests.proxy import TcpProxy
from tests.torture.stream import DELAYS, FAR_AHEAD
from tests.torture.verifier.__main__ import Question
from tests.torture.verifier.arrivals import Rules

DEFINITIONS = Path(__file__).with_name("definitions")
EVENTS, TRANSITIONS, DEAD_LETTERS = "events", "segment-transitions", "events-dead-letter"
PROFILES, PROFILE_PARTITIONS = "profiles", 1
CHECKPOINT_EVERY = 1.0
FIRST_SHARDS, LATENESS, HORIZON, SKEW = 4, 0.25, 60.0, FAR_AHEAD - 10
#: Longer than the longest window.
WINDOW_SECONDS = 11.0

#: The processes are killed, not the machine: what the operating system has is safe without a flush.
OPTIONS = {"fsync": "off", "synchronous_commit": "on", "max_connections": "200"}
#: What is recorded beside the product: every step that was ever committed, and every change of the number of shards.
RECORD = """
    CREATE SCHEMA torture;
    CREATE TABLE torture.steps (
        place bigint GENERATED ALWAYS AS IDENTITY, layout integer, shard integer, number bigint, parts json
    );
    CREATE FUNCTION torture.new_layout() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO torture.steps (layout) VALUES (NEW.shards); RETURN NEW; END
    $$;
    CREATE TRIGGER first_layout AFTER INSERT ON tidegate.engine
        FOR EACH ROW EXECUTE FUNCTION torture.new_layout();
    CREATE TRIGGER new_layout AFTER UPDATE ON tidegate.engine
        FOR EACH ROW WHEN (OLD.shards <> NEW.shards) EXECUTE FUNCTION torture.new_layout();
"""


class Database(EmbeddedPostgres):
    """One that can be made to crash."""

    def crash(self) -> None:
        """The server ends at once, without a checkpoint, and so do its sessions; then it is gone."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(60)

    @property
    def port(self) -> int:
        return self._port

    def restart(self) -> None:
        self._start()


class World:
    """Context manager. `environment` is the engine's, by way of the proxies; `url`, `kafka.bootstrap` go straight."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._connection: postgres.Connection | None = None

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copytree(DEFINITIONS, self.folder / "definitions")
            self.kafka_proxy = stack.enter_context(TcpProxy(("127.0.0.1", 0)))
            self.kafka = stack.enter_context(KafkaNode(self.folder / "kafka", proxied=self.kafka_proxy.port))
            self.kafka_proxy.target = ("127.0.0.1", self.kafka.proxied_port)
            self.database = Database(self.folder / "postgres", OPTIONS)
            stack.enter_context(self.database)
            stack.callback(self._disconnect)
            self.database_proxy = stack.enter_context(TcpProxy(("127.0.0.1", self.database.port)))
            migrate(self.url)
            self.query(RECORD)
            self._create_topics()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return self.database.url

    def _create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
        topics = [NewTopic(EVENTS, len(DELAYS), 1), NewTopic(TRANSITIONS, 4, 1), NewTopic(DEAD_LETTERS, 1, 1)]
        topics.append(NewTopic(PROFILES, PROFILE_PARTITIONS, 1, config={"cleanup.policy": "compact"}))
        for future in admin.create_topics(topics).values():
            future.result(30)

    def environment(self, **more: str) -> dict[str, str]:
        values: dict[str, Any] = {
            "definitions": self.folder / "definitions", "storage_url": self.folder / "storage",
            "database_url": make_conninfo(self.url, host="127.0.0.1", port=self.database_proxy.port),
            "kafka": f"127.0.0.1:{self.kafka_proxy.port}", "events_topic": EVENTS, "transitions_topic": TRANSITIONS,
            "dead_letter_topic": DEAD_LETTERS, "profiles_topic": PROFILES, "shards": self.shards(),
            "lateness": LATENESS, "dedupe_horizon": HORIZON,
            "max_skew": SKEW, "checkpoint_every": CHECKPOINT_EVERY, "engine_metrics_port": 0,
        }  # fmt: skip
        settings = {f"TIDEGATE_{name.upper()}": str(value) for name, value in values.items()}
        return {**os.environ, **settings, **more}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows, of a SELECT; straight from the database, by a connection that lasts as long as the server does."""
        if self._connection is None:
            self._connection = postgres.connect(self.url, wait=30, autocommit=True)
        cursor = self._connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def committed(self) -> int:
        """Messages that every shard has taken: what grows while the engine is well."""
        return int(self.query(
            "SELECT coalesce(sum(o), 0) FROM (SELECT min(coalesce((offsets ->> p::text)::bigint, 0)) AS o "
            f"FROM tidegate.shards, generate_series(0, {len(DELAYS) - 1}) p GROUP BY p) x"
        )[0][0])  # fmt: skip

    def watermark_us(self) -> int | None:
        found: int | None = self.query("SELECT min(watermark) FROM tidegate.shards")[0][0]
        return found

    def shards(self) -> int:
        found = self.query("SELECT shards FROM tidegate.engine")
        return found[0][0] if found else FIRST_SHARDS

    def tokens(self) -> list[int]:
        """Of the shards; none before the first start."""
        return [token for (token,) in self.query("SELECT token FROM tidegate.shards ORDER BY shard")]

    def unsent(self) -> int:
        return int(self.query("SELECT count(*) FROM tidegate.outbox")[0][0])

    def restart_database(self, crash: bool) -> None:
        self._disconnect()
        self.database.crash() if crash else self.database.stop()
        self.database.restart()
        self.database_proxy.target = ("127.0.0.1", self.database.port)

    def restart_kafka(self, crash: bool) -> None:
        self.kafka.kill() if crash else self.kafka.stop()
        self.kafka.start()

    def question(self) -> Path:
        """What the verifier is to be asked, as a file."""
        question = Question(
            self.kafka.bootstrap, EVENTS, TRANSITIONS, DEAD_LETTERS, str(self.folder / "definitions"),
            round(SKEW * 1e6),
            Rules(len(DELAYS), round(LATENESS * 1e6), round(HORIZON * 1e6), PROFILE_PARTITIONS),
        )  # fmt: skip
        path = self.folder / "question.json"
        path.write_text(json.dumps(asdict(question)))
        return path
