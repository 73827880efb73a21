"""Tidegate against Flink SQL: end to end over one broker and one database, and each alone on a file.

    make bench-peers                                          some 20 minutes; the first time it fetches Flink (300 MB)
    python -m loadtest.peers [--events N] [--over-events N] [--rounds N] [--only over]

Two forms of the same 100 definitions: aggregates over a user's whole life, which suits Flink best, and over the last 30
days, which in Flink SQL is an OVER window. End to end, both read the same topic of an Apache Kafka and write to the
same PostgreSQL, in turns, with everything on this machine's cores. Alone, each reads a file on one core and its results
go nowhere. A figure is the rate over the last two thirds of the events, so that nobody's start and warm-up count; its
median and spread are of `rounds` turns. After every run the stored members are compared with what DuckDB finds for the
same SQL (Flink's OVER window only speaks when an event comes: so with each user as of the last event); if they differ,
nothing is reported. Flink is tried with and without mini-batches, the better setting is what counts.

Written to loadtest/out/peers.json, and its main figures into loadtest/out/bench.json.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.peers import files, flink, lines, world
from loadtest.peers.world import Form, Judge, Members, World
from storage.embedded import EmbeddedPostgres

OUT = Path(__file__).parents[1] / "out"
_SETTINGS: dict[str, dict[str, str]] = {"mini-batches": flink.MINI_BATCH, "one by one": {}}


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000, help="of lifetime aggregates (default %(default)s)")
    parser.add_argument("--over-events", type=int, default=1_000_000, help="with the OVER window (default %(default)s)")
    parser.add_argument("--only", choices=("lifetime", "over"), help="one of the two forms")
    parser.add_argument("--events-per-user", type=float, default=20, help="on average (default %(default)s)")
    parser.add_argument("--definitions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of each contender (default: cores)")
    args = parser.parse_args()
    try:
        flink.classpath()
        from tests.kafka_node.node import KafkaNode, Unavailable
    except flink.Unavailable as reason:
        raise SystemExit(f"error: {reason}") from None
    result: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "flink": flink.version(), "definitions": args.definitions, "rounds": args.rounds,
    }  # fmt: skip
    forms: tuple[tuple[Form, int], ...] = (("lifetime", args.events), ("over", args.over_events))
    for form, events in forms:
        if args.only not in (None, form):
            continue
        made = world.make(form, events, max(1, round(events / args.events_per_user)), args.definitions)
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "events.ndjson"
            file.write_bytes(b"\n".join(made.messages) + b"\n")
            judge = Judge(made, file)
            say(f"{form}: {events:,} events; fields of the last column: events a second")
            try:
                with EmbeddedPostgres() as postgres, KafkaNode(measured=True) as kafka:
                    lines.produce(kafka.bootstrap, made)
                    result[form] = {"events": events, **_form(args, made, judge, file, kafka.bootstrap, postgres.url)}
            except Unavailable as reason:
                raise SystemExit(f"error: {reason}") from None
        _write(result)  # what took long stays, whatever becomes of the rest


def _form(
    args: argparse.Namespace, made: World, judge: Judge, file: Path, bootstrap: str, postgres: str
) -> dict[str, Any]:
    n = len(made.messages)
    at_end = judge.members(made.last)
    flinks = at_end if made.form == "lifetime" else judge.members_at_last_events()

    def ours_line() -> float:
        progress, stored, judged = lines.tidegate(bootstrap, postgres, made, judge, args.workers)
        _agree("Tidegate", stored, judged)
        return _rate(n, progress.seconds_after(n // 3))

    def flink_line(settings: dict[str, str]) -> float:
        progress, stored = lines.flink_job(bootstrap, postgres, made, settings, args.workers)
        _agree("Flink", stored, flinks)
        return _rate(n, progress.seconds_after(n // 3))

    transitions: list[float] = []

    def ours_file() -> float:
        seconds, share, members = files.tidegate(file, made)
        _agree("Tidegate", members, at_end)
        transitions.append(share)
        return _rate(n, seconds)

    def flink_file(settings: dict[str, str]) -> float:
        return _rate(n, files.flink_job(file, made, settings).seconds_after(n // 3))

    return {
        "definitions_with_members_and_others": world.split(made, at_end),
        "end_to_end": _turns(args.rounds, "end to end", made.form, ours_line, flink_line),
        "files": _turns(args.rounds, "on a file, one core", made.form, ours_file, flink_file),
        "transitions_per_event": round(statistics.median(transitions), 3),
    }


def _turns(
    rounds: int, name: str, form: Form, ours: Callable[[], float], theirs: Callable[[dict[str, str]], float]
) -> dict[str, Any]:
    """Both in turns. Flink's setting is the better of what was tried in a round before; an OVER window has only one."""
    tried: dict[str, float] = {}
    if form == "lifetime":
        for setting, options in _SETTINGS.items():
            tried[setting] = theirs(options)
            say(f"  {name}: Flink, {setting}: {tried[setting]:,.0f}")
    best = max(tried, key=lambda setting: tried[setting]) if tried else "one by one"
    pairs = []
    for _ in range(rounds):
        pairs.append((ours(), theirs(_SETTINGS[best])))
        say(f"  {name}: Tidegate {pairs[-1][0]:,.0f}, Flink ({best}) {pairs[-1][1]:,.0f}")
    ratios = [mine / other for mine, other in pairs]
    return {
        "tidegate_events_per_s": round(statistics.median(mine for mine, _ in pairs)),
        "flink_events_per_s": round(statistics.median(other for _, other in pairs)),
        "flink_setting": best, "flink_tried": {setting: round(rate) for setting, rate in tried.items()},
        "times": {"median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2),
                  "max": round(max(ratios), 2)},
    }  # fmt: skip


def _rate(events: int, seconds: float) -> float:
    return (events - events // 3) / seconds


def _agree(who: str, stored: Members, judged: Members) -> None:
    if stored != judged:
        raise SystemExit(f"{who} disagrees with DuckDB about {len(stored ^ judged)} members; no figure is reported.")


def _write(result: dict[str, Any]) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
    bench = OUT / "bench.json"
    known = json.loads(bench.read_text()) if bench.exists() else {}
    for form in result.keys() & {"lifetime", "over"}:
        known[f"e2e_vs_flink_{form}"] = result[form]["end_to_end"]["times"]["median"]
        known[f"files_vs_flink_{form}"] = result[form]["files"]["times"]["median"]
    bench.write_text(json.dumps(known, indent=1) + "\n")
    say(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
