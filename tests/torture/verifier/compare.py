"""Found against expected, as multisets: what is missing, what is too much, what is there twice."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

SHOWN = 5


@dataclass(slots=True)
class Figures:
    missing: int = 0
    extra: int = 0
    repeated: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def perfect(self) -> bool:
        return not (self.missing or self.extra or self.repeated)

    def compare(self, what: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> None:
        """Each thing is expected once."""
        wanted, there = set(expected), Counter(found)
        self._count(what, "missing", [one for one in wanted if one not in there])
        self._count(what, "extra", [one for one in there if one not in wanted])
        self._count(what, "repeated", [one for one, times in there.items() for _ in range(times - 1)])

    def wrong(self, complaints: Sequence[str]) -> None:
        """What is wrong otherwise counts as extra."""
        self._count("wrong", "extra", complaints)

    def _count(self, what: str, kind: str, those: Sequence[Hashable]) -> None:
        if not those:
            return
        setattr(self, kind, getattr(self, kind) + len(those))
        self.lines.append(f"{what}: {len(those)} {kind}")
        self.lines += [f"    {one}" for one in sorted(those, key=repr)[:SHOWN]]
