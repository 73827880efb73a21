"""A shard: the state of its users and the one way to move it forward.

`run` takes polls, `finish` ends a finite input. Everything that reaches a shard is in its
arguments: the same polls give the same steps, in any process, cut in any way.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from segmentation.compile.plan import Plan, structure
from segmentation.edges import since
from segmentation.errors import TidegateError
from segmentation.evaluate import versions
from segmentation.evaluate.ahead import split
from segmentation.evaluate.arrivals import known_at, repeats
from segmentation.evaluate.clocks import Clocks
from segmentation.evaluate.columns import Columnar
from segmentation.evaluate.deltas import Deltas
from segmentation.evaluate.due import Progress, gathered, move_up, reach
from segmentation.evaluate.erasure import Erasures, begin_anew, drop_texts, numbered
from segmentation.evaluate.gathering import Gathered
from segmentation.evaluate.homes import Homes
from segmentation.evaluate.index import Index
from segmentation.evaluate.network import Firsts, Network, memberships
from segmentation.evaluate.nudging import nudges
from segmentation.evaluate.ranks import Front
from segmentation.evaluate.restoring import restore
from segmentation.evaluate.slices import Slicing
from segmentation.evaluate.step import Part, Standing, Step, Transitions, transitions_of
from segmentation.evaluate.steps import Steps, steps_of
from segmentation.evaluate.touching import Touching
from segmentation.evaluate.watermarks import at_arrivals
from segmentation.events.rows import PROFILES, Bool, Int32, Int64, Poll, Profiles, Rows
from segmentation.state.archive import Archive
from segmentation.state.arena import larger
from segmentation.state.chunks import Chunks, Columns
from segmentation.state.dump import pack, unpack
from segmentation.state.kept import grown
from segmentation.state.log import Log, joined
from segmentation.types import NEVER

_USERS_AT_ONCE = 1 << 16


class Shard:
    """lateness_us, dedupe_horizon_us: µs; the horizon None keeps every event for finding repeats.

    live: events ahead of the poll's clock wait for it. partitions: how many the topic of events has; the
    watermark waits for all of them. Those of the topic `profiles` come by `add_partitions`. archive: where
    older events go; None keeps all in memory. retention_us: how long events are kept at least, however
    short the windows are.
    """

    def __init__(
        self, plan: Plan, partitions: int, lateness_us: int, dedupe_horizon_us: int | None, live: bool,
        archive: Archive | None = None, retention_us: int = 0,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.next_offset: dict[int, int] = {}
        self.watermark = NEVER
        self._lateness, self._horizon, self._live = lateness_us, dedupe_horizon_us, live
        self._high = dict.fromkeys(range(partitions), NEVER)
        self._partition = dict.fromkeys(range(partitions), NEVER)
        self._clock = NEVER
        self._applied_to = NEVER  # expiries strictly below have been applied
        self._newest = np.full(1024, NEVER, np.int64)  # by user: largest event time that arrived
        self._applied = np.full(1024, NEVER, np.int64)  # by user: known_at of the last event that took effect
        self._reached = np.full(1024, NEVER, np.int64)  # scratch of a batch: what _applied is going to be
        self._seq = np.zeros(1024, np.int64)
        self._had_event = np.zeros(1024, np.bool_)  # by user: known by more than a profile
        self._index = Index(plan)
        self._columnar = Columnar(plan, self._index, None if archive is None else archive.columns)
        self._users, self._texts = self._columnar.users, self._columnar.texts
        self._deltas = Deltas(self._index, self._texts)
        self._touching = Touching(self._index, self._columnar, self._deltas)
        self._network = Network(plan, self._index, self._columnar, self._deltas)
        chunks = None if archive is None else Chunks(archive, self._columnar.format())
        self._log = Log(self._columnar.dtypes(), self._columnar.wide_dtypes(), chunks)
        self._clocks = Clocks(plan)
        self._slicing = Slicing(self._log, self._index.edges, self._clocks, self._users)
        self._retention = retention_us
        self._waiting: list[Columns] = []  # arrived ahead of the clock
        self._homes = Homes()
        self.erasures = Erasures()  # others' knowledge may be added, that of a shard made of several, say
        self._anew = self._erased = False  # somebody was erased in this run; since the last dump

    # moving forward

    @property
    def partitions(self) -> Collection[int]:
        """Those that the watermark waits for."""
        return self._partition.keys()

    def add_partitions(self, count: int, profiles: int = 0) -> None:
        """There are now `count` partitions of events and so many of profiles; the watermark waits for the new ones."""
        for partition in (*range(count), *range(PROFILES, PROFILES + profiles)):
            if partition not in self._partition:
                self._high[partition] = self._partition[partition] = NEVER
                if partition < PROFILES:
                    self._homes.begin_anew()

    @property
    def front(self) -> Front | None:
        """How far users who stay silent have been moved, where that is not up to the watermark."""
        return self._slicing.front

    @property
    def expired_to(self) -> int:
        """All that time does to anybody strictly before has been applied, µs: the watermark where nothing is left."""
        return self.watermark if self.front is None else self.front.at

    def run(self, polls: Sequence[Poll], most: int | None = None) -> Step:
        """Takes the polls in the given order; rows below the partition's next_offset are skipped. most: about so many
        of the changes that wait for nothing but time are applied; None: all, or as far as the last poll says."""
        step = Step([], NEVER, Transitions.none())
        arrived, self._waiting = self._waiting, []
        gathered = Gathered()
        for poll in polls:
            self._arrive(poll, gathered, arrived, step)
        self._take(gathered, arrived, step)
        given = polls[-1].front if polls else None
        self._settle(self._due(arrived, self._clock), self.watermark, step, most, given)
        step.watermark = self.expired_to
        self._anew = False
        self._forget()
        return step

    def nudges(self, polls: Sequence[Poll]) -> list[Poll]:
        """What is to be run right before these polls, in one step with them (segmentation.evaluate.nudging)."""
        clock = max([self._clock, *(poll.clock for poll in polls)])
        most = clock - self._lateness if self._live else NEVER
        return nudges(polls, self.watermark, most, clock, self._partition, self.next_offset)

    def finish(self, at: int) -> Step:
        """The input has ended: everything that takes effect at or before `at` (µs) is applied."""
        arrived, self._waiting = self._waiting, []
        self.watermark = max(self.watermark, at + 1)
        for partition in self._partition:
            self._partition[partition] = max(self._partition[partition], at + 1)
        parts = [
            Part(partition, self.next_offset.get(partition, 0), self._clock, watermark)
            for partition, watermark in self._partition.items()
        ]
        step = Step(parts, self.watermark, Transitions.none())
        self._settle(self._due(arrived, at), self.watermark, step)
        return step

    def _due(self, arrived: list[Columns], clock: int) -> list[Columns]:
        """The rows that take effect by now; live ones that are ahead of the clock go on waiting."""
        due, self._waiting = split(arrived, clock) if self._live else (arrived, [])
        return due

    def _arrive(self, poll: Poll, gathered: Gathered, arrived: list[Columns], step: Step) -> None:
        """Gathers the poll's new events, logs versions and what was gathered with their known_at into `arrived`,
        erases, and moves the partition on."""
        partition = poll.partition
        self._clock = max(self._clock, poll.clock)
        rows, profiles = poll.rows, poll.profiles
        position = self.next_offset.get(partition, 0)
        if rows is not None and len(rows) and rows.offset[0] < position:
            rows = rows.take(np.flatnonzero(rows.offset >= position))
        if rows is not None and len(rows):
            gathered.add(rows, self._watermarks(rows.high, partition), partition)
        if profiles is not None and len(profiles) and profiles.offset[0] < position:
            profiles = profiles.take(np.flatnonzero(profiles.offset >= position))
        for some in () if profiles is None or not len(profiles) else versions.runs(profiles):
            self._take(gathered, arrived, step)
            watermark = self._watermarks(some.high, partition)
            if some.erased[0]:
                self._erase(some, watermark, arrived, step)
            else:
                gathered.add(versions.rows_of(some, partition), watermark, partition)
                self._take(gathered, arrived, step)
        self.next_offset[partition] = max(position, poll.next_offset)
        self._high[partition] = max(self._high[partition], poll.high)
        high = self._high[partition]
        reached = (min(high, self._clock) if self._live else high) - self._lateness if high > NEVER else NEVER
        if poll.watermark is not None:
            reached = max(reached, poll.watermark)
        self._partition[partition] = max(self._partition[partition], reached)
        self.watermark = max(self.watermark, min(self._partition.values()))
        taken = None if partition < PROFILES else 0 if profiles is None else len(profiles)
        step.parts.append(Part(partition, self.next_offset[partition], poll.clock, self._partition[partition], taken))

    def _watermarks(self, high: Int64, partition: int) -> Int64:
        clock = self._clock if self._live else None
        before = self._high[partition]
        return at_arrivals(high, before, clock, self._lateness, partition, self._partition, self.watermark)

    def _erase(self, profiles: Profiles, watermark: Int64, arrived: list[Columns], step: Step) -> None:
        found = self.erasures.new(profiles, watermark, self._horizon, self._clock if self._live else None)
        step.erased.extend(found.items())
        step.too_late = [late for late in step.too_late if late[2] not in found]
        users, until = numbered(found, self._users)
        if not users.size:
            return
        stay = begin_anew(users, until, arrived, self._log)
        arrived.append(stay)
        self._network.erase(users)
        self._newest[users] = self._applied[users] = NEVER
        self._had_event[users] = False
        self._seq[users] = 0
        self._homes.erase(users)
        np.maximum.at(self._newest, stay["user"], stay["time"])
        self._users.forget(np.setdiff1d(users, stay["user"]))
        self._slicing.let_go()
        self._anew = self._erased = True

    def _take(self, gathered: Gathered, arrived: list[Columns], step: Step) -> None:
        for rows, watermark, partition in gathered.take():
            accepted = self._accept(rows, partition, watermark, step)
            arrived += [] if accepted is None else [accepted]

    def _accept(self, rows: Rows, partition: Int32, watermark: Int64, step: Step) -> Columns | None:
        if (covered := self.erasures.covered(rows)) is not None:
            step.dropped += int(covered.sum())
            after = np.flatnonzero(~covered)
            rows, watermark, partition = rows.take(after), watermark[after], partition[after]
            if not len(rows):
                return None
        events = bool(partition[0] < PROFILES)
        if events and self._horizon is not None and (too_late := rows.time < watermark - self._horizon).any():
            late = zip(*(values[too_late].tolist() for values in (partition, rows.offset, rows.user)))
            step.too_late.extend((where, offset, rows.user_ids[user]) for where, offset, user in late)
            in_time = np.flatnonzero(~too_late)
            rows, watermark, partition = rows.take(in_time), watermark[in_time], partition[in_time]
            if not len(rows):
                return None
        user = self._columnar.user_numbers(rows)
        self._make_room()
        if events and (again := repeats(user, rows.time, rows.event_id, self._log)).any():
            step.repeated += int(again.sum())
            fresh = np.flatnonzero(~again)
            rows, user, watermark, partition = rows.take(fresh), user[fresh], watermark[fresh], partition[fresh]
            if not len(rows):
                return None
        known = known_at(user, rows.time, watermark, self._newest)
        if events:
            step.accepted += len(rows)
            step.late += int((watermark > rows.time).sum())
            self._homes.seen(user, partition)
        columns = self._columnar.columns(rows, user, known, partition)
        self._log.append(columns)
        return {name: columns[name] for name in self._log.dtypes}

    def _make_room(self) -> None:
        if len(self._users) > len(self._newest):
            room = larger(len(self._newest), len(self._users))
            self._newest = grown(self._newest, room, NEVER)
            self._applied = grown(self._applied, room, NEVER)
            self._reached = grown(self._reached, room, NEVER)
            self._seq = grown(self._seq, room, 0)
            self._had_event = np.resize(self._had_event, room) & (np.arange(room) < len(self._had_event))

    def _forget(self) -> None:
        if self._horizon is None or self.watermark == NEVER:
            return
        self._log.drop_before(self._kept_from(max(self._horizon, self._retention)))

    def _kept_from(self, age: int) -> int:
        """From when on events are kept, µs: those of this age, and those that may have an edge before them."""
        return min([self.watermark - age, *(since(edge, self.expired_to) for edge in self._index.edges)]) - 1

    # settling

    def _settle(
        self, due: list[Columns], watermark: int, step: Step, most: int | None = None,
        given: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Applies the events that are due and all that time does up to them, and up to the watermark or a front."""
        names = self._columnar.settled
        events = joined(due, names)
        n = len(events["time"])
        user = events["user"].astype(np.int64)
        fresh = reach(user, events["known"], self._applied, self._reached)
        progress = Progress(watermark, self._applied_to, self._applied, self._reached, self._anew)
        found, turns, moved = self._slicing.find(progress, events, most, given)
        for some in (user, moved):
            move_up(some, self._applied, self._reached)
        self._applied_to = max(self._applied_to, progress.watermark)
        changes, phase, change_at = gathered(found, events)
        step.changes = m = len(phase)
        if not n + m and turns is None:
            return
        rows = joined([*changes, events], names)
        who, when = rows["user"][:m], change_at
        if turns is not None:
            who, when = np.concatenate((who, turns.user)), np.concatenate((when, turns.at))
        steps = steps_of(who, when, user, events["known"])
        step_of = np.concatenate((steps.of_change[:m], steps.of_event))
        cells = self._touching.cell_rows(rows, phase, step_of)
        new = self._first_steps(user, fresh, events["code"], steps, step)
        clock = [self._clocks.at_first(new.any, steps)] if self._clocks else []
        if turns is not None:
            clock.append(turns.flips(steps.of_change[m:]))
        flips = self._network.apply(cells, new, steps, clock)
        step.transitions = transitions_of(flips, steps, self._users, self._seq)

    def _first_steps(self, user: Int64, fresh: Bool, code: Int64, steps: Steps, step: Step) -> Firsts:
        """The steps at which users are seen for the first time."""
        first = versions.first_rows(user, fresh)
        step.new_users = self._users.names(user[first])
        events = versions.first_rows(user, ~self._had_event[user] & (code != self._index.profile))
        self._had_event[user[events]] = True
        return Firsts(steps.of_event[events], steps.of_event[first])

    # checkpoints

    def dump(self) -> bytes:
        """The whole state but the archive's files; with the same plan, `load` continues from exactly here."""
        users = len(self._users)
        if self._erased:
            drop_texts(self._texts, users, self._network, self._log, self._waiting, self._columnar.text_columns())
            self._slicing.let_go()
            self._erased = False
        return pack({
            "structure": structure(self.plan), "next_offset": list(self.next_offset.items()),
            "high": list(self._high.items()), "partition": list(self._partition.items()),
            "watermark": self.watermark, "clock": self._clock, "applied_to": self._applied_to, "front": self.front,
            "users": self._users.saved(), "texts": self._texts.dump(),
            "newest": self._newest[:users], "applied": self._applied[:users], "seq": self._seq[:users],
            "had_event": self._had_event[:users],
            "network": self._network.dump(), "log": self._log.dump(), "waiting": self._waiting,
            "erasures": self.erasures.dump(), "homes": self._homes.dump(users),
            "since": self._index.since,
        })

    @property
    def scattered(self) -> tuple[int, list[str]]:
        """How many users have had events in several partitions, and the ids of some."""
        return self._homes.scattered, self._users.names(np.array(self._homes.some(), np.int64))

    def homes_of(self, users: Sequence[str]) -> Int32:
        """The partition in which each user's events come; below 0 where it is not one of its own."""
        return self._homes.of(np.array([self._users.find(user) for user in users], np.int64))

    @property
    def erasing(self) -> bool:
        """Do files of the archive still hold rows of users who were erased?"""
        return self._log.erasing

    def files(self) -> tuple[int, frozenset[str]]:
        """(the last number that a file of the archive was given, the files that the present state needs)."""
        return self._log.files()

    @staticmethod
    def load(
        data: bytes | Mapping[str, Any], plan: Plan, partitions: int, lateness_us: int,
        dedupe_horizon_us: int | None, live: bool, archive: Archive | None = None, retention_us: int = 0,
    ) -> "Shard":  # fmt: skip
        """data may have been unpacked. Raises TidegateError for a state that another plan wrote."""
        state = unpack(data) if isinstance(data, bytes) else data
        if state["structure"] != structure(plan):
            raise TidegateError("The saved state belongs to other definitions; start with --rebuild.")
        shard = Shard(plan, partitions, lateness_us, dedupe_horizon_us, live, archive, retention_us)
        restore(shard, state)
        return shard

    def standing(self) -> Standing:
        """What must be the same for shards to exchange users (segmentation.evaluate.redistribute)."""
        offsets, partitions = dict(self.next_offset), dict(self._partition)
        return Standing(offsets, partitions, self.watermark, self._clock, self._applied_to, self.front)

    # answers

    def truths(self, signals: Collection[int]) -> Iterator[tuple[Int64, dict[int, Bool]]]:
        """(numbers of users, by signal for which of them it holds) for every known user, many at a time."""
        for start in range(0, len(self._users), _USERS_AT_ONCE):
            users = np.arange(start, min(start + _USERS_AT_ONCE, len(self._users)))
            if len(users := users[self._applied[users] > NEVER]):
                clock = self._clocks.truths(np.maximum(self._applied[users], self._applied_to - 1))
                yield users, self._network.truths(signals, users, self._had_event[users], users >= 0, clock)

    def members(self) -> Iterator[tuple[str, list[int]]]:
        """(user id, numbers of the segments that the user is in) for every known user."""
        for users, truth in self.truths([root[0] for root in self.plan.roots if root is not None]):
            inside = memberships(self.plan, truth, len(users))
            for place, user in enumerate(self._users.names(users)):
                yield user, np.flatnonzero(inside[:, place]).tolist()

    @property
    def user_ids(self) -> Sequence[str | None]:
        """By the shard's numbers: all that were ever seen, also those whose events do not count now."""
        return self._users.ids()

    def restore_seq(self, seq: Mapping[str, int]) -> None:
        """The users' last numbers, whatever was counted, also of those whose events do not count now; others have 0."""
        numbers = self._users.numbers(list(counted := {user_id: value for user_id, value in seq.items() if value}))
        self._make_room()
        self._seq[:] = 0
        self._seq[numbers] = list(counted.values())
