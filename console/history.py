"""Events and profiles of files for `explain` and `forecast`; one user's of them; the definition that is asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.errors import TidegateError

if TYPE_CHECKING:
    from segmentation.compile.tree import Definition
    from segmentation.events.rows import Profiles, Rows
    from segmentation.events.schema import EventColumn, Schema
    from segmentation.explain.arrivals import Arrival
    from segmentation.reference_users import Event
    from segmentation.types import Type


@dataclass(frozen=True, slots=True)
class Files:
    """rows: of events; profiles: None where there is no such file. latest: µs, the latest time of anybody."""

    rows: "Rows"
    profiles: "Profiles | None"

    @property
    def latest(self) -> int:
        times = [self.rows.time] if self.profiles is None else [self.rows.time, self.profiles.time]
        return max([int(some.max()) for some in times if len(some)], default=0)


def read_files(
    events: Path, profiles: Path | None, schema: "Schema", mapping: dict[str, str], timezone: str | None, strict: bool
) -> Files:
    """What is refused is said on stderr. TidegateError for a bad file, or where `strict` and a row is refused."""
    from console.loading import load_events, report_refused

    loaded = load_events(events, schema, mapping, timezone, with_messages=False)
    report_refused(loaded.refused, events, strict)
    if profiles is None:
        return Files(loaded.rows, None)
    from console.profile_rows import load_profiles

    found, refused = load_profiles(profiles, schema, timezone)
    report_refused(refused, profiles, strict)
    return Files(loaded.rows, found)


@dataclass(frozen=True, slots=True)
class History:
    """at: µs, the instant to explain: the one asked for, or the latest time of anybody in the files."""

    arrivals: "list[Arrival]"
    at: int


def types_of(columns: "Mapping[str, EventColumn]") -> "dict[str, Type]":
    return {name: column.type for name, column in columns.items()}


def of_files(files: Files, schema: "Schema", user_id: str, at: int | None) -> History:
    """Of who is erased by `at`, only what is later stays."""
    from segmentation.explain.arrivals import events_of, in_order_of_time, versions_of
    from segmentation.types import NEVER

    at = files.latest if at is None else at
    profiles = files.profiles
    found: list[Event] = list(events_of(files.rows, user_id, types_of(schema.events)))
    erased = NEVER
    if profiles is not None:
        mine = [place for place, each in enumerate(profiles.user_ids) if each == user_id]
        for place, version in zip(mine, versions_of(profiles, user_id, types_of(schema.users))):
            if version is not None:
                found.append(version)
            elif (time := int(profiles.time[place])) <= at:
                erased = max(erased, time)
    return History(in_order_of_time([event for event in found if event.time > erased]), at)


def definition_of(definitions: "Sequence[Definition]", segment: str, files: dict[str, str]) -> "Definition":
    """Raises TidegateError where there is no such segment, with what might have been meant."""
    import difflib

    for definition in definitions:
        if definition.name == segment:
            return definition
    names = [definition.name for definition in definitions]
    if bands := [name for name in names if name.startswith(f"{segment}/")]:
        raise TidegateError(f"{segment!r} is divided into bands, of which each is a segment: {', '.join(bands)}.")
    if segment in [Path(file).stem for file in files]:
        raise TidegateError(f"segment {segment!r} is not enabled: its file says `enabled: false`.")
    near = difflib.get_close_matches(segment, names, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}."
    raise TidegateError(f"there is no segment {segment!r}. {advice}")
