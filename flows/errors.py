"""The error that is a request: start me again."""

from segmentation.errors import TidegateError

#: Exit code of a process that is to be started again: EX_TEMPFAIL of sysexits.h.
AGAIN = 75


class StartAgain(TidegateError):
    """This process ended, or must, for a reason that a new start cures."""

    passing = True


def unexpected(error: BaseException) -> StartAgain:
    """For what nobody foresaw; its traceback goes to the log."""
    return StartAgain(
        f"unexpected {type(error).__name__}: {error}. This is a defect of Tidegate: report it. "
        "Nothing committed is lost; a new start goes on where the database says."
    )
