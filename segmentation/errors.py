"""The root of every error that a user is meant to read."""


class TidegateError(Exception):
    """Says in one line what went wrong and what to do; shown without a traceback."""
