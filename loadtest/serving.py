"""Checks over gRPC while transitions go in: against an empty call of the same server, in batches, and in a soak.

    make bench-serving SERVING_ARGS='--users 1000000 --soak 600'

A database of its own is filled by a formula (`serving_world`), 5,000 transitions a second are committed to it, and one
server answers from memory. Ratios are of calls by turns within one run, so they mean something on a busy machine too.

The soak goes on while the database crashes (kill -9 of one of its processes, so that it starts again) and while the
writer is killed and started again. Afterwards each answer is compared with the log: it must be what the log says of
that user and segment at the answer's own `as_of`, to the microsecond. UNAVAILABLE while the database is down is the one
failure that is stated, and counted apart; any other is `soak_failed_calls`.

Writes loadtest/out/serving.json and serving.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from loadtest import serving_world as world
from storage import postgres
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

OUT = Path(__file__).parent / "out"
_STATED = ("UNAVAILABLE",)


@contextmanager
def process(module: str, *words: object, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process of ours and what it prints after `ready`; killed in the end."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)], env={**ours, **variables}, stdout=subprocess.PIPE, text=True
    ) as popen:
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            if not line.startswith("ready"):
                raise SystemExit(f"{module} ended; what it says stands above")
            yield popen, line.removeprefix("ready").strip()
        finally:
            popen.kill()


def client(port: str, given: argparse.Namespace, what: str, seconds: float) -> dict[str, Any]:
    words = [sys.executable, "-m", "loadtest.serving_client", port, str(given.users), str(given.segments), what]
    done = subprocess.run([*words, str(seconds)], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def crash(url: str) -> None:
    """Of one of the database's processes: it ends all sessions, recovers and starts again."""
    with closing(postgres.connect(url, wait=30, autocommit=True)) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)


def soak(url: str, port: str, given: argparse.Namespace, rss: psutil.Process) -> dict[str, Any]:
    """Crashes and kills every `given.break_every` seconds."""
    ended = threading.Event()
    breaks: list[str] = []

    def disturb() -> None:
        while True:
            with process("loadtest.serving_world", url, given.users, given.segments, given.rate):
                if ended.wait(given.break_every):
                    return
                crash(url)
                breaks.append("database")
                if ended.wait(given.break_every):
                    return
            breaks.append("writer")

    before = rss.memory_info().rss
    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        result = client(port, given, "soak", given.soak)
    finally:
        ended.set()
        disturbing.join()
    result["wrong"] = wrong_answers(url, result.pop("answers"), result)
    return {**result, "breaks": breaks, "rss_before": before, "rss_after": rss.memory_info().rss}


def wrong_answers(url: str, answers: list[tuple[str, str, bool, int, int]], told: dict[str, Any]) -> int:
    """Those that are not what the log says at their own `as_of`."""
    names = {world.segment_name(number): number for number in range(1_000)}
    flips: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    with closing(postgres.connect(url, wait=30)) as connection:
        for user, segment, entered, at in connection.execute(
            "SELECT user_id, segment, entered, (extract(epoch FROM effective_at) * 1000000)::bigint "
            "FROM segment_transitions ORDER BY user_id, seq"
        ):
            flips.setdefault((user, segment), []).append((at, entered))
    wrong = changed = 0
    for user, segment, member, since, as_of in answers:
        inside = (31 * int(user[1:]) + 17 * names[segment]) % 20 == 0
        entered_at = world.START_US
        for at, entered in flips.get((user, segment), ()):
            if at <= as_of:
                inside, entered_at, changed = entered, at, changed + 1
        wrong += (member, since) != (inside, entered_at if inside else 0)
    told.update(checked=len(answers), flips_met=changed)
    return wrong


def report(result: dict[str, Any], given: argparse.Namespace) -> str:
    lines = [
        "# Serving", "", f"{given.users:,} users, {given.segments} segments, {given.rate:,} transitions/s going in, "
        f"{os.cpu_count()} cores for server, database, writer and client together.", "",
        *(f"- {name}: {value:.3g}" if isinstance(value, float) else f"- {name}: {value}"
          for name, value in result.items() if not isinstance(value, dict)),
    ]  # fmt: skip
    for name in ("empty", "check", "batch"):
        one = result["latency"][name]
        lines += ["", f"## {name}: {one['calls']:,} calls", "", "| up to ms | calls | |", "|---|---|---|"]
        most = max(one["counts"])
        for bound, count in zip([*one["bounds_ms"], "more"], one["counts"]):
            if count:
                lines.append(f"| {bound} | {count} | {'#' * max(1, round(40 * count / most))} |")
    return "\n".join(lines) + "\n"


def measure(url: str, given: argparse.Namespace) -> dict[str, Any]:
    variables = {
        "TIDEGATE_DATABASE_URL": url, "TIDEGATE_GRPC_LISTEN": "127.0.0.1:0", "TIDEGATE_GRPC_CACHE": "true",
        "TIDEGATE_SERVER_METRICS_PORT": "0",
    }  # fmt: skip
    with process("loadtest.serving_server", **variables) as (server, port):
        rss = psutil.Process(server.pid)
        with process("loadtest.serving_world", url, given.users, given.segments, given.rate):
            unary = client(port, given, "unary", given.seconds)
            batch = client(port, given, "batch", given.seconds / 2)
        soaked = soak(url, port, given, rss)
    empty, check = unary["empty"], unary["check"]
    failed = {code: count for code, count in soaked["failed"].items() if code not in _STATED}
    return {
        "users": given.users, "segments": given.segments, "rate": given.rate,
        "unary_ratio": check["per_s"] / empty["per_s"], "unary_p99_ratio": check["p99_ms"] / empty["p99_ms"],
        "unary_per_s": check["per_s"],
        "batch_checks_per_s": batch["checks_per_s"], "as_of_lag_s": batch["as_of_lag_s"],
        "soak_seconds": given.soak, "soak_answers": soaked["checked"], "soak_flips_met": soaked["flips_met"],
        "soak_wrong_answers": soaked["wrong"], "soak_failed_calls": sum(failed.values()),
        "soak_unavailable": sum(soaked["failed"].get(code, 0) for code in _STATED),
        "soak_database_crashes": soaked["breaks"].count("database"),
        "soak_writer_kills": soaked["breaks"].count("writer"), "soak_worst_lag_s": soaked["worst_lag_s"],
        "soak_rss_ratio": soaked["rss_after"] / soaked["rss_before"], "server_rss_mb": soaked["rss_after"] / 1e6,
        "latency": {"empty": empty, "check": check, "batch": batch},
    }  # fmt: skip


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=100)
    parser.add_argument("--rate", type=int, default=5_000, help="transitions a second")
    parser.add_argument("--seconds", type=float, default=20, help="of unary calls; batches take half of it")
    parser.add_argument("--soak", type=float, default=600, help="seconds")
    parser.add_argument("--break-every", type=float, default=20, help="seconds between two crashes in the soak")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "db", {"fsync": "off"}) as database:
        migrate(database.url)
        begun = time.perf_counter()
        world.fill(database.url, given.users, given.segments)
        print(f"filled in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        result = measure(database.url, given)
    OUT.mkdir(exist_ok=True)
    (OUT / "serving.json").write_text(json.dumps(result, indent=1))
    (OUT / "serving.md").write_text(report(result, given))
    print(json.dumps({name: value for name, value in result.items() if name != "latency"}, indent=1))


if __name__ == "__main__":
    main()
