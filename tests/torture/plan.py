"""What is to happen, from one seed: every fault with all that is random about it."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.torture.cluster import Manner

POINTS = (
    "state_write", "chunk_write", "in_transaction", "after_commit", "before_publish", "in_publish", "after_publish",
    "clean",
)  # fmt: skip
OTHERS = {
    "lost_answer": 6, "drop_database": 4, "cut_database": 4, "freeze_database": 3, "drop_kafka": 2, "cut_kafka": 2,
    "freeze_kafka": 2, "restart_database": 3, "crash_database": 3, "restart_kafka": 2, "crash_kafka": 2, "revive": 4,
    "terminate": 4, "rescale": 2, "reshard": 2, "killed_reshard": 5,
}  # fmt: skip
#: Where a reshard is killed; None: after a random time.
RESHARD_POINTS = (None, "state_write", "chunk_write", "dealt", "clean")
#: Faults that need nothing but time to go on; some of them happen when the stream has ended.
ALWAYS = ("kill", "terminate", "cut_database", "crash_database", "restart_database", "drop_kafka")


@dataclass(frozen=True, slots=True)
class Options:
    """From TORTURE_* variables. faults: how often each; seconds: the most time for all of them; rate: happenings
    a second; off: the protection that is taken away."""

    seed: int
    faults: Mapping[str, int]
    seconds: float = 1500.0
    rate: float = 100.0
    users: int = 500
    off: str | None = None

    @staticmethod
    def from_environment() -> "Options":
        def given(name: str, default: float) -> float:
            return float(os.environ.get(f"TORTURE_{name}") or default)

        faults = {"kill": int(given("KILLS", 50)), **dict.fromkeys(POINTS, int(given("POINTS", 10))), **OTHERS}
        if named := os.environ.get("TORTURE_FAULTS"):
            faults = {name: int(times) for name, times in (each.split("=") for each in named.split())}
        return Options(
            int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(1 << 32)),
            faults,
            given("SECONDS", 1500),
            given("RATE", 100),
            int(given("USERS", 500)),
            os.environ.get("TORTURE_OFF"),
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """processes, manner: of the engine that it hits. moment: s after which; first: does the engine get something done
    before? place: in [0, 1), which process, or which passing of a fail-point; length: s, of what lasts.
    """

    kind: str
    processes: int
    manner: Manner
    first: bool
    moment: float
    place: float
    length: float


def plan(options: Options) -> tuple[list[Fault], list[Fault]]:
    """Those that happen while events come, and those that happen afterwards."""
    draw = random.Random(options.seed)
    kinds = [kind for kind, times in options.faults.items() for _ in range(times)]
    draw.shuffle(kinds)
    faults = []
    for kind in kinds:
        processes = 1 if kind == "revive" else draw.choices((1, 2, 4), (65, 25, 10))[0]
        fault = Fault(
            kind,
            processes,
            "alone" if processes == 1 else draw.choices(("supervised", "hosts"), (70, 30))[0],
            draw.random() < 0.7,
            draw.choice((0.3, 1.5, 4.0)) * draw.random(),
            draw.random(),
            2.5 * draw.random(),
        )
        faults.append(fault)
    some = len(faults) // 20
    after = [fault for fault in faults if fault.kind in ALWAYS][-some:] if some else []
    return [fault for fault in faults if fault not in after], after
