"""Which worker runs which shard, known before the flow starts."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.shard_keys import shard_keys, worker_of
from segmentation.errors import TidegateError


@dataclass(frozen=True, slots=True)
class Placement:
    """workers: of this process; process: its number among `processes`."""

    shards: int
    workers: int = 1
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.workers * self.processes > self.shards:
            raise TidegateError(
                f"{self.workers * self.processes} workers for {self.shards} shards: some would have nothing to do. "
                "Start fewer, or make more shards: `tidegate reshard`."
            )

    @property
    def all_workers(self) -> int:
        return self.workers * self.processes

    def worker_of(self, shard: int) -> int:
        """The worker, counted over all processes."""
        return worker_of(shard_keys(self.shards)[shard], self.all_workers)

    def shards_of_worker(self, worker: int) -> list[int]:
        return [shard for shard in range(self.shards) if self.worker_of(shard) == worker]

    def shards_here(self) -> list[int]:
        return [shard for shard in range(self.shards) if self.worker_of(shard) // self.workers == self.process]


def bytewax_placement(shards: int, arguments: Sequence[str] | None = None) -> Placement:
    """From the arguments and variables that `python -m bytewax.run` takes."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-w", "--workers-per-process", type=int, default=_number("BYTEWAX_WORKERS_PER_PROCESS"))
    parser.add_argument("-i", "--process-id", type=int, default=_number("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
    found, _ = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    process, addresses = found.process_id, found.addresses
    pod, stateful_set = os.environ.get("BYTEWAX_POD_NAME"), os.environ.get("BYTEWAX_STATEFULSET_NAME")
    if process is None and pod and stateful_set:
        process = int(pod.removeprefix(f"{stateful_set}-"))
    hosts = os.environ.get("BYTEWAX_HOSTFILE_PATH")
    if process is not None and addresses is None and hosts:
        addresses = ";".join(line.strip() for line in Path(hosts).read_text().splitlines() if line.strip())
    processes = len(addresses.split(";")) if addresses else 1
    return Placement(shards, found.workers_per_process or 1, process or 0, processes)


def _number(variable: str) -> int | None:
    value = os.environ.get(variable)
    return int(value) if value else None
