"""The limits of requests: what is checked before the database is asked.

Each function returns what may be used, or raises the `Refusal` that names the field.
"""

from google.protobuf.timestamp_pb2 import Timestamp

from grpc_server.errors import Refusal, invalid, unknown_segment

USER_ID_BYTES_MAX = 512
SEGMENT_CHARS_MAX = 255
PAIRS_MAX = 1_000
WATCHED_MAX = 1_000
PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 100, 1_000
EVENTS_DEFAULT, EVENTS_MAX = 5, 100
#: Seconds of 9999-12-31T23:59:59Z, the last one that has a name.
LAST_SECOND = 253_402_300_799


def user_id(value: str, field: str = "user_id") -> str:
    if not value:
        raise invalid("EMPTY_USER_ID", field, "A user id is required.")
    if len(value) > USER_ID_BYTES_MAX or len(value.encode()) > USER_ID_BYTES_MAX:
        raise invalid("USER_ID_TOO_LONG", field, f"A user id has at most {USER_ID_BYTES_MAX} bytes of UTF-8.")
    if "\0" in value:
        raise invalid("INVALID_USER_ID", field, "A user id holds no NUL characters.")
    return value


def segment(value: str, field: str = "segment") -> str:
    if not value:
        raise invalid("EMPTY_SEGMENT", field, "The name of a segment is required.")
    if len(value) > SEGMENT_CHARS_MAX or "\0" in value:
        raise unknown_segment(value, (), field)  # a file cannot have this name
    return value


def page_size(value: int) -> int:
    if not 0 <= value <= PAGE_SIZE_MAX:
        raise invalid("INVALID_PAGE_SIZE", "page_size", f"Ask for 1 to {PAGE_SIZE_MAX}; 0 means {PAGE_SIZE_DEFAULT}.")
    return value or PAGE_SIZE_DEFAULT


def pairs_count(count: int) -> None:
    if count > PAIRS_MAX:
        raise invalid("BATCH_TOO_LARGE", "pairs", f"At most {PAIRS_MAX} pairs in one call, not {count}. Split them.")


def watched(count: int, field: str) -> None:
    if count > WATCHED_MAX:
        raise invalid("TOO_MANY_WATCHED", field, f"At most {WATCHED_MAX} in one call, not {count}. Split them.")


def bad_page_token() -> Refusal:
    return invalid(
        "INVALID_PAGE_TOKEN", "page_token",
        "This is not a next_page_token of the same call. Send one back unchanged, or none for the first page.",
    )  # fmt: skip


def instant(value: Timestamp, field: str = "at") -> int:
    """µs; digits past the sixth are cut."""
    if not (0 <= value.seconds <= LAST_SECOND and 0 <= value.nanos < 1_000_000_000):
        raise invalid("INVALID_TIME", field, "Give an instant from 1970 to 9999.")
    return value.seconds * 1_000_000 + value.nanos // 1_000


def max_events(value: int) -> int:
    if not 0 <= value <= EVENTS_MAX:
        raise invalid("INVALID_MAX_EVENTS", "max_events", f"Ask for 1 to {EVENTS_MAX}; 0 means {EVENTS_DEFAULT}.")
    return value or EVENTS_DEFAULT
