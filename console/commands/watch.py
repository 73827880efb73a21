"""`tidegate watch`: what `tidegate status` says, again and again, until it is ended."""

import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from console.options import json_flag, load_settings, settings_flags
from console.output import rfc3339
from console.status_view import as_object, oldest, problems, show
from segmentation.errors import TidegateError
from segmentation.types import NEVER

if TYPE_CHECKING:
    from storage.status import Status

#: Cursor to the top left, and everything below it away: nothing flickers, and what was scrolled away stays.
TOP = "\x1b[H\x1b[J"


@click.command("watch")
@click.option("--every", type=click.FloatRange(0.1), default=2.0, show_default=True, metavar="SECONDS",
              help="Between two looks.")  # fmt: skip
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N looks.  [default: at Ctrl-C]")
@settings_flags("database_url")
@json_flag
def command(config: Path | None, every: float, count: int | None, database_url: str | None, as_json: bool) -> None:
    """What is wrong, in words; then segments and shards; looked at again and again.

    On a terminal the view is drawn anew; elsewhere each look is one line, with --json one JSON object. A database that
    does not answer is said, and asked again. SIGINT and SIGTERM end it, with exit code 0.

    \b
    Examples:
      tidegate watch
      tidegate watch --every 10 --json | jq -c '.segments[] | [.segment, .members]'
    """
    from storage.status import read_status

    settings = load_settings(config, database_url=database_url)
    end, looks = threading.Event(), 0
    with _ended_by_signals(end):
        while not end.is_set():
            try:
                status = read_status(settings.database_url.get_secret_value())
            except TidegateError as error:
                _say({"problems": [str(error)]}, f"! {error}", as_json)
            else:
                _look(status, as_json)
            looks += 1
            if looks == count:
                return
            end.wait(every)


class _ended_by_signals:
    """Sets the event; the second signal ends the process as it would without this."""

    def __init__(self, end: threading.Event) -> None:
        self._end = end

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._told) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self._end.set()
        signal.signal(number, self._before[signal.Signals(number)])


def _look(status: "Status", as_json: bool) -> None:
    wrong = problems(status)
    if as_json:
        _say({"at": rfc3339(status.now), **as_object(status, wrong)}, "", True)
    elif sys.stdout.isatty():
        click.echo(TOP, nl=False)
        show(status, wrong)
    else:
        _say({}, _line(status, wrong), False)


def _say(content: dict[str, object], line: str, as_json: bool) -> None:
    click.echo(json.dumps(content, default=str, ensure_ascii=False) if as_json else line)
    sys.stdout.flush()


def _line(status: "Status", wrong: list[str]) -> str:
    reached = oldest(status)
    behind = f"{(status.now - reached) / 1e6:.1f} s behind" if reached > NEVER else "nothing counted yet"
    said = " | ".join([f"! {problem}" for problem in wrong] or ["all is well"])
    return (
        f"{rfc3339(status.now)}  {said}  {status.users:,} users, "
        f"{sum(one.members for one in status.segments):,} memberships in {len(status.segments)} segments, "
        f"{sum(one.entered for one in status.segments):,.0f} in/min, "
        f"{sum(one.left for one in status.segments):,.0f} out/min, {behind}"
    )
