"""The root of every error that a user is meant to read."""

from typing import ClassVar


class TidegateError(Exception):
    """Says in one line what went wrong and what to do; shown without a traceback.

    passing: the same may go well later without anybody changing anything, so whoever runs the
    engine starts it again; otherwise somebody has to do what the message says.
    """

    passing: ClassVar[bool] = False
