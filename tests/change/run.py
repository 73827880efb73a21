"""The proof: a live stream, edits one after the other, kills in the middle of them; then the verifier's word.

For each edit: `tidegate plan` with all who enter and leave, then `tidegate apply`, and what the database had in the
moment of the switch. Some edits are made when no event comes and no window is open, so that nothing lies between
plan and switch. `CHANGE_KILLS=0` is without kills.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.change.edits import EDITS, FIRST, SCHEMA, SCHEMA_FILE, Edit, edited, enabled
from tests.change.world import ChangingWorld
from tests.torture.cluster import ROOT, Cluster, Manner, Unwell, until
from tests.torture.stream import AHEAD, Events, Stream
from tests.torture.world import HORIZON, WINDOW_SECONDS

VERIFIED = re.compile(r"^verified: (\d+) differences, (\d+) flaps$", re.M)
#: Where the engine dies while it takes a version up (tests.torture.points), at which passing of it.
POINTS = ("building:1", "building:3", "switching:1", "switching:4", "switched:1")
#: After a column is declared its reader's window, and some more, s.
COLUMN_SECONDS = 4.0
PLAN_TRIES, AUDIT_TRIES, COMMAND_SECONDS = 200, 200, 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """edits: how many; kills: at which share of them; rate: happenings a second; only: places in EDITS, all of them
    where there are none."""

    seed: int
    edits: int
    kills: float
    rate: float
    users: int
    only: tuple[int, ...] = ()

    @staticmethod
    def from_environment() -> "Options":
        def given(name: str, default: float) -> float:
            return float(os.environ.get(f"CHANGE_{name}") or default)

        seed = int(os.environ.get("CHANGE_SEED") or random.SystemRandom().randrange(1 << 32))
        only = tuple(map(int, os.environ.get("CHANGE_ONLY", "").split()))
        edits = int(given("EDITS", len(only) or 24))
        return Options(seed, edits, given("KILLS", 0.7), given("RATE", 100), int(given("USERS", 200)), only)


class Proof:
    def __init__(self, world: ChangingWorld, options: Options) -> None:
        self.world, self.options = world, options
        self.kills = self.held = self.withdrawn = 0
        self.edits: list[dict[str, Any]] = []
        self._draw = random.Random(options.seed)
        self._whole_us = 0.0  # from when on those who read a new column have their history
        self._versions: list[tuple[int, dict[str, str]]] = [(1, FIRST)]
        self._cluster: Cluster | None = None
        self._stream: Stream | None = None
        self._events = Events(options.seed, options.users, HORIZON)
        self._began = time.monotonic()

    def run(self) -> None:
        """Raises Unwell where the engine does not recover, or a version is not taken up."""
        self._flow()
        self._progress(self._engine())
        some = cycle([EDITS[place] for place in self.options.only] or EDITS)
        while len(self.edits) + self.withdrawn < self.options.edits:
            self._make(next(some))
        self._settle()
        self._engine().terminate()
        self._cluster = None

    def end(self) -> None:
        if self._stream is not None:
            self._stream.end()
            self._stream = None
        if self._cluster is not None:
            self._cluster.clear()
            self._cluster = None

    def say(self, words: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {words}", flush=True)

    # what an edit is

    def _make(self, edit: Edit) -> None:
        before = self._versions[-1][1]
        back = self._versions[-1 - edit.back] if edit.back else None
        after = edited(before, edit) if back is None else back[1]
        if after == before:
            return  # the other time round
        self.world.write(after, "edited")
        points = ("kill",) if edit.held else (*POINTS, "kill")
        point = self._draw.choice(points) if self._draw.random() < self.options.kills else None
        cluster = self._engine(None if point in (None, "kill") else point)
        self._progress(cluster)
        settled = self._settle() if edit.quiet else None
        planned = self._plan(max(settled or 0.0, self._whole_us))
        version = self._apply(None if back is None else back[0])
        if point == "kill":
            _time_passes(2.5 * self._draw.random())
            cluster.kill(0.0)
            self._lost(cluster)
        elif point is not None:
            until(lambda: cluster.mark.exists(), f"the engine dies by {point}", cluster=None)
            self._lost(cluster)
        if edit.held and not self._goes_on(edit, version):
            return
        until(lambda: self._switched(version), f"version {version} is answered by", cluster=self._engine())
        if before.get(SCHEMA_FILE) != after.get(SCHEMA_FILE):
            self._whole_us = (time.time() + COLUMN_SECONDS) * 1e6
        self._versions.append((version, after))
        self.edits.append({
            "what": edit.what, "version": version, "definitions": enabled(after), "quiet": edit.quiet, "plan": planned,
            "schema": self._schema(version, before, after),
        })  # fmt: skip
        notes = f"{len(planned['rows'])} moves planned{', quiet' * edit.quiet}{f', killed by {point}' if point else ''}"
        self.say(f"version {version}: {edit.what} ({notes})")
        self._flow()

    def _goes_on(self, edit: Edit, version: int) -> bool:
        """The guard's word, and ours; False where it is taken back."""
        held = "held_since IS NOT NULL AND confirmed_by IS NULL"

        def decided() -> bool:
            asked = f"SELECT state = 'building' AND {held} FROM tidegate.deployments WHERE version = {version}"
            return self._switched(version) or bool(self.world.query(asked)[0][0])

        until(decided, f"version {version} is held or answered by", cluster=self._engine())
        if self._switched(version):
            return True  # nobody moves
        self.held += 1
        self._command("apply", f"--{edit.held}")
        if edit.held == "confirm":
            return True
        state = self.world.query(f"SELECT state FROM tidegate.deployments WHERE version = {version}")[0][0]
        if state != "withdrawn":
            raise Unwell(f"version {version} was to be taken back and is {state}")
        self.withdrawn += 1
        self.say(f"version {version}: {edit.what}")
        return False

    def _schema(self, version: int, before: dict[str, str], after: dict[str, str]) -> str | None:
        """The file with it, where it is another one than before."""
        if before.get(SCHEMA_FILE) == after.get(SCHEMA_FILE):
            return None
        path = self.world.folder / f"schema-{version}.yml"
        path.write_text(after.get(SCHEMA_FILE, SCHEMA))
        return str(path)

    def audited(self) -> str | None:
        """Whom the audit finds wrong once the engine evaluates wrongly; None: it finds nothing."""
        os.environ["TORTURE_WRONG"] = "1"
        try:
            self._flow()
            for _ in range(AUDIT_TRIES):
                self._tend()
                code, out, _ = self._command("audit", "--users", "100000", "--json")
                if code == 1 and (wrong := json.loads(out)["mismatches"]):
                    return f"{wrong[0]['user_id']} in {wrong[0]['segment']}"
                _time_passes(0.5)
            return None
        finally:
            del os.environ["TORTURE_WRONG"]
            self.end()

    def _lost(self, cluster: Cluster) -> None:
        self.kills += 1
        cluster.kills += 1
        cluster.clear()
        self._cluster = None

    def _plan(self, settled_us: float) -> dict[str, Any]:
        """Who is said to move, and at which steps. settled_us: the saved states must be from after it."""
        rows = self.world.folder / "planned.csv"
        for _ in range(PLAN_TRIES):
            self._tend()
            code, out, err = self._command("plan", "--definitions", "edited", "--json")
            if code not in (0, 1):
                raise Unwell(f"the plan ended with {code}: {err}")
            told = json.loads(out)
            known = told["position"] and (not settled_us or _least(told["position"]) > settled_us)
            if known:
                break
            _time_passes(0.5)
        else:
            raise Unwell(f"the plan does not know members: {told['members_unknown']}")
        # The file is of a position of its own, so one and the same call says both.
        code, out, err = self._command("plan", "--definitions", "edited", "--json", "--members", str(rows))
        if code not in (0, 1):
            raise Unwell(f"the plan ended with {code}: {err}")
        steps = {place["shard"]: place["step"] for place in json.loads(out)["position"]}
        with rows.open(newline="") as file:
            return {"steps": steps, "rows": [(r["user_id"], r["segment"], r["change"]) for r in csv.DictReader(file)]}

    def _apply(self, back: int | None) -> int:
        what = ("--definitions", "edited") if back is None else ("--version", str(back))
        code, out, err = self._command("apply", *what, "--allow-incomplete", "--no-wait", "--json")
        if code:
            raise Unwell(f"apply ended with {code}: {err}")
        return int(json.loads(out)["version"])

    def _switched(self, version: int) -> bool:
        state = self.world.query(f"SELECT state, reason FROM tidegate.deployments WHERE version = {version}")[0]
        if state[0] == "withdrawn":
            raise Unwell(f"version {version} was withdrawn: {state[1]}")
        return bool(state[0] == "complete")

    def _command(self, *arguments: str) -> tuple[int, str, str]:
        words = [str(self.world.folder / word) if word == "edited" else word for word in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "console.main", *words], cwd=ROOT, env=self.world.environment(),
            capture_output=True, text=True, timeout=COMMAND_SECONDS,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    # stream and engine

    def _flow(self) -> None:
        if self._stream is None:
            self._stream = Stream(self.world.kafka.bootstrap, "events", self._events, self.options.rate)

    def _settle(self) -> float:
        """No event comes any more, and no window is open; from which instant on, µs."""
        if self._stream is not None:
            self._stream.end()
            self._stream = None
        settled_us = (time.time() + AHEAD + WINDOW_SECONDS) * 1e6
        cluster = self._engine()
        until(lambda: (self.world.watermark_us() or 0) > settled_us, "every window settles", cluster=cluster)
        return settled_us

    def _engine(self, armed: str | None = None) -> Cluster:
        running = self._cluster
        if running is not None and running.members and len(running.ended) < len(running.members) and not armed:
            return running
        if running is not None:
            running.terminate() if not running.ended else running.clear()
        manner: Manner = "alone" if armed or self._draw.random() < 0.6 else "supervised"
        self._cluster = Cluster(self.world, 1 if manner == "alone" else 2, manner, armed)
        return self._cluster

    def _tend(self) -> None:
        self._engine().tend()

    def _progress(self, cluster: Cluster) -> None:
        """Every shard stores a step more than now."""

        def steps() -> list[int]:
            return [step for (step,) in self.world.query("SELECT step FROM tidegate.shards ORDER BY shard")]

        before = steps()
        until(
            lambda: bool(before or steps()) and all(now > then for now, then in zip(steps(), before)),
            "every shard goes on", cluster=cluster,
        )  # fmt: skip

    def facts(self) -> Path:
        question = json.loads(self.world.question().read_text())
        path = self.world.folder / "facts.json"
        path.write_text(json.dumps({
            "kafka": question["kafka"], "events_topic": question["events_topic"], "rules": question["rules"],
            "max_skew_us": question["max_skew_us"], "schema": str(self.world.folder / "definitions" / "schema.yml"),
            "first": enabled(FIRST), "edits": self.edits, "options": asdict(self.options),
        }))  # fmt: skip
        return path


def _least(position: list[dict[str, Any]]) -> float:
    from datetime import datetime

    return min(datetime.fromisoformat(place["as_of"]).timestamp() * 1e6 if place["as_of"] else 0 for place in position)


def _time_passes(seconds: float) -> None:
    """Until the moment that the seed has drawn; nothing is awaited."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def prove(options: Options, folder: Path) -> int:
    """The exit code; the last line printed is the result."""
    print(f"change: seed {options.seed} (CHANGE_SEED={options.seed} has the same plan); {folder}", flush=True)
    well = True
    with ChangingWorld(folder) as world:
        proof = Proof(world, options)
        try:
            proof.run()
        except Unwell as unwell:
            well = False
            proof.say(f"STOPPED: {unwell}")
        finally:
            proof.end()
        done = subprocess.run(
            [sys.executable, "-m", "tests.change.verifier", str(proof.facts())], cwd=ROOT,
            env=world.environment(TORTURE_DATABASE_URL=world.url), capture_output=True, text=True,
        )  # fmt: skip
        said = done.stdout + done.stderr
        proof.say(said.strip().replace("\n", "\n           "))
        found = VERIFIED.search(said)
        if found is None:
            print("change: the verifier did not come to an end")
            return 1
        differences, flaps = map(int, found.groups())
        if well:
            seeded = proof.audited()
            well = seeded is not None
            proof.say(f"a seeded wrong evaluation: {f'the audit finds {seeded}' if well else 'NOT FOUND by the audit'}")
        proof.say(f"{proof.held} versions were held, {proof.withdrawn} of them taken back")
        edits = len(proof.edits) + proof.withdrawn
        figures = f"{edits} edits, {proof.kills} kills, {differences} differences, {flaps} flaps"
        print(f"change: {figures}" if well else f"change: stopped after {figures}", flush=True)
    return 0 if well and not differences and not flaps else 1


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started is left behind
    folder = Path(tempfile.mkdtemp(prefix="tidegate-change-"))
    code = prove(Options.from_environment(), folder)
    if not code:
        shutil.rmtree(folder)
    return code
