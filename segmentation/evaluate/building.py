"""A shard's state for other definitions, made from what the shard has kept of its events.

    new = build(old, plan, archive)         # old: loaded from its saved state
    new.members()                           # what DuckDB says of the new definitions over the events known so far
    new.run(polls)                          # goes on as if it had had them from the beginning

Everything but the running values is the same under any definitions: the log with its known_at, offsets,
watermarks, who was erased, sequence numbers. The running values are those of one instant per user, the one up to
which time has been applied to him: an event counts there if its window is open there. So one pass over the
archive in any order is enough; nothing is played again.

`old` and `new` share files of the archive, and both may write: only one of them goes on.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from segmentation.compile.plan import Gate, Plan
from segmentation.errors import TidegateError
from segmentation.evaluate.carrying import all_but, carry, chosen
from segmentation.evaluate.history import Held, counted_from, floors
from segmentation.evaluate.index import ARRIVAL, LATE, Index, Touched
from segmentation.evaluate.network import Firsts
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Bool, Int64
from segmentation.state.archive import Archive
from segmentation.state.chunks import Columns
from segmentation.state.log import Log
from segmentation.types import FOREVER, NEVER

_USERS_AT_ONCE = 1 << 16


class Stopped(TidegateError):
    """The caller did not want the state any more."""


def build(
    old: Shard,
    plan: Plan,
    archive: Archive,
    retention_us: int = 0,
    held: Held | None = None,
    progress: Callable[[int], bool] = lambda rows: True,
    anew: Collection[str] = (),
) -> Shard:
    """`old` as if it had had `plan` from the beginning, at the same place of the log.

    archive: over the same files, with the columns that the new schema declares; where `old` has one, too.
    held: what is missing there. Values that were counted from it are taken over where the old definitions have the
    same (segmentation.evaluate.carrying); other terms count what came after, and nothing of before.
    progress: told how many more rows have been read, and says whether to go on; if not, Stopped is raised.
    anew: where `plan` is that of `old`: only what these segments count is computed, all else is taken over.
    """
    new = Shard(plan, 0, old._lateness, old._horizon, old._live, archive, retention_us)
    _stand(new, old)
    _log(new, old)
    waiting = _Waiting(old, new)
    until = _applied_to(new)
    whole_since = None
    first = NEVER
    if held is not None:
        carried = chosen(old.plan, plan, held)
        if anew:
            carried |= all_but(plan, anew)
        carry(new, old, carried)
        whole_since, later = floors(plan, held, carried)
        new._index.since = later if (later > NEVER).any() else None
        if not old._waiting:  # what waits to take effect may be of any age
            first = _first_needed(new, whole_since < FOREVER, until)
    for rows in _everything(new._log, first):
        if not progress(len(rows["time"])):
            raise Stopped("the state is not wanted any more.")
        due = waiting.sift(rows)
        if len(due["time"]):
            _count(new, due, until, whole_since)
    new._waiting = waiting.in_order()
    _settle_gates(new)
    new._erased = True  # texts that no value refers to are let go when it is saved
    return new


def begin_at(shards: Collection[Shard], now: int) -> int:
    """What was to count FOREVER later, since its column has no values yet (segmentation.evaluate.history.Held), counts
    events from the returned instant on (µs): now, or later than all that have come."""
    at = max([now, *(int(shard._newest[: len(shard._users)].max(initial=NEVER)) + 1 for shard in shards)])
    for shard in shards:
        if (since := shard._index.since) is not None:
            since[since == FOREVER] = at
    return at


def rows_of(shard: Shard) -> int:
    """How many rows `build` reads."""
    chunks = shard._log.chunks
    kept = sum(ref.rows for ref in chunks.refs) if chunks is not None else 0
    return kept + sum(len(rows["time"]) for rows in shard._log.in_memory())


def held_by(shard: Shard, columns: Mapping[str, int], partial: Collection[str] = ()) -> Held:
    """What its archive holds. columns: from when on (µs) these have values; those that are not named always had.
    partial: segments that are not whole now."""
    if shard.watermark == NEVER:  # nothing has been counted
        return Held(NEVER)
    since = shard._index.since
    return Held(
        shard.expired_to - 1, shard._log.dropped_before, columns, partial if since is None else (),
        {} if since is None else counted_from(shard.plan, since),
    )  # fmt: skip


def _stand(new: Shard, old: Shard) -> None:
    """What does not depend on definitions."""
    users = len(old._users)
    new.next_offset, new._high, new._partition = dict(old.next_offset), dict(old._high), dict(old._partition)
    new.watermark, new._clock, new._applied_to = old.watermark, old._clock, old._applied_to
    new._slicing.front = old.front
    new._users.restore(old._users.ids())
    new._make_room()
    for name in ("_newest", "_applied", "_seq", "_had_event"):
        getattr(new, name)[:users] = getattr(old, name)[:users]
    for digest, until in old.erasures.items():
        new.erasures.add(digest, until)
    new._homes.load(old._homes.dump(users))


def _log(new: Shard, old: Shard) -> None:
    log = old._log.dump()
    log["rows"] = new._columnar.taken_over(old._columnar.format().stored(log["rows"]))
    new._log.load(log)


def _first_needed(shard: Shard, counts: Bool, until: Int64) -> int:
    """From when on events are in a window of one of these terms, µs. counts: bool[terms]"""
    ages = shard._index.end[counts]
    # One moving edge is as good as none here: its events may be of any age.
    if not len(until) or (ages == FOREVER).any():
        return NEVER
    return max(NEVER, int(until.min()) - int(ages.max(initial=0)))


def _everything(log: Log, first: int) -> Iterator[Columns]:
    """first: chunks whose rows are all older are left out, µs."""
    if log.chunks is not None:
        yield from log.chunks.everything(first)
    for rows in log.in_memory():
        if len(rows["time"]):
            yield {name: rows[name] for name in log.dtypes}


class _Waiting:
    """Rows that are ahead of the clock: in the log, and to take effect in the order in which they arrived."""

    def __init__(self, old: Shard, new: Shard) -> None:
        self._clock = old._clock if old._live else None
        self._new = new
        arrived = [
            key for rows in old._waiting
            for key in zip(rows["user"].tolist(), rows["time"].tolist(), rows["event_id"].tolist())
        ]  # fmt: skip
        self._place = {key: place for place, key in enumerate(arrived)}
        self._found: list[Columns] = []

    def sift(self, rows: Columns) -> Columns:
        """Without those that wait, which are kept here."""
        if not self._place or self._clock is None:
            return rows
        ahead = rows["known"] > self._clock
        if ahead.any():
            self._found.append({name: column[ahead] for name, column in rows.items()})
            rows = {name: column[~ahead] for name, column in rows.items()}
        return rows

    def in_order(self) -> list[Columns]:
        if not self._found:
            return []
        rows = self._new._log.joined(self._found)
        keys = zip(rows["user"].tolist(), rows["time"].tolist(), rows["event_id"].tolist())
        order = np.argsort(np.array([self._place[key] for key in keys], np.int64), kind="stable")
        return [{name: column[order] for name, column in rows.items()}]


def _applied_to(shard: Shard) -> Int64:
    """By user: the last instant at which everything that is due has been applied to him, µs."""
    applied = shard._applied[: len(shard._users)]
    return np.maximum(applied, shard._applied_to - 1) if shard._applied_to > NEVER else applied.copy()


def _count(shard: Shard, rows: Columns, until: Int64, whole_since: Int64 | None) -> None:
    """Adds what these rows are worth at the instant that their user is at."""
    index, user = shard._index, rows["user"].astype(np.int64)
    frame = shard._columnar.frame(rows)
    touched = open_at(index, rows, until[user])
    if whole_since is not None:
        touched = touched.where(rows["time"][touched.row] >= whole_since[touched.term])
    touched = index.holding(touched, frame)
    who, step = np.unique(user, return_inverse=True)
    steps = Steps(who, until[who], np.zeros(len(who), np.bool_), np.zeros(0, np.int64), step)
    none = np.zeros(0, np.int64)
    shard._network.apply(shard._deltas.of(touched, frame, rows, step), Firsts(none, none), steps)


def open_at(index: Index, rows: Mapping[str, Int64], at: Int64) -> Touched:
    """All (row, term) pairs, before residuals, where the term's window is open for the row at that instant, µs."""
    code = rows["code"].astype(np.int64)
    found = [index.expand(np.full(len(code), phase), code) for phase in (ARRIVAL, LATE)]
    touched = Touched(*(np.concatenate([getattr(each, name) for each in found]) for name in ("row", "term", "sign")))
    return touched.where(index.open(touched, rows["time"], at))


def _settle_gates(shard: Shard) -> None:
    """The number of inputs that hold of every gate, from the values below it."""
    network, plan = shard._network, shard.plan
    gates = [signal for signal in plan.signals if isinstance(signal, Gate)]
    if not gates:
        return
    for users, truth in shard.truths({of for gate in gates for of, _ in gate.inputs}):
        for number, gate in enumerate(gates):
            holding = sum((truth[of] != negated).astype(np.int64) for of, negated in gate.inputs)
            differs = np.flatnonzero(network.gates.peek(number, users) != holding)
            if differs.size:
                address = network.gates.addresses(np.full(len(differs), number), users[differs])
                network.gates.put(address, np.asarray(holding)[differs])
