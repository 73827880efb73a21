"""Profiles for the slow twin: versions are arrivals beside the events, and the latest one is the row in `users`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segmentation.compile.rebuild import mapped
from segmentation.compile.tree import Column, Literal, UserColumn, Value
from segmentation.types import TEXT


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `values` holds the declared columns (event_type included); a missing one is NULL. time: µs."""

    user_id: str
    event_id: str
    time: int
    values: Mapping[str, Value]

    def column(self, name: str) -> Value:
        if name == "user_id":
            return self.user_id
        if name == "event_id":
            return self.event_id
        if name == "event_time":
            return self.time
        return self.values.get(name)


class Version(Event):
    """One version of a profile; `values` holds the columns of users. `event_id` puts those of one time in order."""

    __slots__ = ()


def latest(arrivals: Sequence[Event]) -> Version | None:
    versions = [each for each in arrivals if isinstance(each, Version)]
    return max(versions, key=lambda version: (version.time, version.event_id), default=None)


def filled(condition: Any, profile: Version | None) -> Any:
    """A condition with the values of the profile written in; without one they are NULL."""

    def value(part: Any) -> Literal | None:
        if not isinstance(part, UserColumn):
            return None
        return Literal(None if profile is None else profile.values.get(part.name), part.type)

    return mapped(condition, value)


def named(condition: Any, user_id: str) -> Any:
    """A condition with the user's id written in, for a user who need not have any event."""

    def value(part: Any) -> Literal | None:
        return Literal(user_id, TEXT) if isinstance(part, Column) and part.name == "user_id" else None

    return mapped(condition, value)
