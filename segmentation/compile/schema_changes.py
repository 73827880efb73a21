"""What changes in schema.yml, column by column, and from when it counts.

Events in the archive keep the values that were read from them when they came. So another path, or another zone,
is about events that come from then on; a column that is declared later is NULL in all events from before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from segmentation.events.schema import EventColumn, Schema


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """column: `events.amount`; what: in words, with what was and what is. readers: definitions that read it."""

    column: str
    what: str
    readers: tuple[str, ...] = ()


def schema_changes(before: Schema, after: Schema) -> list[SchemaChange]:
    """By column; order and comments of the file are no change."""
    found = []
    for section, old, new in (("events", before.events, after.events), ("users", before.users, after.users)):
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                nothing = "events" if section == "events" else "profiles"
                what = f"added, {new[name].type}; NULL in {nothing} from before"
            elif name not in new:
                what = f"removed, was {old[name].type}"
            else:
                what = "; ".join(_differences(old[name], new[name]))
            if what:
                found.append(SchemaChange(f"{section}.{name}", what))
    return found


def _differences(old: EventColumn, new: EventColumn) -> Iterator[str]:
    for what, was, is_ in (
        ("type", str(old.type), str(new.type)),
        ("path", ".".join(old.path) or "generated", ".".join(new.path) or "generated"),
        ("timezone", old.timezone, new.timezone),
        ("empty_as_null", old.empty_as_null, new.empty_as_null),
        ("one_of", old.one_of, new.one_of),
        ("min", old.min, new.min),
        ("max", old.max, new.max),
    ):
        if was != is_:
            yield f"{what} was {_text(was)}, now {_text(is_)}"


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
