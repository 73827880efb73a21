"""Shared by all tests: the Hypothesis profiles and a seed that is printed, so that any run can be repeated.

TIDEGATE_EXAMPLES sets the number of examples of the large properties; `--hypothesis-seed=N` repeats a run.
"""

import os
import random

import hypothesis
import pytest

EXAMPLES = {"dev": 150, "ci": 2_000}

for name, examples in EXAMPLES.items():
    hypothesis.settings.register_profile(
        name,
        max_examples=int(os.environ.get("TIDEGATE_EXAMPLES", examples)),
        deadline=None,
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
    )
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "dev")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(10**9))


def pytest_report_header(config: pytest.Config) -> str:
    return f"--hypothesis-seed={config.option.hypothesis_seed}"
