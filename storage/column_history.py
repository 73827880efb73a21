"""Since when the archive has values of each column: by the versions of the definitions that have been deployed."""

from collections.abc import Sequence
from datetime import datetime

from segmentation.compile import compile_files
from segmentation.compile.plan import profile_column
from segmentation.events.schema import Schema
from segmentation.types import NEVER
from storage.deployments import COMPLETE, ENGINE, UPGRADED, Deployment


def columns_since(versions: Sequence[Deployment], new: Schema, now: int) -> dict[str, int]:
    """By the plan's names, µs: from when on there are values of those columns of `new` that were not always there.

    now: for columns that no version had. What an engine deployed by itself had read all events with its columns; one
    that was upgraded then had kept, of the columns of users, those that its definitions read."""
    done = [version for version in versions if version.state == COMPLETE]
    begin = max(place for place, version in enumerate(done) if version.by in (ENGINE, UPGRADED))
    folder = done[begin].folder
    known = dict.fromkeys(declared(folder.schema), NEVER)
    if done[begin].by == UPGRADED:
        read = compile_files(folder.files, folder.schema).columns
        users = {profile_column(name) for name in folder.schema.users}
        known |= {name: _micros(done[begin].switched_at) for name in users - read.keys()}
    for version in done[begin + 1 :]:
        since = _micros(version.begins or version.switched_at)
        known = {name: known.get(name, since) for name in declared(version.folder.schema)}
    found = {name: known.get(name, now) for name in declared(new)}
    return {name: since for name, since in found.items() if since > NEVER}


def declared(schema: Schema) -> set[str]:
    """The columns by the names that a plan has for them."""
    return {*schema.events, *map(profile_column, schema.users)}


def _micros(at: datetime | None) -> int:
    assert at is not None, "a complete version has been switched to"
    return int(at.timestamp() * 1_000_000)
