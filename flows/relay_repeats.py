"""At least once, for brokers without transactions: what a crash or a take-over leaves open is sent again.

Per user in order, but a repetition may begin anywhere behind what was sent. Readers drop repeats by
user_id and seq.
"""

from flows import kafka
from flows.relay_sending import OPTIONS, Answers, Last, Options
from storage.outbox import Batch
from storage.settings import Settings

FLUSH_SECONDS = 30.0
LAST_SECONDS = 3.0


class Repeats:
    """An idempotent producer of the relay's messages."""

    def __init__(self, settings: Settings, options: Options, last: Last) -> None:
        self._settings, self._last = settings, last
        self._producer = kafka.producer(settings, **OPTIONS, **options)

    def close(self) -> None:
        # What is still under way must not be overtaken by its repetition.
        self._producer.purge()
        self._producer.flush(1)

    def publish(self, batch: Batch) -> None:
        """Raises NotSent; what it does not name as sent may have been sent all the same."""
        answers = Answers(batch, each=True)
        answers.produce(self._producer, self._settings)
        left = self._producer.flush(LAST_SECONDS if self._last.stop.is_set() else FLUSH_SECONDS)
        if left or answers.errors:
            raise answers.not_sent(self._settings, answers.acknowledged())
