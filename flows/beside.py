"""The builder beside the flow: started, heard and ended by the engine's first process (flows.builder is the other end).

It lives no longer than the flow of which it runs the steps: one that ends for another reason ends it, too, and the
next flow starts a new one. Only for the switch it is the other way round: the flow ends, and the builder goes on.
"""

import json
import logging
import subprocess
import threading
from contextlib import closing, suppress

from flows import kafka
from flows.switching import discard
from segmentation.errors import TidegateError
from storage import following, postgres
from storage.engine_state import tokens
from storage.interpreter import python
from storage.settings import Settings

log = logging.getLogger("tidegate.deploying")


def command() -> list[str]:
    """What starts a builder."""
    return [*python(), "-m", "flows.builder"]


class Beside:
    """near: it follows the engine closely; over: it has ended. DatabaseError, OSError where it cannot be started."""

    def __init__(self, settings: Settings, version: int, partitions: list[int]) -> None:
        self.version = version
        self.near, self.over = threading.Event(), threading.Event()
        self.switching = False  # the flow was ended for it
        self._settings = settings
        self._url = settings.database_url.get_secret_value()
        self._tokens = tokens(self._url, settings.shards)
        self._said = ""
        given = settings.model_dump(mode="json")
        given["database_url"] = self._url
        given["grpc_tokens"] = {}
        self._process = subprocess.Popen(
            command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._tell(json.dumps({"settings": given, "version": version, "partitions": partitions}))
        self._hearing = threading.Thread(target=self._hear, name="builder", daemon=True)
        self._hearing.start()

    def go(self) -> None:
        """The flow has ended, and every commit is made: to be switched now."""
        self._tell("switch")

    def switch(self, stop: threading.Event) -> None:
        """As `go`; returns when the builder has ended."""
        self.go()
        while not self.over.wait(0.05):
            if stop.is_set():
                raise kafka.Stopped

    def end(self) -> None:
        """It is gone when this returns, and what it has left behind if it has not switched."""
        self._process.kill()
        self._process.wait()
        self._hearing.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self._said:
            log.warning("the version that was being built is not yet: %s", self._said)
        try:
            with (
                closing(postgres.connect(self._url, application="tidegate builder", autocommit=True)) as connection,
                postgres.foreign_errors(postgres.address(self._url)),
            ):
                following.end(connection, self._tokens, lambda: discard(self._settings, self._tokens))
        except TidegateError as error:
            log.warning("%s", error)  # the next start of an engine does it

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and `over` says so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "log" in said:
                level, name, text = said["log"]
                logging.getLogger(name).log(level, "%s", text)
            elif "near" in said:
                self.near.set()
            elif "failed" in said:
                self._said = said["failed"]
        self._process.wait()
        self.over.set()
