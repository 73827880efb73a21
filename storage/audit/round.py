"""One round of the audit: some users of every shard, their stored membership beside what DuckDB says.

A round reads and compares; it writes only what it found. What it cannot compare is never a mismatch: users whose
history is not whole where a definition looks back for ever, definitions that DuckDB cannot be asked about, and states
of which the stored membership has moved on to other definitions.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import duckdb
from sqlglot.errors import SqlglotError

from segmentation.compile import compile_files
from segmentation.compile.explain import looks_back_for_ever
from segmentation.compile.plan import Plan, structure
from segmentation.errors import TidegateError
from segmentation.events.schema import Schema
from storage import deployments, postgres
from storage.audit import findings, reproduction
from storage.audit.findings import Mismatch
from storage.audit.judge import FIXED, Judging
from storage.audit.sample import Sample, Saved
from storage.audit.stored import Moved, read_stored
from storage.commits import CheckpointRecord
from storage.disk import StorageError
from storage.engine_state import checkpoint_of
from storage.migrate import check_migrated
from storage.postgres import Connection

log = logging.getLogger("tidegate.audit")

#: Segments of one round at most, at random; of one question to DuckDB.
SEGMENTS, TOGETHER = 100, 25
#: Wrong answers of one round that are written down; the others are counted.
WRITTEN = 50
#: A state that was replaced while it was read is looked at again, so often.
ATTEMPTS = 3


@dataclass(slots=True)
class Outcome:
    """users, answers (user and segment): compared; wrong: of these; skipped: answers that could not be compared, for
    want of history; moved: shards whose membership had moved on. seconds: of processor time. differ: the first wrong
    ones, each with its file; agree: (user, segment) that were right."""

    users: int = 0
    answers: int = 0
    wrong: int = 0
    skipped: int = 0
    moved: int = 0
    seconds: float = 0.0
    unjudged: list[str] = field(default_factory=list)
    differ: list[Mismatch] = field(default_factory=list)
    agree: set[tuple[str, str]] = field(default_factory=set)


def audit(url: str, storage_url: Path, users: int, draw: Random) -> Outcome:
    """users: about so many in all. StorageError, DatabaseError; TidegateError where no engine has run."""
    began, where = time.process_time(), postgres.address(url)
    deployment = deployments.deployed(url)
    if deployment is None:
        raise TidegateError(f"No engine has ever run on {where}: there is nothing to audit. Start one: tidegate run.")
    folder = deployment.folder
    plan, schema = compile_files(folder.files, folder.schema), folder.schema
    outcome = Outcome()
    with (
        closing(postgres.connect(url, application="tidegate audit", autocommit=True)) as connection,
        postgres.foreign_errors(where),
    ):
        check_migrated(connection, where)
        looked_at = Definitions(plan, schema, draw, outcome)
        known = findings.open_mismatches(connection)
        reproduction.clean(storage_url, {one.file for one in known})
        shards = [shard for (shard,) in connection.execute("SELECT shard FROM tidegate.shards ORDER BY shard")]
        for shard in shards:
            _shard(connection, shard, storage_url, looked_at, -(-users // len(shards)), known)
        outcome.seconds = time.process_time() - began
        findings.forget_other_segments(connection, plan.names)
        findings.remember(
            connection, (outcome.users, outcome.answers, outcome.skipped, outcome.wrong), sorted(outcome.unjudged),
            outcome.seconds, outcome.agree, outcome.differ,
        )  # fmt: skip
    return outcome


class Definitions:
    """The deployed ones, some of which this round asks about."""

    def __init__(self, plan: Plan, schema: Schema, draw: Random, outcome: Outcome) -> None:
        self.plan, self.schema, self.draw, self.outcome = plan, schema, draw, outcome
        self.structure = structure(plan)
        self.texts = {definition.name: definition.sql for definition in plan.segments}
        self.endless = looks_back_for_ever(plan)
        self.columns = {name: column.type for name, column in schema.events.items() if name not in FIXED}
        self.users = {name: column.type for name, column in schema.users.items()}

    def chosen(self, always: set[str]) -> list[str]:
        names = [name for name in self.plan.names if name not in self.outcome.unjudged]
        some = set(self.draw.sample(names, min(SEGMENTS, len(names)))) | (always & set(names))
        return [name for name in names if name in some]

    def judged(self, sample: Sample, names: Sequence[str]) -> tuple[set[tuple[str, str]], list[str]]:
        """Who is in, each user at his own instant, and which of the names could be asked about."""
        judging = Judging(self.columns, self.users)
        _fill(judging, sample)
        members: set[tuple[str, str]] = set()
        asked = list(names)
        for instant in sorted({user.at for user in sample.users}):
            here = {user.user_id for user in sample.users if user.at == instant}
            for first in range(0, len(names), TOGETHER):
                found, wrong = self._asked(judging, names[first : first + TOGETHER], instant)
                members |= {(user, name) for user, name in found if user in here}
                asked = [name for name in asked if name not in wrong]
        return members, asked

    def _asked(self, judging: Judging, names: Sequence[str], instant: int) -> tuple[set[tuple[str, str]], set[str]]:
        try:
            return judging.members(self.texts, instant, {name: self.texts[name] for name in names}), set()
        except (duckdb.Error, SqlglotError, AssertionError) as error:
            if len(names) == 1:
                log.warning("the audit cannot ask DuckDB about %s: %s", names[0], str(error).split("\n")[0])
                self.outcome.unjudged.append(names[0])
                return set(), set(names)
        found: set[tuple[str, str]] = set()
        wrong: set[str] = set()
        for name in names:
            more, odd = self._asked(judging, [name], instant)
            found, wrong = found | more, wrong | odd
        return found, wrong


def _fill(judging: Judging, sample: Sample) -> None:
    for table, rows, columns in (
        ("log", sample.events, judging.event_columns), ("versions", sample.versions, judging.version_columns),
    ):  # fmt: skip
        judging.connection.register("arrived", rows.select(list(columns)))
        judging.connection.execute(f"INSERT INTO {table} SELECT * FROM arrived")
        judging.connection.unregister("arrived")


def _shard(
    connection: Connection, shard: int, storage_url: Path, definitions: Definitions, users: int,
    known: Sequence[Mismatch],
) -> None:  # fmt: skip
    """known: those that were found before, which are looked at again."""
    outcome, again = definitions.outcome, [one.user_id for one in known]
    for attempt in range(ATTEMPTS):
        record = _record(connection, shard)
        if record is None:
            return
        try:
            saved = Saved(storage_url, record, definitions.columns, definitions.users)
            if saved.structure != definitions.structure:
                outcome.moved += 1
                return
            sample = saved.sample(users, definitions.draw, again)
            stored = read_stored(connection, sample, definitions.plan.digest)
        except Moved:
            outcome.moved += 1
            return
        except StorageError:
            # The engine may have replaced them in this moment. Otherwise something is wrong with the files.
            if attempt == ATTEMPTS - 1 or _record(connection, shard) == record:
                raise
            continue
        break
    findings.remember_costs(connection, shard, saved.costs(definitions.plan))
    names = [name for name in definitions.chosen({one.segment for one in known}) if name not in stored.held]
    judged, asked = definitions.judged(sample, names)
    differ = []
    for user in sample.users:
        if user.user_id not in stored.told:
            continue
        outcome.users += 1
        for name in asked:
            if not user.whole and name in definitions.endless:
                outcome.skipped += 1
                continue
            outcome.answers += 1
            is_in, should = (user.user_id, name) in stored.members, (user.user_id, name) in judged
            if is_in == should:
                outcome.agree.add((user.user_id, name))
            else:
                differ.append((user, name, is_in, should))
    if differ:
        saved.verify()  # a damaged file is another thing, and is named as such
    outcome.wrong += len(differ)
    for user, name, is_in, should in differ[: max(0, WRITTEN - len(outcome.differ))]:
        file = reproduction.write(storage_url, sample, user, name, should, definitions.schema)
        outcome.differ.append(Mismatch(user.user_id, name, shard, user.at, is_in, should, file))


def _record(connection: Connection, shard: int) -> CheckpointRecord | None:
    row = connection.execute("SELECT checkpoint FROM tidegate.shards WHERE shard = %s", [shard]).fetchone()
    return None if row is None or row[0] is None else checkpoint_of(row[0])
