"""What is to happen, from one seed: every fault with all that is random about it."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

POINTS = ("state_write", "chunk_write", "in_transaction", "after_commit", "before_publish", "after_publish", "clean")
#: How often the other faults happen in a whole torture.
OTHERS = {
    "lost_answer": 6, "drop_database": 4, "cut_database": 4, "freeze_database": 3, "drop_kafka": 2, "cut_kafka": 2,
    "freeze_kafka": 2, "restart_database": 3, "crash_database": 3, "restart_kafka": 2, "crash_kafka": 2, "revive": 4,
    "terminate": 4, "rescale": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """From TORTURE_* variables. others: how often each fault that is no kill; seconds: all of the faults' time."""

    seed: int
    kills: int = 50
    points: int = 10
    others: Mapping[str, int] = field(default_factory=lambda: OTHERS)
    seconds: float = 1500.0
    rate: float = 150.0
    users: int = 500
    checkpoint_every: float = 1.0
    off: str | None = None

    @staticmethod
    def from_environment() -> "Options":
        def given(name: str, default: float) -> float:
            return float(os.environ.get(f"TORTURE_{name}") or default)

        share = given("OTHERS", 1.0)
        return Options(
            int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(1 << 32)),
            int(given("KILLS", 50)),
            int(given("POINTS", 10)),
            {name: round(count * share) for name, count in OTHERS.items()},
            given("SECONDS", 1500),
            given("RATE", 150),
            int(given("USERS", 500)),
            off=os.environ.get("TORTURE_OFF"),
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """processes: of the engine that it hits. moment: s after which; first: does the engine get something done before?

    place: in [0, 1), which process, or which passing of a fail-point; length: s, of what lasts.
    """

    kind: str
    processes: int
    first: bool
    moment: float
    place: float
    length: float


def plan(options: Options) -> list[Fault]:
    draw = random.Random(options.seed)
    kinds = ["kill"] * options.kills
    for point in POINTS:
        kinds += [point] * options.points
    for kind, times in options.others.items():
        kinds += [kind] * times
    draw.shuffle(kinds)
    return [
        Fault(
            kind,
            draw.choices((1, 2, 4), (60, 25, 15))[0],
            draw.random() < 0.7,
            draw.choice((0.3, 1.5, 4.0)) * draw.random(),
            draw.random(),
            2.5 * draw.random(),
        )
        for kind in kinds
    ]
