"""Start the engine: what `tidegate run` and `python -m bytewax.run` have in common."""

import threading
from collections.abc import Sequence

from storage.settings import Settings


def run(
    settings: Settings,
    workers: int = 1,
    process_id: int | None = None,
    addresses: Sequence[str] | None = None,
    until_end: bool = False,
    finish_at: int | None = None,
    rebuild: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`, then drain and return; raise TidegateError where it cannot go on.

    workers: Bytewax workers (threads) of this process. process_id, addresses ("host:port" of every
    process, in order): a cluster. until_end: read to the end of the topic as it is now and return.
    finish_at: with clock "event" and until_end, the time (µs) up to which windows are expired then.
    rebuild: read the topic from its beginning with the present definitions and write only the differences.
    """
    raise NotImplementedError
