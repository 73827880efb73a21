"""The measured part of docs/performance.md, made from a run's figures.

`recorded.json` holds the figures of the run that the page tells, so that the page can be made again and a test can see
that nobody has edited it; the guard in CI compares with it. What stands outside the two marks of the page is
written by hand.
"""

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin (make bench, then --docs-only --write-docs) -->", "<!-- measured: end -->"

#: Key, what it is, its target, and whether more (+1) or less (-1) is better.
TARGETS: list[tuple[str, str, float, int]] = [
    ("engine_ratio_100", "engine against the pinned decoder, 100 definitions", 0.5, 1),
    ("engine_ratio_1", "the same, 1 definition", 0.85, 1),
    ("engine_ratio_1000", "the same, 1,000 definitions over 300 features", 0.45, 1),
    ("engine_ratio_10000", "the same, 10,000 definitions over 300 features", 0.4, 1),
    ("transition_us", "one more transition in the engine, µs", 0.8, -1),
    ("e2e_vs_flink_lifetime", "end to end, times as fast as Flink SQL with lifetime aggregates", 3, 1),
    ("e2e_vs_flink_over", "end to end, times as fast as Flink SQL's 30-day OVER window", 6, 1),
    ("vs_naive_bytewax", "times as fast as the obvious keyed Bytewax flow", 8, 1),
    ("latency_ms.p50", "stamp to visible over gRPC at 10,000 events/s, p50, ms", 20, -1),
    ("latency_ms.p99", "the same, p99, ms", 60, -1),
    ("latency_ms.p999", "the same, p99.9, ms", 150, -1),
    ("flip_latency_ms_p99", "a flip by time, from its instant to visible over gRPC, p99, ms", 1_000, -1),
    ("bytes_per_user", "bytes a user, in memory and saved, 1 million users", 1_024, -1),
    ("users_10m_gib", "10 million users, GiB", 16, -1),
    ("users_10m_ratio", "throughput at 10 million users against 1 million", 0.5, 1),
    ("users_cost_factor", "cost per event, 10 thousand to 10 million users: most against least", 2, -1),
    ("windows_cost_factor", "cost per event, windows of 1 to 90 days: most against least", 1.5, -1),
    ("wave_latency_ms_p99", "a million users leave at one instant: latency of others meanwhile, p99, ms", 1_000, -1),
]
_KEPT = ("results", "quick", "seconds", "machine", "measured_at")


def record(bench: dict[str, Any]) -> None:
    """Keeps a run's figures in `recorded.json`."""
    RECORDED.write_text(json.dumps(bench, indent=1, ensure_ascii=False) + "\n")


def write() -> None:
    """The page again, from what is recorded."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{PAGE} has lost the marks between which the figures stand")
    PAGE.write_text(f"{before}{BEGIN}\n{measured(json.loads(RECORDED.read_text()))}{END}{after}")


def measured(bench: dict[str, Any]) -> str:
    """Markdown, from the figures of `bench.json`."""
    lines = [*_machine(bench), "", "| what | measured | least to most | target | |", "|---|---|---|---|---|"]
    for key, what, target, better in TARGETS:
        value: Any = bench
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        spread = bench.get("spread", {}).get(key) or {}
        between = f"{spread['min']:g} to {spread['max']:g}" if spread else ""
        bound = f"{'at least' if better > 0 else 'below'} {target:,g}"
        if value is None:
            lines.append(f"| {what} (`{key}`) | not measured | | {bound} | |")
        else:
            met = value >= target if better > 0 else value < target
            lines.append(f"| {what} (`{key}`) | {value:,g} | {between} | {bound} | {'met' if met else '**missed**'} |")
    left_out = bench.get("left_out", [])
    lines += ["", "Left out of that run: " + ("; ".join(left_out) if left_out else "nothing") + "."]
    problems = bench.get("problems", {})
    if problems:
        lines += ["", "Failed in that run: " + ", ".join(problems) + "."]
    parts = bench.get("parts", {})
    lines += _ratios(parts) + _where(bench) + _users(parts) + _windows(parts) + _latency(parts)
    return "\n".join(lines) + "\n"


def _machine(bench: dict[str, Any]) -> list[str]:
    """One line for each machine that parts were measured on: an absolute figure of one says little of another."""
    runs: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for part, each in bench.get("parts", {}).items():
        runs.setdefault(each["machine"]["system"], []).append((each["measured_at"], part, each["machine"]))
    lines = []
    for parts in sorted(sorted(each) for each in runs.values()):
        (first, _, machine), (last, _, _) = parts[0], parts[-1]
        names = ", ".join(part for _, part, _ in parts)
        lines.append(
            f"Measured {first[:10]}, {first[11:16]} to {last[11:16]} UTC ({names}), on "
            f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['system']}, "
            f"Python {machine['python']}; the machine's load before was {machine['load_before']}."
        )
    return lines or ["No run is recorded yet."]


def _ratios(parts: dict[str, Any]) -> list[str]:
    found = parts.get("ratios", {}).get("results", {})
    lines = ["", "| definitions | ratio | engine, events per processor second | transitions an event | "
             "definitions with members and others | members, all as DuckDB's |", "|---|---|---|---|---|---|"]
    rows = [each for key, each in found.items() if key.startswith("engine_ratio_")]
    for each in rows:
        lines.append(
            f"| {each['definitions']:,} | {each['figure']:g} | {each['engine_events_per_cpu_s']:,} | "
            f"{each['transitions_per_event']:g} | {each['definitions_with_members_and_others']:,} | "
            f"{each['members']:,} |"
        )
    return lines if rows else []


def _where(bench: dict[str, Any]) -> list[str]:
    found = bench.get("where_us")
    if not found:
        return []
    lines = ["", "Where the time of an event goes (`python -m loadtest.where --sink`), processor µs:", "",
             "| stage | µs |", "|---|---|"]  # fmt: skip
    return lines + [f"| {stage} | {value:g} |" for stage, value in found.items()]


def _users(parts: dict[str, Any]) -> list[str]:
    found = parts.get("users", {}).get("results", {}).get("users_cost_factor")
    if found is None:
        return []
    lines = ["", "| users | µs an event, without decoding | bytes a user in memory | saved | process, GiB |",
             "|---|---|---|---|---|"]  # fmt: skip
    for each in found["by_users"]:
        lines.append(
            f"| {each['users']:,} | {each['us_per_event']:g} | {each['memory_bytes_per_user']:,} | "
            f"{each['saved_bytes_per_user']:,} | {each['memory_gib']:g} |"
        )
    return lines


def _windows(parts: dict[str, Any]) -> list[str]:
    found = parts.get("windows", {}).get("results", {}).get("windows_cost_factor")
    if found is None:
        return []
    lines = ["", "| windows, days | µs an event | of it decoding | memory, MB | files, MB |", "|---|---|---|---|---|"]
    for each in found["by_window"]:
        names = ("window_days", "us_per_event", "us_per_event_decoding", "memory_mb", "disk_mb")
        lines.append("| " + " | ".join(f"{each[name]:g}" for name in names) + " |")
    return lines


def _latency(parts: dict[str, Any]) -> list[str]:
    results = parts.get("latency", {}).get("results", {})
    found = results.get("latency_ms")
    if found is None:
        return []
    lines = ["", "| ms | samples | p50 | p90 | p99 | p99.9 | most |", "|---|---|---|---|---|---|---|"]
    names = {"check": "an event, by `CheckMembership`", "watch": "an event, by `WatchTransitions`",
             "check_flips": "time, by `CheckMembership`", "watch_flips": "time, by `WatchTransitions`"}  # fmt: skip
    rows = [(names[key], found[key]) for key in names]
    waved = parts.get("wave", {}).get("results", {}).get("wave_latency_ms_p99")
    if waved is not None:
        rows.append(("an event, while a million users leave", waved["check"]))
    for name, each in rows:
        cells = [each.get(key) for key in ("p50", "p90", "p99", "p999", "max")]
        said = " | ".join("" if cell is None else f"{cell:,.1f}" for cell in cells)
        lines.append(f"| {name} | {each['samples']:,} | {said} |")
    used = ", ".join(f"{name} {value:.2f}" for name, value in found["cpu_s_per_s"].items())
    return [*lines, "", f"Processor seconds a second meanwhile: {used}; the producer and the callers take the rest."]
