"""The log of transitions is pruned beside a running engine, where the setting `history` says so."""

import logging
import threading

from flows import metrics
from segmentation.errors import TidegateError
from storage.pruning import prune
from storage.settings import Settings

log = logging.getLogger("tidegate.engine")

#: Between two rounds, s.
EVERY_SECONDS = 60.0


def prune_forever(settings: Settings, end: threading.Event) -> None:
    """Until `end`. Whatever fails is tried again in the next round."""
    if not settings.history:
        return
    while not end.wait(EVERY_SECONDS):
        try:
            deleted = prune(settings.database_url.get_secret_value(), settings.history, end)
        except TidegateError as error:
            log.warning("the log of transitions was not pruned: %s", error)
            continue
        metrics.pruned.inc(deleted)
        if deleted:
            log.info("%d entries and exits from before the last %g s have left the log", deleted, settings.history)
