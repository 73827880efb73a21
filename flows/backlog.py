"""How much waits in the database to be sent to Kafka, for the metrics: it lies on a disk, so only its growth is seen.

Asked beside the relay, which may be waiting for Kafka just then.
"""

import logging
import threading
from contextlib import closing

from flows import metrics
from segmentation.errors import TidegateError
from storage import postgres
from storage.settings import Settings

log = logging.getLogger("tidegate.relay")

LOOK_SECONDS = 5.0
#: More rows are not counted one by one.
COUNTED = 1_000_000
_COUNT = """
    SELECT coalesce(sum(greatest(messages, 1)), 0)::bigint
    FROM (SELECT messages FROM tidegate.outbox LIMIT %s) AS waiting
"""


def watch_outbox(settings: Settings, end: threading.Event) -> None:
    """Keeps `tidegate_outbox_messages` up to date until `end`; its last value stays while the database is away."""
    url = settings.database_url.get_secret_value()
    while not end.is_set():
        try:
            with closing(
                postgres.connect(url, application="tidegate metrics", wait=None, stop=end, autocommit=True)
            ) as connection, postgres.foreign_errors(postgres.address(url)):
                while not end.is_set():
                    (count,) = connection.execute(_COUNT, [COUNTED]).fetchone() or (0,)
                    metrics.outbox.set(count)
                    end.wait(LOOK_SECONDS)
        except TidegateError as error:
            if not end.is_set():
                log.warning("counting what waits for Kafka: %s", error)
            end.wait(LOOK_SECONDS)
