"""Which segments move with which: what is built on one, and the bands of one definition."""

from collections.abc import Sequence

from segmentation.compile.depends import dependencies
from segmentation.compile.tree import Definition


def readers(definitions: Sequence[Definition]) -> list[list[int]]:
    """By place: places of all that read the segment's definition, directly or not, and of its other bands. Sorted."""
    places: dict[str, list[int]] = {}
    read_by: dict[str, set[str]] = {}
    for place, one in enumerate(definitions):
        places.setdefault(_definition(one.name), []).append(place)
    for name, (first, *_) in places.items():
        sql = definitions[first].sql
        # Most read none, and to take a text apart takes a millisecond.
        for other in dependencies(sql).segments if "segments" in sql.lower() else ():
            read_by.setdefault(_definition(other), set()).add(name)
    out: list[list[int]] = []
    for place, one in enumerate(definitions):
        found, new = {_definition(one.name)}, [_definition(one.name)]
        while new:
            more = read_by.get(new.pop(), set()) - found
            found |= more
            new += more
        out.append(sorted({reader for name in found for reader in places.get(name, ())} - {place}))
    return out


def _definition(segment: str) -> str:
    return segment.partition("/")[0]
