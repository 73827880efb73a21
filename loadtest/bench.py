"""Everything that is said of the engine's speed, in one run: `make bench`, or parts of it.

    python -m loadtest.bench [--quick] [--only ratios,latency] [--write-docs]

Each part runs in a process of its own, so that none inherits another's memory, and says how far it is. The result is
loadtest/out/bench.json: one figure by its key (the median), `spread` with least and most, `details` with what was
measured how, `left_out` with what this run did not do, `problems` with what failed, and the machine. With --only the
other parts' figures stay as an earlier run has left them; each part says when it was measured. --write-docs makes
docs/performance.md from that file and records what the guard in CI compares with. --quick: some two minutes, for
trying out; its figures are of fewer events and rounds and are not meant to be quoted.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from loadtest import write_docs

OUT = Path(__file__).parent / "out" / "bench.json"
#: The parts, by their modules; each has `measure(quick, say)`, which gives results by key.
PARTS = {
    "ratios": "loadtest.ratios", "naive": "loadtest.naive_part", "users": "loadtest.users",
    "windows": "loadtest.windows", "where": "loadtest.where", "latency": "loadtest.latency",
    "wave": "loadtest.wave",
}  # fmt: skip


def machine() -> dict[str, Any]:
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model or platform.processor(), "cores": os.cpu_count(), "memory_gib": round(
            psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def part(name: str, quick: bool) -> tuple[dict[str, Any] | None, str]:
    """(its results, or None and what went wrong), from a process of its own; what it says is passed on."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        words = [sys.executable, "-m", "loadtest.bench", "--one", name, "--into", file.name]
        done = subprocess.run([*words, *(["--quick"] if quick else [])], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            return None, done.stderr.strip()[-2_000:]
        found: dict[str, Any] = json.loads(Path(file.name).read_text())
        return found, ""


def one(name: str, quick: bool, into: Path) -> None:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{name} {time.monotonic() - began:4.0f} s] {line}", flush=True)

    OUT.parent.mkdir(exist_ok=True)
    into.write_text(json.dumps(importlib.import_module(PARTS[name]).measure(quick, say)))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--write-docs", action="store_true", help="docs/performance.md, after measuring")
    parser.add_argument("--docs-only", action="store_true", help="the same from the last run's file")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.one:
        one(given.one, given.quick, given.into)
        return 0
    wanted = [] if given.docs_only else given.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]}; there are {', '.join(PARTS)}")
    before: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    parts: dict[str, Any] = before.get("parts", {})
    # What `make bench-peers` has put there stays.
    others = {name: value for name, value in before.items() if name not in summary(parts, {})}
    here, problems = machine(), {}
    for name in wanted:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        found, problem = part(name, given.quick)
        if found is None:
            parts.pop(name, None)
            problems[name] = problem
            print(f"!! {name} failed:\n{problem}", file=sys.stderr, flush=True)
            continue
        parts[name] = {
            "results": found, "quick": given.quick, "seconds": round(time.monotonic() - began), "machine": here,
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
    result = {**others, **summary(parts, problems)}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name not in ("parts", "spread")}, indent=1))
    if given.write_docs or given.docs_only:
        write_docs.record(result)
        write_docs.write()
        print(f"written: {write_docs.PAGE}")
    return 1 if problems else 0


def summary(parts: dict[str, Any], problems: dict[str, str]) -> dict[str, Any]:
    """The file: figures by key first, then how they came about."""
    figures: dict[str, Any] = {}
    spreads: dict[str, Any] = {}
    left_out = [f"{name}: not measured" for name in PARTS if name not in parts]
    for name, each in parts.items():
        if each["quick"]:
            left_out.append(f"{name}: a quick run, of fewer events and rounds")
        for key, result in each["results"].items():
            if key == "left_out":
                left_out += [f"{name}: {line}" for line in result]
            elif isinstance(result, dict) and "figure" in result:
                figures[key], spreads[key] = result["figure"], result.get("spread")
    return {**figures, "left_out": left_out, "problems": problems, "spread": spreads, "parts": parts}


if __name__ == "__main__":
    sys.exit(main())
