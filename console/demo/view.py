"""How the demo looks: a live table on a terminal, plain lines elsewhere, a summary at the end."""

import shlex
import shutil
import sys
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.demo.numbers import Numbers
from console.demo.stack import Stack

PLAIN_EVERY_S = 5.0


class View:
    """`show` about once a second; on a terminal the table is redrawn in place."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._next_line = 0.0
        if sys.stdout.isatty():
            self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> "View":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, numbers: Numbers, seconds: float, sent: int, rate: float) -> None:
        if self._live:
            self._live.update(_table(numbers, f"{seconds:.0f} s, {sent:,} live events ({rate:.0f}/s)"), refresh=True)
        elif seconds >= self._next_line:
            self._next_line = seconds + PLAIN_EVERY_S
            click.echo(plain_line(numbers, seconds, sent))


def plain_line(numbers: Numbers, seconds: float, sent: int) -> str:
    return (
        f"{seconds:5.0f} s  {sent:,} live events, {numbers.users:,} users, {numbers.members:,} memberships in "
        f"{len(numbers.segments)} segments, {numbers.entries_per_s:.1f} entries/s, {numbers.exits_per_s:.1f} exits/s, "
        f"lag {numbers.lag:,}, {numbers.refused:,} refused, {_latency(numbers)}"
    )


def summary(numbers: Numbers, seconds: float, sent: int) -> None:
    """The whole demo: totals instead of rates."""
    click.echo(
        f"\n{sent:,} live events in {seconds:.0f} s; {numbers.users:,} users known, {numbers.refused:,} events refused."
    )
    width = max((len(one.segment) for one in numbers.segments), default=7)
    click.echo(f"  {'segment':<{width}}  {'members':>9}  {'entries':>9}  {'exits':>9}")
    for one in numbers.segments:
        click.echo(f"  {one.segment:<{width}}  {one.members:>9,}  {one.entries:>9,}  {one.exits:>9,}")
    click.echo(f"{_latency(numbers)}, over {numbers.latency.count:,} entries and exits caused by events.")


def pasteable(stack: Stack, user: str, segment: str) -> str:
    """Four ways to ask, each of which works as it stands in another terminal."""
    listen = stack.settings.grpc_listen
    psql = "psql" if shutil.which("psql") else shlex.quote(str(stack.postgres.psql))
    query = "SELECT segment, members FROM segments ORDER BY members DESC"
    python = _short(Path(sys.executable))
    command = _short(Path(sys.executable).with_name("tidegate"))
    request = f'{{"user_id": "{user}", "segment": "{segment}"}}'
    package = "grpc_server.generated.tidegate.v1"
    return "\n".join(
        (
            "Ask it from another terminal (in this folder):",
            "",
            f"{psql} '{stack.postgres.url}' -c '{query}'",
            "",
            f"{command} check {user} {segment} --server {listen}",
            "",
            f"grpcurl -plaintext -d '{request}' {listen} tidegate.v1.MembershipService/CheckMembership",
            "",
            f"# {python}",
            f"import grpc; from {package} import membership_pb2 as m, membership_pb2_grpc as services",
            f'tidegate = services.MembershipServiceStub(grpc.insecure_channel("{listen}"))',
            f'print(tidegate.CheckMembership(m.CheckMembershipRequest(user_id="{user}", segment="{segment}")))',
            "",
        )
    )


def _table(numbers: Numbers, title: str) -> Group:
    table = Table(title=title, title_justify="left")
    table.add_column("segment")
    for name in ("members", "entries/s", "exits/s"):
        table.add_column(name, justify="right")
    for one in numbers.segments:
        entries, exits = one.entries / numbers.span_s, one.exits / numbers.span_s
        table.add_row(
            one.segment, f"{one.members:,}",
            Text(f"{entries:.1f}", "green" if entries else "dim"), Text(f"{exits:.1f}", "yellow" if exits else "dim"),
        )  # fmt: skip
    footer = Text(
        f"{numbers.users:,} users, {numbers.members:,} memberships; lag {numbers.lag:,} events, "
        f"{numbers.refused:,} refused, watermark {numbers.watermark_age_s:.1f} s behind; {_latency(numbers)}.  "
        "Ctrl-C ends the demo."
    )
    return Group(table, footer)


def _latency(numbers: Numbers) -> str:
    latency = numbers.latency
    if latency.p50_ms is None or latency.p99_ms is None:
        return "event to membership: no flip by an event yet"
    return f"event to membership p50 {latency.p50_ms:.0f} ms, p99 {latency.p99_ms:.0f} ms"


def _short(path: Path) -> str:
    """Relative where that is shorter to paste, and quoted."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


