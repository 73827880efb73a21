"""`tidegate demo`: everything on this machine, live traffic, a table of what it does, and a clean end."""

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segmentation.errors import TidegateError

if TYPE_CHECKING:
    from console.demo.numbers import Reader
    from console.demo.stack import Pause, Stack
    from console.demo.traffic import Traffic

CATCH_UP_SECONDS = 120
#: The example is chosen when the windows of the history have run out: the shards are hardly behind.
SETTLED_S, SETTLING_SECONDS = 5.0, 10.0
TICK_S = 1.0


@click.command("demo")
@click.option("--rate", type=click.FloatRange(1, 20_000), default=200.0, show_default=True, help="Live events/s.")
@click.option("--seconds", type=click.FloatRange(1), envvar="DEMO_SECONDS", metavar="N",
              help="End by itself after N seconds of live traffic. Or variable DEMO_SECONDS.")  # fmt: skip
@click.option("--definitions", type=click.Path(path_type=Path), default=Path("segment_defs"), show_default=True,
              metavar="DIR", help="Folder of *.sql and schema.yml for the shop's events.")  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".tidegate/demo"),
              show_default=True, metavar="DIR", help="For logs and settings.")  # fmt: skip
def command(rate: float, seconds: float | None, definitions: Path, folder: Path) -> None:
    """See it work: starts PostgreSQL, a broker, the engine, the gRPC server and a shop's traffic.

    Needs nothing that is not installed with it. Some of the traffic is more than a month old, so that
    windows run out while one watches. Ctrl-C ends it, and everything that it started.

    \b
    Examples:
      tidegate demo
      tidegate demo --rate 2000
      DEMO_SECONDS=30 tidegate demo
    """
    pause = _pause_until_signal()
    from console.demo.numbers import Reader
    from console.demo.stack import Stack
    from console.demo.traffic import Traffic, windows
    from segmentation.compile import compile_files
    from storage.definitions_folder import read_definitions

    content = read_definitions(definitions)
    plan = compile_files(content.files, content.schema)
    began = time.monotonic()
    try:
        with Stack(folder, definitions, click.echo, pause) as stack:
            traffic = Traffic(stack.settings, rate, windows(plan.segments))
            try:
                click.echo(f"{traffic.history(pause):,} events of the past weeks are in Kafka")
                stack.start()
                reader = Reader(stack.postgres.url)
                try:
                    _catch_up(stack, reader, traffic, pause)
                    click.echo(f"ready after {time.monotonic() - began:.0f} s; live traffic begins\n")
                    _watch(stack, reader, traffic, rate, seconds, pause)
                finally:
                    reader.close()
            finally:
                traffic.stop()
    except Interrupted:
        click.echo("ended; everything that the demo started is stopped")


def _catch_up(stack: "Stack", reader: "Reader", traffic: "Traffic", pause: "Pause") -> None:
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while reader.lag(traffic.next_offsets):
        stack.check()
        if time.monotonic() > deadline:
            raise TidegateError(
                f"the engine did not take the history within {CATCH_UP_SECONDS} s; see {stack.folder}/engine.log."
            )
        pause(0.1)


def _watch(
    stack: "Stack", reader: "Reader", traffic: "Traffic", rate: float, seconds: float | None, pause: "Pause"
) -> None:
    from console.demo import view

    start = reader.live = time.time()
    traffic.start()
    example = _example(stack, reader, pause)
    if example is not None:
        click.echo(view.pasteable(stack, *example))
    interrupted: Interrupted | None = None
    try:
        with view.View() as shown:
            while seconds is None or time.time() - start < seconds:
                left = TICK_S if seconds is None else min(TICK_S, seconds - (time.time() - start))
                pause(max(left, 0.01))
                stack.check()
                traffic.check()
                now = time.time()
                shown.show(reader.recent(traffic.next_offsets, now), now - start, traffic.sent, rate)
    except Interrupted as error:
        interrupted = error
    traffic.stop()
    # What is on its way shall be in the totals.
    deadline = time.monotonic() + 5
    while reader.lag(traffic.next_offsets) and time.monotonic() < deadline:
        stack.check()
        time.sleep(0.02)
    view.summary(reader.total(traffic.next_offsets, time.time()), time.time() - start, traffic.sent)
    if interrupted is not None:
        raise interrupted


def _example(stack: "Stack", reader: "Reader", pause: "Pause") -> tuple[str, str] | None:
    """Who to ask about. Soon after the history those who are about to leave are still members, and many segments of
    those who have long been away are empty."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while reader.behind() > SETTLED_S and time.monotonic() < deadline:
        stack.check()
        pause(0.1)
    return reader.example()


class Interrupted(Exception):
    """SIGINT or SIGTERM came."""


def _pause_until_signal() -> "Pause":
    """A pause that raises Interrupted once a signal has come.

    The handlers raise nothing themselves: an exception in the midst of starting a process would lose it.
    """
    came = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: came.set())

    def pause(seconds: float) -> None:
        if came.wait(seconds):
            raise Interrupted

    return pause
