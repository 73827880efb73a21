"""Thresholds that give a wanted rate of transitions, found in the events themselves.

    definitions = calibrated(drawn, count=100, rate=0.3, features=90, warm=len(drawn) // 3)

Ten thousand definitions at 0.3 transitions an event is what a large deployment looks like: most segments are far from
most users. Thresholds that are drawn blindly give ten thousand definitions thirty transitions an event, and some of
them no members at all. So the value of every feature is followed through the stream, what each threshold would flip
after the first `warm` events is counted, and definitions are composed of such thresholds until the sum of their own
flips, counted exactly as an AND of their conditions, is the budget. Each has, at the end, members and others.

It is a pure function of the events and of its arguments, and knows nothing of the engine, which then finds the rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtest.workload import DAY_US, DEVICES, REGIONS, TYPES, WINDOWS, Condition, Drawn, sql

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Thresholds that are looked at per feature, and tries per definition.
_LOOKED_AT, _TRIES = 2_000, 60


@dataclass(frozen=True, slots=True)
class Feature:
    """A Condition without its threshold."""

    function: str
    event_type: str | None
    region: str | None
    device: str | None
    days: int

    def condition(self, at_least: int, negated: bool) -> Condition:
        return Condition(self.function, self.event_type, self.region, self.days, at_least, negated, self.device)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A threshold of a feature: who is past it at the end (bool[users]), and its flips (user, time µs) before."""

    condition: Condition
    inside: Bools
    user: Ints
    time: Ints


def features(count: int, windows: Sequence[int] = WINDOWS) -> list[Feature]:
    """30: counts and sums per event type; 90: counts per type and region, sums per type; 300: all these and more.

    windows: of how many days each has one; these numbers are for three.
    """
    families: dict[int, list[tuple[Any, Any, Any, Any]]] = {
        30: [(f, True, False, False) for f in ("count", "sum")],
        90: [("count", True, True, False), ("sum", True, False, False)],
        300: [
            (f, *by) for f in ("count", "sum")
            for by in ((True, True, False), (True, False, True), (True, False, False), (False, True, False))
        ],
    }  # fmt: skip
    found = [
        Feature(function, kind, region, device, days)
        for function, by_type, by_region, by_device in families[count]
        for kind in (TYPES if by_type else (None,))
        for region in (REGIONS if by_region else (None,))
        for device in (DEVICES if by_device else (None,))
        for days in windows
    ]
    assert len(found) * len(WINDOWS) == count * len(windows)
    return found


def calibrated(
    drawn: Drawn, count: int, rate: float, features_count: int, warm: int, seed: int = 5,
    windows: Sequence[int] = WINDOWS,
) -> dict[str, list[Condition]]:  # fmt: skip
    """By name, the conditions that must all hold. rate: transitions an event, of the events from the `warm`th on."""
    rng = np.random.default_rng(seed)
    budget = rate * (len(drawn) - warm)
    wanted = features(features_count, windows)
    leaves = _leaves(drawn, wanted, warm, budget / count, max(4, 4 * count // features_count), rng)
    seen = np.zeros(drawn.users, np.bool_)
    seen[drawn.user] = True
    found: dict[str, list[Condition]] = {}
    for number in range(count):
        chosen, flips = _definition(leaves, seen, max(0.0, budget) / (count - number), rng)
        budget -= flips
        found[f"s{number:05}"] = chosen
    return found


def files_of(definitions: dict[str, list[Condition]]) -> dict[str, str]:
    """As the operators' files."""
    return {f"{name}.sql": sql(conditions) for name, conditions in definitions.items()}


def _leaves(
    drawn: Drawn, wanted: list[Feature], warm: int, target: float, each: int, rng: np.random.Generator
) -> list[list[Leaf]]:
    """By feature, up to `each` thresholds with about `target` flips. Features that no threshold fits are left out."""
    end, begin = int(drawn.time.max()), int(np.maximum.accumulate(drawn.time)[max(0, warm - 1)])
    found: list[list[Leaf]] = []
    for days in sorted({feature.days for feature in wanted}):
        # Arrivals, and then what leaves the window until the end; in order per user.
        gone = np.flatnonzero(drawn.time + days * DAY_US <= end)
        row = np.concatenate((np.arange(len(drawn)), gone))
        time = np.concatenate((drawn.time, drawn.time[gone] + days * DAY_US))
        sign = np.repeat([1, -1], [len(drawn), len(gone)])
        order = np.lexsort((time, drawn.user[row]))
        row, time, sign = row[order], time[order], sign[order]
        for feature in wanted:
            if feature.days == days and (leaves := _of_feature(drawn, feature, row, time, sign, begin, target, each)):
                found.append(leaves)
    rng.shuffle(found)
    return found


def _of_feature(
    drawn: Drawn, feature: Feature, row: Ints, time: Ints, sign: Ints, begin: int, target: float, each: int
) -> list[Leaf]:
    counts = np.ones(len(drawn), np.bool_)
    for column, names, name in (
        (drawn.kind, TYPES, feature.event_type), (drawn.region, REGIONS, feature.region),
        (drawn.device, DEVICES, feature.device),
    ):  # fmt: skip
        if name is not None:
            counts &= column == names.index(name)
    step = np.flatnonzero(counts[row])
    if not step.size:
        return []
    row, time, sign = row[step], time[step], sign[step]
    user, unit = drawn.user[row], 100 if feature.function == "sum" else 1
    total = np.cumsum(sign * (drawn.cents[row] if unit == 100 else 1))
    first = np.concatenate(([True], user[1:] != user[:-1]))
    heads = np.flatnonzero(first)
    base = np.where(heads > 0, total[heads - 1], 0)
    value = total - np.repeat(base, np.diff(np.append(heads, len(user))))
    before = np.where(first, 0, np.append(0, value[:-1]))
    final = np.zeros(drawn.users, np.int64)
    final[user] = value  # the last assignment of each user counts
    live = time > begin
    user, time = user[live], time[live]
    low, high = np.minimum(before, value)[live], np.maximum(before, value)[live]
    levels = np.unique(value[value > 0] // unit + 1) * unit
    if levels.size > _LOOKED_AT:
        levels = levels[np.linspace(0, levels.size - 1, _LOOKED_AT).astype(np.int64)]
    change = np.bincount(np.searchsorted(levels, low, "right"), minlength=len(levels) + 1)
    change = change - np.bincount(np.searchsorted(levels, high, "right"), minlength=len(levels) + 1)
    flips = np.cumsum(change)[: len(levels)]
    members = len(final) - np.searchsorted(np.sort(final), levels)
    good = np.flatnonzero((members > 0) & (members < len(final)) & (flips > 0))
    if not good.size:
        return []
    # The nearest to the target, and of those some with fewer and some with more.
    nearest = good[np.argsort(np.abs(np.log(flips[good] / target)), kind="stable")]
    levels = np.sort(levels[nearest[:each]])
    from_, to = np.searchsorted(levels, low, "right"), np.searchsorted(levels, high, "right")
    crossing = np.flatnonzero(to > from_)
    times = (to - from_)[crossing]
    at = np.repeat(crossing, times)
    level = np.repeat(from_[crossing], times) + np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    by_level = np.argsort(level, kind="stable")
    cuts = np.searchsorted(level[by_level], np.arange(len(levels) + 1))
    return [
        Leaf(feature.condition(bound // unit, False), final >= bound, user[at[rows]], time[at[rows]])
        for bound, rows in zip(levels.tolist(), (by_level[a:b] for a, b in pairwise(cuts)))
    ]


def _definition(
    leaves: list[list[Leaf]], seen: Bools, target: float, rng: np.random.Generator
) -> tuple[list[Condition], int]:
    """One to three conditions over different features, and the flips of their AND; the best of some tries."""
    best: tuple[float, list[Condition], int] | None = None
    for _ in range(_TRIES):
        size = min(int(rng.choice([1, 1, 2, 3])), len(leaves))
        picked = [leaves[int(place)] for place in rng.choice(len(leaves), size, replace=False)]
        chosen = [some[int(rng.integers(len(some)))] for some in picked]
        # The first is never negated, so that nobody is a member by having done nothing.
        negated = np.concatenate(([False], rng.random(size - 1) < 0.3))
        inside = seen.copy()
        for leaf, not_ in zip(chosen, negated):
            inside &= leaf.inside ^ not_
        if not inside.any() or inside.sum() == seen.sum():
            continue
        flips = _flips(chosen, negated)
        away = abs(np.log((flips + 0.5) / (target + 0.5)))
        if best is None or away < best[0]:
            conditions = [replace(leaf.condition, negated=bool(not_)) for leaf, not_ in zip(chosen, negated)]
            best = float(away), conditions, flips
        if away < 0.7:
            break
    assert best is not None, "no definition has members and others: draw more events"
    return best[1], best[2]


def _flips(chosen: list[Leaf], negated: Bools) -> int:
    """How often the AND of the leaves changes for anybody."""
    if len(chosen) == 1:
        return len(chosen[0].user)
    user = np.concatenate([leaf.user for leaf in chosen])
    if not user.size:
        return 0
    time = np.concatenate([leaf.time for leaf in chosen])
    which = np.repeat(np.arange(len(chosen)), [len(leaf.user) for leaf in chosen])
    order = np.lexsort((time, user))
    user, which = user[order], which[order]
    first = np.concatenate(([True], user[1:] != user[:-1]))
    last = np.append(np.flatnonzero(first)[1:], len(user)) - 1
    group = np.cumsum(first) - 1
    after, at_start = np.ones(len(user), np.bool_), np.ones(len(last), np.bool_)
    for number, (leaf, not_) in enumerate(zip(chosen, negated)):
        done = np.cumsum(which == number)
        to_come = done[last][group] - done
        after &= leaf.inside[user] ^ (to_come % 2 == 1) ^ not_
        heads = np.flatnonzero(first)
        # Before the user's first flip all of his flips were to come.
        all_to_come = to_come[heads] + (which[heads] == number)
        at_start &= leaf.inside[user[heads]] ^ (all_to_come % 2 == 1) ^ not_
    before = np.append(False, after[:-1])
    before[np.flatnonzero(first)] = at_start
    return int((before != after).sum())
