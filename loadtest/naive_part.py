"""The part `naive` of `loadtest.bench`."""

from typing import Any

from loadtest import ratios


def measure(quick: bool, say: ratios.Say) -> dict[str, Any]:
    found = ratios.versus_naive(20_000 if quick else 100_000, 3 if quick else 5, say)
    return {"vs_naive_bytewax": {"figure": found["times"]["median"], "spread": found["times"], **found}}
