"""The embedded broker's process ends with whoever started it."""

import os
import select
import signal
import subprocess
import sys

import pytest

from flows.embedded_broker import EmbeddedBroker

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_owner_is_killed(number: signal.Signals) -> None:
    program = (
        "import sys, flows.embedded_broker as e\n"
        "b = e.EmbeddedBroker().__enter__()\n"
        "print(b.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    # A pidfd becomes readable when the process has ended, whoever's child it is.
    handle = os.pidfd_open(int(owner.stdout.readline()))
    try:
        owner.send_signal(number)
        owner.communicate()
        assert select.select([handle], [], [], 20)[0], "the broker outlived its owner"
    finally:
        os.close(handle)


@linux
def test_an_interrupted_start_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = EmbeddedBroker()
    handles: list[int] = []

    def interrupted(port: int) -> bool:
        handles.append(os.pidfd_open(broker.pid))
        raise KeyboardInterrupt

    monkeypatch.setattr(broker, "_wait_until_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broker.start()
    try:
        assert select.select(handles, [], [], 20)[0], "the broker is still there"
    finally:
        os.close(handles[0])
