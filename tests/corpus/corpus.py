"""The corpus: definitions as a shop would write them, in `fixtures/*.sql`, each after `-- # its_name`."""

import re
from pathlib import Path

from segmentation.compile.bind import bind_all
from segmentation.compile.tree import Definition
from segmentation.events.schema import Schema, load_schema
from segmentation.types import Type

FOLDER = Path(__file__).parent / "fixtures"
FILES = sorted(FOLDER.glob("*.sql"))
SCHEMA: Schema = load_schema((FOLDER / "schema.yml").read_text())
_FIXED = ("user_id", "event_id", "event_time")
#: What an event carries.
COLUMNS: dict[str, Type] = {name: column.type for name, column in SCHEMA.events.items() if name not in _FIXED}
#: What a profile has; tests/oracle makes profiles with these.
USERS: dict[str, Type] = {name: column.type for name, column in SCHEMA.users.items()}


def texts(file: Path) -> dict[str, str]:
    """SQL by name, in the order of the file."""
    found = {}
    for part in re.split(r"^-- # ", file.read_text(), flags=re.M)[1:]:
        name, _, sql = part.partition("\n")
        assert name not in found, name
        found[name] = sql.strip()
    return found


def everything() -> dict[str, str]:
    """SQL by name, of all files."""
    found: dict[str, str] = {}
    for file in FILES:
        for name, sql in texts(file).items():
            assert name not in found, name
            found[name] = sql
    return found


def bound(sqls: dict[str, str]) -> list[Definition]:
    return bind_all({f"{name}.sql": sql for name, sql in sqls.items()}, SCHEMA)


def with_what_they_read(names: list[str], sqls: dict[str, str]) -> dict[str, str]:
    """Those definitions and all that they read, directly or not."""
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = sqls[name]
            todo += [each.partition("/")[0] for each in re.findall(r'segments\."?([\w/+-]+)', sqls[name])]
    return found
