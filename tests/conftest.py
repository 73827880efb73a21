"""Shared by all tests: how Hypothesis runs here, and its seed, printed so that any run can be repeated.

`pytest --hypothesis-seed=N` repeats a run. TIDEGATE_EXAMPLES says how many examples the large
properties try (tests/oracle/running.py).
"""

import os
import random
import shutil
import tempfile

# Before anything imports gRPC: its handlers of fork() run threads in a child of ours that is about to become another
# program, and on a busy machine end it ("epoll_wait error: Bad file descriptor").
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "tidegate",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("tidegate")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(10**9))
    if config.option.basetemp is None:
        # A folder of this run alone. Runs of one user share /tmp/pytest-of-USER otherwise, and one that begins closes
        # it to others, in the midst of what the database of another run does there (as `nobody`, where we are root).
        config.option.basetemp = tempfile.mkdtemp(prefix="tidegate-tests-")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What a run leaves can be looked at where something failed; otherwise it goes."""
    if exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"--hypothesis-seed={config.option.hypothesis_seed}")
