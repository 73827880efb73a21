"""The judge of the tests: the audit's, which imports nothing of the engine, over what the slow twin knows."""

from collections.abc import Iterable, Mapping, Sequence

from segmentation.reference import Known, Version
from segmentation.types import Kind, Type
from storage.audit.judge import EPOCH, Judging, connect, instant

__all__ = ["EPOCH", "Judge", "connect", "instant"]


class Judge(Judging):
    def __init__(self, columns: Mapping[str, Type], users: Mapping[str, Type] = {}) -> None:
        super().__init__(columns, users)
        # Of a query over a few rows, planning is what takes time; and SQL as it is written is a stricter judge.
        self.connection.execute("PRAGMA disable_optimizer")

    def load(self, known: Iterable[Known]) -> None:
        """Replaces the log."""
        known = list(known)
        events = [k for k in known if not isinstance(k.event, Version)]
        versions = [k for k in known if isinstance(k.event, Version)]
        self._fill(
            "log", list(self.event_columns.values()),
            [[*(k.event.column(name) for name in self.columns), k.known_at] for k in events],
        )
        self._fill(
            "versions", list(self.version_columns.values()),
            [[k.event.user_id, k.event.time, k.event.event_id[1:], k.known_at,
              *(k.event.values.get(name) for name in self.users)] for k in versions],
        )

    def _fill(self, table: str, types: Sequence[Type], rows: Sequence[Sequence[object]]) -> None:
        self.connection.execute(f"DELETE FROM {table}")
        if rows:
            row = "(" + ", ".join(map(_placeholder, types)) + ")"
            values = ", ".join([row] * len(rows))
            self.connection.execute(f"INSERT INTO {table} VALUES {values}", [value for row in rows for value in row])


def _placeholder(type_: Type) -> str:
    return "make_timestamptz(?::BIGINT)" if type_.kind is Kind.TIMESTAMPTZ else "?"
