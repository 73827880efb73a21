"""Latencies without loss of detail: percentiles of all samples, and a histogram whose buckets grow with the value.

As in an HDR histogram a bucket is as wide as its value needs (16 for each doubling, so within 4.5%), whatever the
range; the samples here are few enough to be kept, so the percentiles themselves are exact.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

PER_DOUBLING = 16
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
#: For the curve of a report: to many nines.
CURVE = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99)


def summary(micros: Sequence[int]) -> dict[str, Any]:
    """samples, min, max, mean and percentiles in ms ("p50", "p999" and so on), and `buckets`: [up to ms, samples]."""
    if not len(micros):
        return {"samples": 0}
    values = np.array(micros, np.float64) / 1e3
    names = [f"p{p:g}".replace(".", "") for p in PERCENTILES]
    found: dict[str, Any] = {"samples": len(values)}
    # A percentile that has no ten samples beyond it says more of chance than of the system.
    found |= {
        name: round(float(np.percentile(values, p)), 3)
        for name, p in zip(names, PERCENTILES) if p <= 99 or len(values) * (100 - p) / 100 >= 5
    }  # fmt: skip
    found |= {"min": round(float(values.min()), 3), "max": round(float(values.max()), 3),
              "mean": round(float(values.mean()), 3)}  # fmt: skip
    place = np.ceil(np.log2(np.maximum(values, 0.001)) * PER_DOUBLING).astype(np.int64)
    which, counts = np.unique(place, return_counts=True)
    found["buckets"] = [[round(2 ** (w / PER_DOUBLING), 4), c] for w, c in zip(which.tolist(), counts.tolist())]
    found["curve"] = [[p, round(float(np.percentile(values, p)), 3)] for p in CURVE]
    return found


def by_second(samples: Sequence[tuple[int, int]], start_us: int) -> list[list[float]]:
    """[second, samples, p50 ms, p99 ms, max ms] by the instant at which each became true."""
    if not samples:
        return []
    at, took = np.array(samples, np.int64).T
    second = (at - start_us) // 1_000_000
    rows = []
    for each in np.unique(second).tolist():
        values = took[second == each] / 1e3
        p50, p99 = np.percentile(values, (50, 99)).tolist()
        rows.append([each, len(values), round(p50, 3), round(p99, 3), round(float(values.max()), 3)])
    return rows
