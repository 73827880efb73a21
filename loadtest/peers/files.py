"""Without broker and database: a file in, nothing out, one core each."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from loadtest.peers import flink, flink_sql
from loadtest.peers.flink import Progress
from loadtest.peers.lines import disorder_seconds
from loadtest.peers.world import OVER_DAYS, Members, World

CORE = "0"


def flink_job(events: Path, world: World, settings: dict[str, str]) -> Progress:
    """Its results go nowhere, so its members are those of the run with a database, by the same statements."""
    source = {
        "connector": "filesystem", "path": str(events), "format": "json", "json.timestamp-format.standard": "ISO-8601",
    }  # fmt: skip
    statements = [
        flink_sql.source(source, disorder_seconds(world)),
        flink_sql.sink({"connector": "blackhole"}, flink_sql.masks_of(len(world.definitions)), False),
        flink_sql.insert(world.definitions, OVER_DAYS if world.form == "over" else None),
    ]
    return flink.run(statements, settings, 1, cores=CORE)


def tidegate(events: Path, world: World) -> tuple[float, float, Members]:
    """Seconds for the last two thirds of the events, transitions an event there, members at the newest event."""
    with tempfile.TemporaryDirectory() as name:
        folder, members = Path(name), Path(name) / "members.json"
        for file, text in world.files().items():
            (folder / file).write_text(text)
        command = [
            "taskset", "-c", CORE, sys.executable, "-m", "loadtest.peers.core", str(events), str(folder),
            str(len(world.messages)), str(members),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the engine failed:\n{done.stderr[-2_000:]}")
        result = json.loads(done.stdout)
        held = {(user, int(segment[1:])) for user, segment in json.loads(members.read_text())}
    return result["seconds"], result["transitions"] / result["events"], held
