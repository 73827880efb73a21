"""The corpus compiles, covers every pair of rows of the table of SQL, and means what DuckDB and the twin say."""

from itertools import combinations
from pathlib import Path

import pytest

from segmentation.compile.lower import lower
from segmentation.compile.tree import Definition
from segmentation.evaluate.shard import Shard
from segmentation.reference import Flip, Reference, Version
from tests.corpus import corpus, stream
from tests.corpus.rows import ROWS, rows_of
from tests.oracle.judge import Judge
from tests.oracle.running import flips_of
from tests.oracle.strategies import PARTITIONS, Read
from tests.oracle.streams import polls_of
from tests.oracle.test_members import members_at

pytestmark = pytest.mark.timeout(600)

EVERYTHING = corpus.everything()
#: Instants at which DuckDB is asked, of each file.
INSTANTS = 15


def test_there_are_enough() -> None:
    assert len(EVERYTHING) >= 150


def test_every_pair_of_rows_is_covered() -> None:
    found = [rows_of(definition) for definition in corpus.bound(EVERYTHING)]
    missing = [
        f"{one} with {other}" for one, other in combinations(ROWS, 2) if not any({one, other} <= rows for rows in found)
    ]
    assert not missing
    for row in ROWS:
        assert sum(row in rows for rows in found) >= 10, row


def test_everything_compiles_into_one_plan() -> None:
    plan = lower(corpus.bound(EVERYTHING), corpus.SCHEMA)
    assert {name.partition("/")[0] for name in plan.names} == EVERYTHING.keys()
    assert None not in plan.roots, "a segment that nobody can ever be in"


@pytest.mark.parametrize("file", corpus.FILES, ids=lambda file: file.stem)
def test_logs_and_members(file: Path) -> None:
    """The engine's log is the twin's, for one shard and for three; at many instants it says what DuckDB says."""
    sqls = corpus.with_what_they_read(list(corpus.texts(file)), EVERYTHING)
    definitions = corpus.bound(sqls)
    reads = stream.reads()
    reference = Reference(definitions, PARTITIONS, stream.LATENESS_US, None, False, 1)
    for read in reads:
        for event in (*read.events, *(record for record in read.records if isinstance(record, Version))):
            reference.event(read.partition, event, read.clock)
    reference.finish(stream.END)
    logs = {shards: _engine(definitions, reads, shards) for shards in (1, 3)}
    for shards, log in logs.items():
        assert _order(log) == _order(reference.log), f"{shards} shards"
    judge = Judge(corpus.COLUMNS, corpus.USERS)
    judge.load(reference.known())
    texts = {definition.name: definition.sql for definition in definitions}
    instants = sorted({flip.effective_at for flip in reference.log} | {known.known_at for known in reference.known()})
    chosen = instants[:: max(1, len(instants) // INSTANTS)]
    inside: set[str] = set()
    outside: set[str] = set()
    for t in [*chosen, *(t - 1 for t in chosen[::5]), stream.END]:
        judged = judge.members(texts, t)
        assert judged == members_at(reference.log, t), f"at {t}: {judged ^ members_at(reference.log, t)}"
        known = {k.event.user_id for k in reference.known() if k.known_at <= t}
        inside |= {name for _, name in judged}
        outside |= {name for name in texts if any((user, name) not in judged for user in known)}
    telling = inside & outside
    assert len(telling) >= 0.9 * len(texts), f"always or never: {sorted(texts.keys() - telling)}"


def _engine(definitions: list[Definition], reads: list[Read], shards: int) -> list[Flip]:
    plan = lower(definitions, corpus.SCHEMA)
    log: list[Flip] = []
    for polls in polls_of(reads, corpus.COLUMNS, shards):
        shard = Shard(plan, PARTITIONS, stream.LATENESS_US, None, False)
        shard.add_partitions(PARTITIONS, 1)
        for first in range(0, len(polls), 7):
            log += flips_of(shard.run(polls[first : first + 7]), plan)
        log += flips_of(shard.finish(stream.END), plan)
    return log


def _order(log: list[Flip]) -> list[Flip]:
    return sorted(log, key=lambda flip: (flip.user_id, flip.seq, flip.segment))
