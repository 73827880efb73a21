"""The recorded steps of a running engine, for who follows on from a saved state of it.

    begun = begin(connection, 0)            # what is saved, and from now on the steps after it are kept
    steps_after(connection, {0: 17, 1: 9})  # again and again
    forget(connection, {0: 20, 1: 9})       # those up to there are not needed any more
    end(connection, tokens, discard)        # nobody follows

An engine keeps a shard's steps since its last saved state, to run them again after a restart. Whoever begins with an
earlier saved state needs those before that too: `tidegate.shards.followed`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from segmentation.errors import TidegateError
from segmentation.evaluate.step import Part
from storage.commits import CheckpointRecord
from storage.engine_state import RecordedStep, checkpoint_of
from storage.postgres import Connection
from storage.silent import locked

#: Steps that no saved state needs, and nobody who follows.
_FORGET = "DELETE FROM tidegate.steps t USING tidegate.shards s WHERE t.shard = s.shard AND t.number <= {}"
_SAVED = "coalesce((s.checkpoint ->> 'step')::bigint, 0)"


class NotKept(TidegateError):
    """Steps are missing: another engine began, and kept none for who followed the one before."""

    passing = True


@dataclass(frozen=True, slots=True)
class Begun:
    """checkpoint None: the shard is empty, and all its steps are there. last_step: committed by now."""

    token: int
    last_step: int
    checkpoint: CheckpointRecord | None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a shard's commits are. offsets: first one not taken, by partition; watermark: µs."""

    step: int
    offsets: dict[int, int]
    watermark: int


def begin(connection: Connection, shard: int) -> Begun:
    """In one transaction with the pin, so that no step is lost in between."""
    row = connection.execute(
        f"UPDATE tidegate.shards s SET followed = {_SAVED} WHERE shard = %s RETURNING token, step, checkpoint".encode(),
        [shard],
    ).fetchone()
    if row is None:
        raise NotKept(f"There is no shard {shard} any more.")
    token, step, stored = row
    return Begun(token, step, None if stored is None else checkpoint_of(stored))


def steps_after(connection: Connection, steps: Mapping[int, int]) -> dict[int, list[RecordedStep]]:
    """By shard, those after the given ones, in order. NotKept where one is missing."""
    rows = connection.execute(
        "SELECT t.shard, t.number, t.parts FROM tidegate.steps t "
        "JOIN unnest(%s::int[], %s::bigint[]) AS f(shard, number) ON t.shard = f.shard AND t.number > f.number "
        "ORDER BY t.shard, t.number",
        [list(steps), list(steps.values())],
    ).fetchall()
    found: dict[int, list[RecordedStep]] = {shard: [] for shard in steps}
    for shard, number, parts in rows:
        if number != steps[shard] + len(found[shard]) + 1:
            raise NotKept(f"Step {steps[shard] + len(found[shard]) + 1} of shard {shard} was not kept.")
        found[shard].append(RecordedStep(number, [Part(*part) for part in parts]))
    return found


def reached(connection: Connection) -> dict[int, Reached]:
    """By shard."""
    rows = connection.execute("SELECT shard, step, offsets, watermark FROM tidegate.shards ORDER BY shard").fetchall()
    return {
        shard: Reached(step, {int(partition): offset for partition, offset in offsets.items()}, watermark)
        for shard, step, offsets, watermark in rows
    }


def forget(connection: Connection, steps: Mapping[int, int]) -> None:
    """Whoever follows has run these and all before them."""
    connection.execute(
        "UPDATE tidegate.shards s SET followed = f.number FROM unnest(%s::int[], %s::bigint[]) AS f(shard, number) "
        "WHERE s.shard = f.shard AND s.followed < f.number",
        [list(steps), list(steps.values())],
    )
    connection.execute(_FORGET.format(f"least(s.followed, {_SAVED})").encode())


def end(connection: Connection, tokens: Mapping[int, int], discard: Callable[[], None]) -> None:
    """Nobody follows the engine with these tokens any more: `discard` is called for what was written on top of them,
    and steps that a saved state has made superfluous go. Nothing is done where the tokens are others: what was
    written has been committed, or another engine has begun and does all this."""
    with connection.transaction():
        # Waits for a commit of whoever was killed while it was under way.
        rows = locked(connection, "SELECT shard, token FROM tidegate.shards ORDER BY shard FOR UPDATE")
        if dict(rows) == tokens:
            discard()
            connection.execute("UPDATE tidegate.shards SET followed = NULL WHERE followed IS NOT NULL")
            connection.execute(_FORGET.format(_SAVED).encode())
