"""Why a message is set aside. The reason goes to the dead letter and the metric, the detail to a person."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    NO_VALUE = "no_value"  # a tombstone
    TOO_LARGE = "too_large"
    SCHEMA_REGISTRY_FRAMING = "schema_registry_framing"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    EMPTY_USER_ID = "empty_user_id"
    OTHER_USER_ID = "other_user_id"  # a profile whose user_id is not its record's key
    WRONG_TYPE = "wrong_type"
    NOT_ALLOWED = "not_allowed"  # by one_of, min or max
    TIME_WITHOUT_ZONE = "time_without_zone"
    BAD_TIME = "bad_time"
    EVENT_TIME_IN_FUTURE = "event_time_in_future"
    EVENT_TOO_LATE = "event_too_late"  # found by the shard: older than the dedupe horizon


@dataclass(frozen=True, slots=True)
class Reject:
    """index: which of the messages given to the decoder; detail: the field and what was expected, one line."""

    index: int
    reason: Reason
    detail: str


class Refusal(Exception):
    """Raised where one message is read; becomes its Reject."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def shown(text: str | bytes) -> str:
    """A value for a detail: one line of at most 60 characters."""
    if isinstance(text, bytes):
        text = text[:300].decode("utf-8", "replace")
    text = "".join(char if char.isprintable() else "·" for char in text[:61])
    return text if len(text) <= 60 else text[:57] + "..."
