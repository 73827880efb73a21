"""dead-letter list, show and replay on a real PostgreSQL and the embedded broker, with letters of our own making."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from console.commands import dead_letter
from flows.steps import headers_of
from segmentation.events.origin import HEADER, Origin
from segmentation.events.schema import load_schema
from storage import dead_letters, postgres
from storage.dead_letters import DeadLetters, Sent
from storage.messages import pack_headers
from tests.console.run_command import Done, tidegate
from tests.fix_kafka import consume_all, new_topic

pytestmark = pytest.mark.postgres

SCHEMA = "events:\n  amount: {type: bigint}\n"


def at(second: int) -> str:
    return f"2026-03-01T00:00:{second:02d}Z"


@dataclass
class Office:
    """A database with letters, a topic of events, and a folder with the schema."""

    url: str
    kafka: str
    topic: str
    folder: Path

    def run(self, *arguments: str, **more: str) -> Done:
        environment = {
            "TIDEGATE_DATABASE_URL": self.url, "TIDEGATE_KAFKA": self.kafka, "TIDEGATE_EVENTS_TOPIC": self.topic,
            "TIDEGATE_DEFINITIONS": str(self.folder), **more,
        }  # fmt: skip
        return tidegate("dead-letter", *arguments, env=environment)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").out)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with closing(postgres.connect(self.url, autocommit=True)) as connection:
            done = connection.execute(sql.encode(), parameters)
            return done.fetchall() if done.description else []

    def letter(
        self, partition: int, offset: int, value: bytes | None, reason: str = "wrong_type", key: bytes | None = b"u1",
        headers: Sequence[tuple[str, bytes | None]] = (), second: int = 0, topic: str | None = None,
    ) -> str:  # fmt: skip
        """Its origin."""
        self.query(
            'INSERT INTO tidegate.dead_letters (topic, partition, "offset", key, value, headers, reason, detail, at) '
            "VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, 'a detail', %s)",
            [topic or self.topic, partition, offset, key, value, pack_headers(headers).decode(), reason, at(second)],
        )
        return f"{topic or self.topic}/{partition}@{offset}"

    def sent(self) -> list[Message]:
        return consume_all(self.kafka, self.topic, 2)

    def origins(self) -> list[str]:
        """Of what was sent."""
        return [str(Origin.among(headers_of(message))) for message in self.sent()]

    def waiting(self) -> int:
        return int(self.query("SELECT count(*) FROM tidegate.dead_letters WHERE replayed_at IS NULL")[0][0])


@pytest.fixture
def office(database_url: str, embedded_broker: str, tmp_path: Path) -> Iterator[Office]:
    (tmp_path / "schema.yml").write_text(SCHEMA)
    yield Office(database_url, embedded_broker, new_topic(embedded_broker, "events", 2), tmp_path)


def event(number: int, user: str = "u1", **fields: Any) -> bytes:
    return json.dumps(
        {"user_id": user, "event_id": str(number), "event_type": "buy", "event_time": at(number % 60), **fields}
    ).encode()


def test_a_list_is_narrowed_and_counted(office: Office) -> None:
    for offset in range(6):
        office.letter(0, offset, b"{", "not_json" if offset % 2 else "wrong_type", f"u{offset % 3}".encode(),
                      second=offset)  # fmt: skip
    office.letter(1, 9, None, "no_value", None, second=9, topic="elsewhere")

    def offsets(*arguments: str) -> list[int]:
        return [letter["offset"] for letter in office.json("list", *arguments)]

    assert offsets() == [9, 5, 4, 3, 2, 1, 0]
    assert offsets("--reason", "not_json") == [5, 3, 1]
    assert offsets("--topic", "elsewhere") == [9]
    assert offsets("--since", at(2), "--until", at(5)) == [4, 3, 2]
    assert offsets("--user", "u0") == [3, 0]
    assert offsets("--user", "u0", "--reason", "wrong_type") == [0]
    assert office.json("list", "--count") == {"not_json": 3, "wrong_type": 3, "no_value": 1}
    shown = office.run("list", "--topic", office.topic)
    assert shown.out.splitlines()[-1] == "6 refused events: 3 not_json, 3 wrong_type"
    assert office.run("list", "--user", "nobody").out == "no refused events\n"
    assert office.run("list", "--reason", "bad").code == 2


def test_a_long_list_comes_in_pages(office: Office) -> None:
    for offset in range(7):  # some at the same time
        office.letter(offset % 2, offset, b"{", second=offset // 3)
    seen: list[str] = []
    after: list[str] = []
    while page := office.json("list", "--limit", "3", *after):
        seen += [letter["origin"] for letter in page]
        after = ["--after", page[-1]["origin"]]
    assert len(seen) == 7 and seen == [letter["origin"] for letter in office.json("list")]
    told = office.run("list", "--limit", "3").err
    assert "the newest 3 of 7" in told and f"--after {seen[2]}" in told
    assert office.run("list", "--after", "events/5@5").code == 2


def test_a_list_does_not_read_large_values_whole(office: Office) -> None:
    office.letter(0, 1, b'{"x": "' + b"y" * 1_000_000)
    assert office.run("list").out.splitlines()[1].endswith("y…")


def test_one_is_shown_with_everything(office: Office) -> None:
    value = b'{"amount":49.90,"amount":1e999,"text":"\x1b[31m \xc3\xa9"}'.replace(b"\x1b", b"\\u001b")
    origin = office.letter(1, 5, value, headers=[("trace", b"\xff\x00"), ("empty", None), ("a", b"\x1b[0m")])
    told = office.run("show", origin)
    assert told.code == 0
    for line in (f"origin:   {origin}", "reason:   wrong_type", "detail:   a detail", "key:      u1", "replayed: no",
                 '  "amount": 49.90,', '  "amount": 1e999,', "header:   empty = none", r"header:   a = \x1b[0m",
                 f"value:    {len(value)} bytes"):  # fmt: skip
        assert line in told.out.splitlines(), told.out
    assert "\x1b" not in told.out
    found = office.json("show", origin)
    assert found["value"] == value.decode() and found["replayed"] is None
    assert found["headers"] == [
        {"name": "trace", "base64": base64.b64encode(b"\xff\x00").decode()}, {"name": "empty", "value": None},
        {"name": "a", "value": "\x1b[0m"},
    ]  # fmt: skip
    assert office.run("show", origin, "--raw").out.encode() == value
    assert office.run("show", f"{office.topic}/1@6").code == 2
    assert "such as events/0@17" in office.run("show", "events-0-17").err


def test_what_is_no_text_or_not_there_is_shown_too(office: Office) -> None:
    binary = office.letter(0, 0, b"\x00\x01\xff" * 1_000)
    deep = office.letter(0, 1, b"[" * 5_000)
    gone = office.letter(0, 2, None, key=None)
    assert "00 01 ff 00" in office.run("show", binary).out
    assert "[[[[" in office.run("show", deep).out
    told = office.run("show", gone)
    assert "value:    none" in told.out and "key:      none" in told.out
    assert (office.run("show", gone, "--raw").code, office.json("show", gone)["key"]) == (1, None)


def test_a_replay_sends_what_would_be_accepted_as_it_came(office: Office) -> None:
    good = office.letter(0, 1, event(1), headers=[("trace", b"\xff"), ("none", None)])
    other = office.letter(1, 7, event(2, "u2"), key=None)
    bad = office.letter(0, 2, event(3, amount="much"))
    office.letter(0, 3, event(4), topic="elsewhere")
    dry = office.run("replay", "--dry-run")
    assert dry.code == 1 and office.sent() == [] and office.waiting() == 4
    assert "2 of 4 refused events would be accepted" in dry.out
    assert f"  {bad}: amount: expected a whole number" in dry.out or f"  {bad}: amount" in dry.out
    assert "still refused: 1 other_topic" in dry.out
    done = office.run("replay", "--json")
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["selected"], told["acceptable"], told["sent"]) == (4, 2, 2)
    assert told["refused"] == {"wrong_type": 1, "other_topic": 1}
    sent = dict(zip(office.origins(), office.sent()))
    assert sent.keys() == {good, other}
    assert (sent[good].key(), sent[good].value()) == (b"u1", event(1))
    assert sent[good].headers() == [("trace", b"\xff"), ("none", None), (HEADER, good.encode())]
    assert (sent[other].key(), sent[other].value()) == (None, event(2, "u2"))
    # What was sent is no longer listed, and not sent again unless that is asked for.
    assert [letter["origin"] for letter in office.json("list", "--topic", office.topic)] == [bad]
    assert office.run("replay", good).out.endswith("nothing to replay\n")
    assert len(office.sent()) == 2
    replayed = office.json("show", good)["replayed"]
    to = Origin.parse(replayed["to"])
    assert to == Origin(office.topic, sent[good].partition() or 0, sent[good].offset() or 0)
    assert replayed["outcome"] == "waiting"
    assert office.run("replay", good, "--all").code == 0
    assert len(office.sent()) == 3


def test_forced_ones_are_sent_and_said_to_be_refused(office: Office) -> None:
    bad = office.letter(0, 2, event(3, amount="much"))
    done = office.run("replay", "--force")
    assert done.code == 1 and "1 of 1 refused events sent" in done.out and "still refused: 1 wrong_type" in done.out
    assert len(office.sent()) == 1 and office.waiting() == 0
    to = office.json("show", bad)["replayed"]["to"]
    # As the engine refuses it again.
    parsed = Origin.parse(to)
    assert parsed is not None
    again = office.letter(parsed.partition, parsed.offset, event(3, amount="much"), headers=[(HEADER, bad.encode())])
    assert again == to
    replayed = office.json("show", bad)["replayed"]
    assert (replayed["outcome"], replayed["reason"]) == ("refused", "wrong_type")
    assert "refused again: wrong_type" in office.run("list", "--all").out
    # Sent once more, it still names where it came from first.
    assert office.run("replay", again, "--force").code == 1
    assert [message.headers() for message in office.sent()] == [[(HEADER, bad.encode())]] * 2


def test_order_is_kept(office: Office) -> None:
    origins = [office.letter(0, offset, event(offset)) for offset in range(20)]
    assert office.run("replay").code == 0
    assert office.origins() == origins


def test_named_ones_that_are_not_there_stop_it(office: Office) -> None:
    here = office.letter(0, 1, event(1))
    done = office.run("replay", here, "events/0@99")
    assert done.code == 2 and "events/0@99" in done.err and office.sent() == []
    assert office.run("replay", here).code == 0


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE_ROWS", 4)


def test_killed_in_the_middle_nothing_is_lost(
    office: Office, small_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = {office.letter(0, offset, event(offset)) for offset in range(15)}
    marked: list[int] = []
    mark = DeadLetters.mark

    def killed(self: DeadLetters, sent: Sequence[Sent]) -> None:
        if len(marked) == 2:
            raise KeyboardInterrupt
        marked.append(len(sent))
        mark(self, sent)

    monkeypatch.setattr(DeadLetters, "mark", killed)
    assert office.run("replay").code == 130
    assert office.waiting() == 7 and len(office.sent()) == 12
    monkeypatch.setattr(DeadLetters, "mark", mark)
    assert office.run("replay").code == 0
    assert len(sent := office.origins()) == 12 + 7 and set(sent) == origins and office.waiting() == 0


def test_what_kafka_does_not_acknowledge_is_not_marked(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.letter(0, 0, event(0))
    monkeypatch.setattr(dead_letter, "DELIVERY_TIMEOUT_S", 0.5)
    done = office.run("replay", TIDEGATE_KAFKA="127.0.0.1:9")
    assert done.code == 2 and "127.0.0.1:9" in done.err and office.waiting() == 1


def test_pages_hold_so_many_bytes_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE_BYTES", 1_000)
    for offset, size in enumerate([400, 400, 400, 5_000, 0, 10]):
        office.letter(0, offset, b"x" * size)
    with dead_letters.opened(office.url) as stored:
        pages = [[letter.origin.offset for letter in page] for page in stored.pages(dead_letters.Selection())]
    assert pages == [[0, 1, 2], [3], [4, 5]]


def test_those_refused_meanwhile_wait_for_the_next_time(office: Office, small_pages: None) -> None:
    for offset in range(6):
        office.letter(0, offset, event(offset))
    with dead_letters.opened(office.url) as stored:
        pages = stored.pages(dead_letters.Selection())
        assert len(next(pages)) == 4
        office.query(
            'INSERT INTO tidegate.dead_letters (topic, partition, "offset", reason, detail) '
            "VALUES (%s, 0, 100, 'not_json', '')",
            [office.topic],
        )
        assert [letter.origin.offset for page in pages for letter in page] == [4, 5]


def engine(office: Office, schema: str, watermark: int) -> None:
    office.query(
        "INSERT INTO tidegate.engine (definitions, schema, segments, shards, options) VALUES ('d', %s, '{}', 2, '{}')",
        [load_schema(schema).digest],
    )
    office.query(
        "INSERT INTO tidegate.shards (shard, watermark) SELECT n, %s FROM generate_series(0, 1) n", [watermark]
    )


def test_too_late_and_too_early_ones_stay_with_a_remedy(office: Office) -> None:
    now = time.time_ns() // 1_000
    engine(office, SCHEMA, now)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now // 1_000_000))
    late = office.letter(0, 0, event(1), "event_too_late")
    office.letter(0, 1, event(2, event_time="2100-01-01T00:00:00Z"), "event_time_in_future")
    office.letter(0, 2, event(3, event_time=stamp), "event_time_in_future")
    done = office.run("replay", "--dry-run")
    assert "1 of 3 refused events would be accepted" in done.out
    assert "Raise dedupe_horizon" in done.out and "once that time has come" in done.out
    assert office.run("replay", late).code == 1 and office.sent() == []
    # A longer horizon, or old files: nothing is too late.
    assert office.run("replay", late, "--dry-run", TIDEGATE_DEDUPE_HORIZON="1e9").code == 0
    assert office.run("replay", "--dry-run", TIDEGATE_CLOCK="event").code == 0


def test_another_schema_than_the_engines_is_no_judge(office: Office) -> None:
    engine(office, "events: {}\n", 0)
    office.letter(0, 0, event(1))
    dry = office.run("replay", "--dry-run")
    assert dry.code == 0 and "--rebuild" in dry.err
    refused = office.run("replay")
    assert refused.code == 2 and "--rebuild" in refused.err and office.sent() == []
    assert office.run("replay", "--force").code == 0 and len(office.sent()) == 1


def test_values_of_a_megabyte_go_through(office: Office) -> None:
    value = event(1, pad="x" * 1_000_000)
    office.letter(0, 0, value)
    assert office.run("replay").code == 0
    assert [message.value() for message in office.sent()] == [value]
