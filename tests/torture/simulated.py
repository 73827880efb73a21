"""The stream of a torture without Kafka, and what the engine's shards make of it in this process."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.split import split
from segmentation.types import NEVER
from storage.definitions_folder import read_definitions
from tests.torture.stream import DELAYS, Events, Sending
from tests.torture.verifier.arrivals import Epoch, Part, Rules
from tests.torture.verifier.decode import Message
from tests.torture.verifier.found import Letter, Transition

DEFINITIONS = Path(__file__).with_name("definitions")
RULES = Rules(partitions=len(DELAYS), lateness_us=250_000, horizon_us=30_000_000)
SKEW_US = 20_000_000
IDLE_US = 250_000
SHARDS = 4
START = 1_767_225_600.0
SHARD_RULES = RULES.partitions, RULES.lateness_us, RULES.horizon_us, True


@dataclass(slots=True)
class Simulated:
    """What would be in Kafka, in Postgres' record, and in the log."""

    messages: list[Message] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)


def simulate(seed: int, happenings: int, users: int, per_second: float, settle: bool = True) -> Simulated:
    """Some `happenings` of the stream, read in polls of any size; with `settle` then quiet until no window is open."""
    draw = random.Random(seed)
    out = Simulated()
    logs = _logs(seed, happenings, users, per_second, out)
    engine = _Engine(logs, out)
    now = START
    end = START + happenings / per_second
    while now < end + (30 if settle else 0):
        now += draw.choice((0.01, 0.1, 0.5, 3.0))
        if now > end + 5:
            now += 2
        for partition in draw.sample(range(RULES.partitions), draw.randint(1, RULES.partitions)):
            engine.read(partition, now, draw.choice((3, 50, 10_000)))
    for most in (1 << 30, 1) if settle else ():
        for partition in range(RULES.partitions):
            engine.read(partition, now, most)
    return out


def _logs(seed: int, happenings: int, users: int, per_second: float, out: Simulated) -> list[list[Message]]:
    events = Events(seed, users, RULES.horizon_us / 1e6)
    sendings: list[Sending] = []
    for number in range(happenings):
        sendings += events.next(START + number / per_second)
    logs: list[list[Message]] = [[] for _ in range(RULES.partitions)]
    for each in sorted(sendings):
        log = logs[each.partition]
        log.append(Message(each.partition, len(log), int(each.at * 1000), each.key, each.value))
        out.messages.append(log[-1])
    return logs


class _Engine:
    def __init__(self, logs: list[list[Message]], out: Simulated) -> None:
        folder = read_definitions(DEFINITIONS)
        self.plan = compile_files(folder.files, folder.schema)
        self.decoder = Decoder(folder.schema, SKEW_US)
        self.shards = [Shard(self.plan, *SHARD_RULES) for _ in range(SHARDS)]
        self.logs, self.out = logs, out
        self.steps: dict[int, list[tuple[int, list[Part]]]] = {shard: [] for shard in range(SHARDS)}
        out.epochs.append(Epoch(SHARDS, self.steps))
        self.position = [0] * len(logs)
        self.newest = [0] * len(logs)

    def read(self, partition: int, now: float, most: int) -> None:
        clock = round(now * 1e6)
        log, first = self.logs[partition], self.position[partition]
        messages = [message for message in log[first : first + most] if message.timestamp_ms <= now * 1000]
        self.position[partition] = end = first + len(messages)
        watermark = None
        if messages:
            self.newest[partition] = clock
        elif clock - self.newest[partition] >= IDLE_US:
            watermark = clock - RULES.lateness_us
        stamps = np.array([message.timestamp_ms * 1000 for message in messages], np.int64)
        offsets = np.arange(first, end, dtype=np.int64)
        decoded = self.decoder.decode([m.value for m in messages], offsets, stamps) if messages else None
        rows = decoded.rows if decoded is not None and len(decoded.rows) else None
        parts = [None] * SHARDS if rows is None else split(rows, SHARDS)
        high = NEVER if rows is None else int(rows.high[-1])
        for reject in decoded.rejects if decoded is not None else ():
            self._letter(messages[reject.index], str(reject.reason))
        for number, (shard, mine) in enumerate(zip(self.shards, parts)):
            step = shard.run([Poll(partition, end, clock, high, watermark, mine)])
            record = self.steps[number]
            taken = [Part(part.partition, part.next_offset, part.clock, part.watermark) for part in step.parts]
            record.append((len(record) + 1, taken))
            for late_partition, offset, _ in step.too_late:
                self._letter(self.logs[late_partition][offset], "event_too_late")
            flips = step.transitions
            for place in range(len(flips)):
                for flip in range(flips.first[place], flips.first[place + 1]):
                    self.out.transitions.append(
                        (flips.user_id[place], int(flips.seq[place]), self.plan.names[flips.segment[flip]],
                         bool(flips.entered[flip]), int(flips.effective_at[place]),
                         "event" if flips.by_event[place] else "time")
                    )  # fmt: skip

    def _letter(self, message: Message, reason: str) -> None:
        self.out.letters.append((message.partition, message.offset, reason, message.key, message.value))
