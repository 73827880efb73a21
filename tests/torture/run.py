"""The torture: a live stream, faults one after the other, then the verifier's word."""

import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.torture.cluster import ROOT, Cluster, Manner, Unwell, command, until
from tests.torture.plan import POINTS, RESHARD_POINTS, Fault, Options, plan
from tests.torture.stream import AHEAD, Events, Stream
from tests.torture.world import HORIZON, WINDOW_SECONDS, World

#: An armed process that has not come to its fail-point by then will not.
POINT_SECONDS = 90.0
#: Of one supervisor's processes.
SUPERVISOR_KILLS = 4
#: A replaced engine that writes all the time is told so with its next commit.
REVIVED_SECONDS, UNPROTECTED_SECONDS = 30.0, 5.0
VERIFIED = re.compile(r"^verified: (\d+) transitions, (\d+) missing, (\d+) extra, (\d+) repeated$", re.M)


class Torture:
    def __init__(self, world: World, options: Options) -> None:
        self.world, self.options = world, options
        self.done: Counter[str] = Counter()
        self.cluster: Cluster | None = None
        self._began = time.monotonic()
        self._draw = random.Random(options.seed + 1)
        self._special: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill, "lost_answer": self._lost_answer, "revive": self._revive, "rescale": self._rescale,
            "terminate": self._terminate, "reshard": self._reshard, "killed_reshard": self._reshard,
            **{f"{verb}_{what}": self._cut_off for verb in ("drop", "cut", "freeze") for what in ("database", "kafka")},
            **{f"{verb}_{what}": self._restart for verb in ("restart", "crash") for what in ("database", "kafka")},
            **{point: self._point for point in POINTS},
        }  # fmt: skip

    def run(self) -> None:
        """Raises Unwell where the engine does not recover, or the time is up."""
        live, after = plan(self.options)
        events = Events(self.options.seed, self.options.users, HORIZON)
        stream = Stream(self.world.kafka.bootstrap, "events", events, self.options.rate)
        try:
            self._progress(self._engine())
            for fault in live:
                self._strike(fault)
        finally:
            stream.end()
        self.say(f"{stream.sent} messages are sent")
        settled_us = (time.time() + AHEAD + WINDOW_SECONDS) * 1e6
        for fault in after:
            self._strike(fault)
        cluster = self._engine()
        until(lambda: (self.world.watermark_us() or 0) > settled_us, "every window settles", cluster=cluster)
        until(lambda: not self.world.unsent(), "the outbox is empty", cluster=cluster)
        cluster.terminate()
        self.cluster = None

    def end(self) -> None:
        if self.cluster is not None:
            self.cluster.clear()

    def say(self, words: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {words}", flush=True)

    @property
    def kills(self) -> int:
        return sum(self.done[kind] for kind in ("kill", "killed_reshard", *POINTS))

    def _strike(self, fault: Fault) -> None:
        if time.monotonic() - self._began > self.options.seconds:
            raise Unwell(f"the time is up ({self.options.seconds:g} s) after {sum(self.done.values())} faults")
        self._special[fault.kind](fault)
        self.done[fault.kind] += 1
        engine = fault.manner if fault.processes == 1 else f"{fault.processes} {fault.manner}"
        self.say(f"{fault.kind} {self.done[fault.kind]} ({engine}); {self.world.committed()} messages taken")

    def _engine(self, processes: int = 1, manner: Manner = "alone", armed: str | None = None) -> Cluster:
        """The one that runs if it is like that, else a new one."""
        running = self.cluster
        if running is not None and len(running.ended) < len(running.members):
            like = (running.processes, running.manner) == (processes, manner)
            # A supervisor waits longer before each new start: it is not to be killed for ever.
            if like and not armed and running.kills < SUPERVISOR_KILLS:
                return running
            running.terminate()
        self.cluster = Cluster(self.world, processes, manner, armed, self.options.off)
        return self.cluster

    def _hit(self, fault: Fault, armed: bool = False, times: int = 4) -> Cluster:
        point = f"{fault.kind}:{1 + int(fault.place * times)}" if armed else None
        return self._engine(fault.processes, fault.manner, point)

    def _progress(self, cluster: Cluster | None) -> None:
        """Every shard stores a step more than now."""
        before = self._steps()
        until(
            lambda: all(now > then for now, then in zip(self._steps(), before)) if before else bool(self._steps()),
            "every shard goes on", cluster=cluster,
        )  # fmt: skip

    def _steps(self) -> list[int]:
        return [step for (step,) in self.world.query("SELECT step FROM tidegate.shards ORDER BY shard")]

    def _kill(self, fault: Fault) -> None:
        cluster = self._hit(fault)
        if fault.first:
            self._progress(cluster)
        time_passes(fault.moment)
        cluster.kill(fault.place)
        self._after_loss(fault, cluster)

    def _point(self, fault: Fault) -> None:
        cluster = self._hit(fault, armed=True)
        until(cluster.mark.exists, f"a process dies by {fault.kind}", POINT_SECONDS)
        cluster.kills += 1
        self._after_loss(fault, cluster)

    def _after_loss(self, fault: Fault, cluster: Cluster) -> None:
        # Hosts that have not found each other yet wait for a minute.
        cluster.lost(patient=fault.first and fault.length < 1)
        if cluster.manner == "supervised" and fault.first:
            self._progress(cluster)  # nobody but the supervisor does anything for it

    def _lost_answer(self, fault: Fault) -> None:
        cluster = self._hit(fault, armed=True, times=20)
        until(cluster.mark.exists, "a commit's answer is lost", POINT_SECONDS, cluster)
        self._progress(cluster)

    def _cut_off(self, fault: Fault) -> None:
        cluster = self._hit(fault)
        self._progress(cluster)
        verb, what = fault.kind.split("_")
        proxy = self.world.database_proxy if what == "database" else self.world.kafka_proxy
        if verb == "drop":
            proxy.drop()
        elif verb == "cut":
            proxy.cut()
            time_passes(fault.length)
            proxy.restore()
        else:
            proxy.freeze()
            time_passes(fault.length)
            proxy.thaw()
        self._progress(cluster)

    def _restart(self, fault: Fault) -> None:
        cluster = self._hit(fault)
        self._progress(cluster)
        verb, what = fault.kind.split("_")
        if what == "database":
            self.world.restart_database(verb == "crash")
        else:
            self.world.restart_kafka(verb == "crash")
        self._progress(cluster)

    def _terminate(self, fault: Fault) -> None:
        cluster = self._hit(fault)
        if fault.first:
            self._progress(cluster)
        time_passes(fault.moment)
        cluster.terminate()

    def _rescale(self, fault: Fault) -> None:
        for processes in (1, 2, 4, 1):
            self._progress(self._engine(processes, "alone" if processes == 1 else "supervised"))

    def _reshard(self, fault: Fault) -> None:
        """With an engine that has ended, or was killed; the first one may be killed itself, the second one is not."""
        if self.cluster is not None:
            self.cluster.terminate() if fault.first and not self.cluster.ended else self.cluster.clear()
            self.cluster = None
        there = self.world.shards()
        count = str(next(n for n in (8, 4, 6)[int(fault.place * 2) :] if n != there))
        if fault.kind == "killed_reshard":
            point = RESHARD_POINTS[self.done[fault.kind] % len(RESHARD_POINTS)]
            passing = 1 if point == "dealt" else 1 + int(fault.length)  # which happens once
            first = command(self.world, ["reshard", count], point and f"{point}:{passing}")
            if point is None:
                time_passes(fault.moment)
                first.process.kill()
            until(lambda: not first.alive, "the reshard is killed")
            # At a moment of its own choosing the kill may come when all is done; at a point it may not.
            late = point is None and first.process.returncode == 0
            if first.process.returncode != -signal.SIGKILL and not late:
                raise Unwell(f"the reshard was not killed by {point}: it {first.last_words}")
            if late:  # not a kill, then
                self.done["killed_reshard"] -= 1
                self.done["reshard"] += 1
        second = command(self.world, ["reshard", count])
        until(lambda: not second.alive, "the shards are dealt out anew")
        if second.process.returncode or self.world.shards() != int(count):
            raise Unwell(f"the reshard {second.last_words}")
        self._progress(self._engine(fault.processes, fault.manner))

    def _revive(self, fault: Fault) -> None:
        """A stopped engine is replaced by another, and comes back."""
        old = self._engine()
        self._progress(old)
        time_passes(fault.moment)
        old.signal(signal.SIGSTOP)  # in the middle of a commit too, whose locks the new engine needs
        self.cluster = None
        new = self._engine()
        until(lambda: new.begun, "the new engine begins", cluster=new)
        self._progress(new)
        time_passes(fault.length)
        old.signal(signal.SIGCONT)
        if self.options.off == "fencing":
            # The stale one alone goes on; if it meets what contradicts it, it is started again.
            new.clear()
            self.cluster = old
            with suppress(Unwell):
                until(lambda: bool(old.ended), "the old engine ends", UNPROTECTED_SECONDS)
            self.say(f"the old engine {old.members[0].last_words if old.ended else 'goes on'}")
            return
        until(lambda: bool(old.ended), "the old engine sees that it was replaced", REVIVED_SECONDS)
        code = old.members[0].process.returncode
        if code != 2 or "taken over by another engine" not in old.members[0].said:
            raise Unwell(f"the old engine ended with {code}; see {old.members[0].log}")
        self._progress(new)


def time_passes(seconds: float) -> None:
    """Until the moment that the seed has drawn; nothing is awaited."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def torture(options: Options, folder: Path) -> int:
    """The exit code; the last line printed is the result."""
    print(f"torture: seed {options.seed} (TORTURE_SEED={options.seed} has the same plan); {folder}", flush=True)
    well = True
    with World(folder) as world:
        run = Torture(world, options)
        try:
            run.run()
        except Unwell as unwell:
            well = False
            run.say(f"STOPPED: {unwell}")
        finally:
            run.end()
        run.say("faults: " + ", ".join(f"{times} {kind}" for kind, times in sorted(run.done.items())))
        said = verified(world)
        run.say(said.strip().replace("\n", "\n           "))
        found = VERIFIED.search(said)
        if found is None:
            print(f"torture: seed {options.seed}, {run.kills} kills, the verifier did not come to an end")
            return 1
        transitions, *wrong = map(int, found.groups())
        print(
            f"torture: seed {options.seed}, {run.kills} kills, {transitions} transitions, {wrong[0]} missing, "
            f"{wrong[1]} extra, {wrong[2]} repeated",
            flush=True,
        )
    return 0 if well and not any(wrong) else 1


def verified(world: World) -> str:
    """What the verifier prints, a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.verifier", str(world.question())], cwd=ROOT,
        env=world.environment(TORTURE_DATABASE_URL=world.url), capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing that was started is left behind
    options = Options.from_environment()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-torture-"))
    code = torture(options, folder)
    if not code:
        shutil.rmtree(folder)
    return code
