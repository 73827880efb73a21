"""Checks over gRPC while transitions go in: against an empty call of the same server, in batches, and in a soak.

    make bench-serving SERVING_ARGS='--users 1000000 --soak 600'

A database of its own is filled by a formula (`serving_world`), 5,000 transitions a second are committed to it, and one
server answers from memory. Ratios are of calls by turns within one run, so they mean something on a busy machine too.
Then the soak (`serving_soak`), with an engine, a broker and another database. Both worlds are gone in the end.

Some 17 minutes by default. Says what it does on stderr; writes loadtest/out/serving.json and serving.md, a report with
histograms.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from loadtest import serving_world as world
from loadtest.serving_soak import OUT, process, say, server_variables, soak
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate


def client(port: str, server: int, given: argparse.Namespace, what: str, seconds: float) -> dict[str, Any]:
    say(f"{what}: {seconds:.0f} s")
    words = [sys.executable, "-m", "loadtest.serving_client", port, str(server), str(given.users), str(given.segments)]
    done = subprocess.run([*words, what, str(seconds)], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(result: dict[str, Any], given: argparse.Namespace) -> str:
    lines = [
        "# Serving", "", f"{given.users:,} users, {given.segments} segments, {given.rate:,} transitions/s going in, "
        f"{os.cpu_count()} cores for server, database, writer and client together.", "",
        *(f"- {name}: {value:.3g}" if isinstance(value, float) else f"- {name}: {value}"
          for name, value in result.items() if not isinstance(value, dict)),
    ]  # fmt: skip
    histograms = {**result["latency"], **({"soak": result["soak_latency"]} if "soak_latency" in result else {})}
    lines += ["", "| calls | number | p50 ms | p90 ms | p99 ms | p99.9 ms |", "|---|---|---|---|---|---|"]
    for name, one in histograms.items():
        percentiles = " | ".join(f"{one[f'p{p}_ms']:.2f}" for p in ("50", "90", "99", "99.9"))
        lines.append(f"| {name} | {one['calls']:,} | {percentiles} |")
    for name, one in histograms.items():
        lines += ["", f"## {name}: {one['calls']:,} calls", "", "| up to ms | calls | |", "|---|---|---|"]
        most = max(one["counts"])
        for bound, count in zip([*one["bounds_ms"], "more"], one["counts"]):
            if count:
                lines.append(f"| {bound} | {count} | {'#' * max(1, round(40 * count / most))} |")
    return "\n".join(lines) + "\n"


def measure(url: str, given: argparse.Namespace) -> dict[str, Any]:
    begun = time.perf_counter()
    with process("loadtest.serving_server", **server_variables(url)) as (server, port):
        loaded, rss = time.perf_counter() - begun, psutil.Process(server.pid).memory_info().rss
        with process("loadtest.serving_world", url, given.users, given.segments, given.rate):
            unary = client(port, server.pid, given, "unary", given.seconds)
            batch = client(port, server.pid, given, "batch", given.seconds / 4)
    empty, check = unary["empty"], unary["check"]
    return {
        "users": given.users, "segments": given.segments, "rate": given.rate,
        "unary_ratio": check["per_s"] / empty["per_s"], "unary_p99_ratio": check["p99_ms"] / empty["p99_ms"],
        "unary_cpu_ratio": empty["cpu_us"] / check["cpu_us"],
        "unary_per_s": check["per_s"], "empty_per_s": empty["per_s"],
        "batch_checks_per_s": batch["checks_per_s"], "batch_cpu_us": batch["cpu_us"],
        "as_of_lag_s": max(unary["as_of_lag_s"], batch["as_of_lag_s"]),
        "memory_loaded_s": loaded, "memory_rss_mb": rss / 1e6,
        "latency": {"empty": empty, "check": check, "batch": batch},
    }  # fmt: skip


def soaked(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """{} with `--soak 0`."""
    if not given.soak:
        return {}
    found = soak(given, folder)
    failed = found.pop("failed")
    return {
        "soak_seconds": given.soak, "soak_answers": found.pop("answers"), "soak_wrong_answers": found.pop("wrong"),
        "soak_failed_calls": sum(failed.values()), "soak_failed_codes": failed,
        **{f"soak_{name}": value for name, value in found.items()},
    }


def write(result: dict[str, Any], given: argparse.Namespace) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / "serving.json").write_text(json.dumps(result, indent=1))
    (OUT / "serving.md").write_text(report(result, given))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=100)
    parser.add_argument("--rate", type=int, default=5_000, help="transitions a second")
    parser.add_argument("--seconds", type=float, default=60, help="of unary calls; batches take a quarter of it")
    parser.add_argument("--soak", type=float, default=600, help="seconds")
    parser.add_argument("--soak-rate", type=int, default=3_000, help="events a second in the soak")
    parser.add_argument("--break-every", type=float, default=25, help="seconds between two kills in the soak")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "db", {"fsync": "off"}) as database:
            migrate(database.url)
            say(f"{given.users:,} users in {given.segments} segments are stored")
            world.fill(database.url, given.users, given.segments)
            result = measure(database.url, given)
        write(result, given)  # so that it is there whatever becomes of the soak
        result |= soaked(given, folder)
    write(result, given)
    print(json.dumps({name: value for name, value in result.items() if not name.endswith("latency")}, indent=1))


if __name__ == "__main__":
    main()
