"""From the producer's stamp to visible over gRPC, on one machine with everything.

Broker, database (flushing to disk), engine, server, producer and callers share the cores; 10,000 events a second make
entries, and time leavings. `loadtest.drive` says how latencies are taken.
"""

import json
from pathlib import Path
from typing import Any

from loadtest import drive
from loadtest.deployment import Deployment
from loadtest.drive_report import page
from loadtest.ratios import Say

OUT = Path(__file__).parent / "out"
RATE, USERS = 10_000, 20_000
#: Until a Java process has compiled what it runs often.
WARM_UP_S = 30
#: For so long a probe is a member, s: longer than anything may take to become visible.
PROBE_S = 20
_HIDDEN = ("buckets", "curve", "by_second")


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    steady = live(RATE, 15 if quick else 90, say)
    report("latency.html", steady)
    figure = three(steady["check"])
    if figure["p999"] is None:  # too few probes for it; whoever watches is told of every transition
        figure["p999"] = steady["watch"].get("p999")
    return {
        "latency_ms": {"figure": figure, **shown(steady)},
        "watch_latency_ms": {"figure": three(steady["watch"])},
        "flip_latency_ms_p99": {"figure": steady["check_flips"].get("p99"), "of": steady["check_flips"]["samples"]},
    }  # fmt: skip


def three(summary: dict[str, Any]) -> dict[str, Any]:
    """The percentiles that have a target."""
    return {name: summary.get(name) for name in ("p50", "p99", "p999")}


def shown(result: dict[str, Any]) -> dict[str, Any]:
    """Without what only the page needs."""
    return {
        name: {key: value for key, value in each.items() if key not in _HIDDEN} if isinstance(each, dict) else each
        for name, each in result.items() if name not in _HIDDEN
    }  # fmt: skip


def live(rate: float, seconds: float, say: Say, users: int = USERS) -> dict[str, Any]:
    files = drive.definitions(rate, seconds, users, probe_s=PROBE_S)
    with Deployment(files, apache=True) as line:
        say(f"{rate:,.0f} events a second, broker {line.broker}: warming up")
        drive.drive(line.bootstrap, line.grpc, rate, WARM_UP_S, users, seed=3, flips=False)
        before = line.cpu_seconds()
        result = drive.drive(line.bootstrap, line.grpc, rate, seconds, users, probe_s=PROBE_S)
        after = line.cpu_seconds()
    result["broker"] = line.broker
    result["cpu_s_per_s"] = {
        name: round((after[name] - before[name]) / (seconds + PROBE_S), 3) for name in after
    }
    require(result)
    if result["overdue"]:
        raise SystemExit(f"{result['overdue']} probes had not left a minute after they were to")
    say(f"visible to checks: {three(result['check'])} ms; watched: {three(result['watch'])} ms; "
        f"flips by time: p99 {result['check_flips'].get('p99')} ms")  # fmt: skip
    return result


def report(name: str, result: dict[str, Any]) -> None:
    """A page in loadtest/out."""
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_text(page(result))


def require(result: dict[str, Any]) -> None:
    """Raises SystemExit where an event did not become visible, or was not taken."""
    if result["missing"] or result["sent"].get("failed", 1) or not result["check"]["samples"]:
        raise SystemExit(f"{result['missing']} probes never became visible; sent: {json.dumps(result['sent'])}")
