"""The edits, each a whole set of definitions: of every kind that an operator makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests import torture

SCHEMA_FILE = "schema.yml"
SCHEMA = (Path(torture.__file__).with_name("definitions") / SCHEMA_FILE).read_text()
#: A column more, which no event before has; then a constraint more.
WITH_ITEMS = f"{SCHEMA.rstrip()}\n  items: {{type: bigint, path: properties.quantity}}\n"
DEARER = WITH_ITEMS.replace("min: 0", "min: 5")

ACTIVE = (
    "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '{} seconds' GROUP BY user_id HAVING count(*) > {}"
)
CARTS = "SELECT user_id FROM events GROUP BY user_id HAVING count(*) FILTER (WHERE event_type = 'cart') >= {}"
LAPSED = (
    "SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id "
    "HAVING max(event_time) <= now() - INTERVAL '7 seconds'"
)
SAME = (
    "SELECT user_id FROM events WHERE 'purchase' = event_type GROUP BY user_id "
    "HAVING NOT (now() - INTERVAL '7 seconds' < max(event_time))"
)
SPENT = "SELECT user_id FROM events GROUP BY user_id HAVING coalesce(sum(amount), 0) > {}"
NORTH = "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(region, event_time) = '{}'"
#: Its window is over before the next edit: from then on its history is whole.
BULK = (
    "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '3 seconds' GROUP BY user_id "
    "HAVING sum(items) >= {}"
)
BASKETS = (
    "SELECT user_id, CASE WHEN count(*) >= {} THEN 'many' WHEN count(*) >= {} THEN 'some' END AS band "
    "FROM events WHERE event_time > now() - INTERVAL '8 seconds' GROUP BY user_id"
)
#: A definition of which so few may move that any change is held.
GUARD = "/*\nguard: 0.001\n*/\n"
HEADER = "/*\nowner: {}\n*/\n"
OFF = "/*\nenabled: false\n*/\n"
ABSENT = "SELECT user_id FROM segments.carts EXCEPT SELECT user_id FROM segments.active"
BOTH = "SELECT user_id FROM segments.spent {} SELECT user_id FROM segments.active"

FIRST: dict[str, str] = {
    "active": ACTIVE.format(4, 1), "carts": CARTS.format(3), "lapsed": LAPSED, "spent": SPENT.format(200),
    "north": NORTH.format("north"), "absent": ABSENT, "baskets": BASKETS.format(5, 2),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """what: for people; changes: name -> text, None for a definition that goes. quiet: made when no event comes and
    no window is open. back: not an edit of files but `apply --version` of the version before this many. held: the guard
    holds it, if it moves anybody, until it is confirmed, or withdrawn."""

    what: str
    changes: Mapping[str, str | None]
    quiet: bool = False
    back: int = 0
    held: Literal["", "confirm", "withdraw"] = ""


EDITS = [
    Edit("a threshold, and with it who reads the segment", {"carts": CARTS.format(5)}),
    Edit("another window", {"active": ACTIVE.format(8, 1)}),
    Edit("a new definition over existing ones", {"both": BOTH.format("INTERSECT")}),
    Edit("a spelling", {"lapsed": SAME}),
    Edit("a value", {"north": NORTH.format("south")}, quiet=True),
    Edit("one is switched off", {"lapsed": OFF + LAPSED}),
    Edit("a header", {"spent": HEADER.format("growth") + SPENT.format(200)}),
    Edit("another operator between segments", {"both": BOTH.format("UNION")}),
    Edit("one is switched on again, another one goes", {"lapsed": LAPSED, "north": None}),
    Edit("two at once", {"spent": SPENT.format(900), "active": ACTIVE.format(4, 2)}, quiet=True),
    Edit("back to the version before", {}, back=1),
    Edit("what was gone comes again, what was new goes", {"north": NORTH.format("north"), "both": None}, quiet=True),
    Edit("a change of too many, confirmed", {"active": GUARD + ACTIVE.format(7, 1)}, held="confirm"),
    Edit("a change of too many, taken back", {"active": GUARD + ACTIVE.format(3, 3)}, held="withdraw"),
    Edit("bands", {"baskets": BASKETS.format(4, 1)}),
    # Quiet, so that all shards stand at one place: what one refuses is in no other's watermark.
    Edit("a column that is declared now, and who reads it", {SCHEMA_FILE: WITH_ITEMS, "bulk": BULK.format(2)},
         quiet=True),
    Edit("another constraint of a column", {SCHEMA_FILE: DEARER}, quiet=True),
    Edit("a threshold over the new column", {"bulk": BULK.format(4)}),
]


def edited(texts: Mapping[str, str], edit: Edit) -> dict[str, str]:
    found = {**texts, **edit.changes}
    return {name: text for name, text in found.items() if text is not None}


def enabled(texts: Mapping[str, str]) -> dict[str, str]:
    """The queries of those that are switched on, without their headers."""
    return {
        name: text.rpartition("*/\n")[2]
        for name, text in texts.items()
        if name != SCHEMA_FILE and not text.startswith(OFF)
    }
