"""A wrong evaluation, seeded: of every third user no event is counted any more. The audit must find it.

Armed by TORTURE_WRONG=1 (tests.torture.worker). The engine stays consistent with itself: what was not counted does not
leave a window either, and the log has every event.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from segmentation.evaluate.index import Touched
from segmentation.evaluate.touching import Touching
from tests.torture.wrapping import wrap

EVERY = 3


def evaluate_wrongly() -> None:
    def around(touched: Callable[..., Any]) -> Callable[..., Any]:
        def some(self: Touching, rows: Any, *given: Any) -> Any:
            found: Touched = touched(self, rows, *given)
            return found.where(np.asarray(rows["user"])[found.row] % EVERY != 0)

        return some

    wrap(Touching, "_touched", around)
    wrap(Touching, "cell_rows", lambda _: Touching.by_numpy)
