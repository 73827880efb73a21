"""Whose a refused message is: by its record's key, and by what its value says, however broken that is.

An erasure has to find the user's refused messages too, and those are the ones that could not be read as they should.
"""

import re
from collections.abc import Sequence

import msgspec

from segmentation.events.exact import ID_BYTES_MAX


def user_of_key(key: bytes | None) -> str | None:
    """The user id that a record's key is, if it may be one."""
    try:
        return _possible((key or b"").decode())
    except UnicodeDecodeError:
        return None


def user_of_value(value: bytes | None, path: Sequence[str]) -> str | None:
    """The text, or the whole number as it is written, at `path` of a message that may be anything at all.

    Of a value that is no JSON (cut off, framed, in another encoding): the first text that follows the path's
    last name and a colon. None where there is neither."""
    if not value or not path:
        return None
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _near(value, path[-1])
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return _possible(found) if isinstance(found, str) else None


def _near(value: bytes, name: str) -> str | None:
    quoted = re.escape(msgspec.json.encode(name))
    match = re.search(quoted + rb'\s*:\s*("(?:[^"\\]|\\.)*")', value, re.DOTALL)
    if match is None:
        return None
    try:
        return _possible(msgspec.json.decode(match[1], type=str))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _possible(text: str) -> str | None:
    """Texts that are no user id of anybody name nobody."""
    try:
        return text if text and "\0" not in text and len(text.encode()) <= ID_BYTES_MAX else None
    except UnicodeEncodeError:  # a lone surrogate
        return None
