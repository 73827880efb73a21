"""A proxy in front of a database that stays at its address, so that tests can take the database away."""

import time
from collections.abc import Callable

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.proxy import TcpProxy


class Proxy(TcpProxy):
    """Context manager; `url` is that of the database, by way of the proxy."""

    def __init__(self, url: str) -> None:
        there = conninfo_to_dict(url)
        super().__init__((str(there.get("host") or "localhost"), int(there.get("port") or 5432)))
        self.url = make_conninfo(url, host="127.0.0.1", port=self.port)

    def __enter__(self) -> "Proxy":
        super().__enter__()
        return self


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits until `condition` holds; fails the test, saying `what` was awaited, if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)
