"""The page of a drive: one HTML file with its charts drawn in it, which loads nothing."""

import html
import math
from collections.abc import Sequence
from typing import Any

_TITLES = {
    "check": "An event is visible to CheckMembership", "watch": "An event's transition is told by WatchTransitions",
    "check_flips": "Time has made a member leave, by CheckMembership", "watch_flips": "The same by WatchTransitions",
}  # fmt: skip
_COLOURS = {"check": "#1f6feb", "watch": "#2da44e", "check_flips": "#bf3989", "watch_flips": "#9a6700"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 260, 64, 36, 14
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 800px; color: #1f2328; }
table { border-collapse: collapse; }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #d1d9e0; }
td:first-child, th:first-child { text-align: left; } text { font: 12px system-ui, sans-serif; fill: #59636e; }
h2 { margin: 2rem 0 .3rem; } p { margin: .3rem 0; color: #59636e; }
"""
Point = tuple[float, float]


def page(result: dict[str, Any]) -> str:
    """result: what `drive.drive` gives."""
    there = [name for name in _TITLES if result[name]["samples"]]
    sent = result["sent"]
    parts = [
        f"<h1>{result['rate']:,.0f} events a second for {result['seconds']:g} s</h1>",
        f"<p>{sent.get('events', 0):,} events of {result['users']:,} users, {result['probes']:,} probes, "
        f"{result['checks']:,} checks. The producer was late by {sent.get('late_ms', {}).get('p99', 0)} ms (p99), "
        "which counts in the latencies. "
        f"Never visible: {result['missing']}; not left within a minute: {result['overdue']}. "
        f"Not delivered: {sent.get('failed', 0)}. "
        f"Failed calls: {html.escape(str(result['errors'] or 'none'))}.</p>",
        _table(result, there),
        "<h2>Latency by percentile</h2><p>milliseconds from the instant at which it became true</p>",
        _chart({name: [(_nines(p), ms) for p, ms in result[name]["curve"]] for name in there},
               [(_nines(p), f"{p:g}%") for p in (0, 50, 90, 99, 99.9, 99.99)]),
    ]  # fmt: skip
    for name in there:
        rows = result["by_second"][name]
        parts += [
            f"<h2>{_TITLES[name]}</h2><p>how many took how long</p>", _bars(result[name]["buckets"], _COLOURS[name]),
            "<p>p50 and p99 of each second</p>",
            _chart({name: [(row[0], row[2]) for row in rows], f"{name}/99": [(row[0], row[3]) for row in rows]},
                   [(row[0], f"{row[0]:g} s") for row in rows[:: max(1, len(rows) // 6)]]),
        ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Tidegate: load test</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _table(result: dict[str, Any], there: Sequence[str]) -> str:
    names = ("samples", "p50", "p90", "p99", "p999", "max")
    rows = "".join(
        f'<tr><td><svg width="12" height="12"><rect width="12" height="12" fill="{_COLOURS[name]}"/></svg> '
        f"{_TITLES[name]}</td>" + "".join(f"<td>{_said(result[name].get(of))}</td>" for of in names) + "</tr>"
        for name in there
    )
    return f"<table><tr><th>ms</th>{''.join(f'<th>{name}</th>' for name in names)}</tr>{rows}</table>"


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _nines(percentile: float) -> float:
    return -math.log10(1 - min(percentile, 99.999) / 100)


def _chart(lines: dict[str, list[Point]], ticks: Sequence[tuple[float, str]]) -> str:
    """Lines over a logarithmic scale of ms."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    scale = _Scale(max(0.1, min(y for _, y in points)), max(y for _, y in points))

    def x(value: float) -> float:
        return _LEFT + (value - left) / max(right - left, 1e-9) * (_WIDTH - _LEFT - 10)

    drawn = scale.grid()
    for at, label in ticks:
        if left <= at <= right:
            drawn.append(f'<text x="{x(at):.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{html.escape(label)}</text>')
    for name, line in lines.items():
        path = " ".join(f"{x(a):.1f},{scale.y(b):.1f}" for a, b in line)
        dash = ' stroke-dasharray="4 3"' if name.endswith("/99") else ""
        colour = _COLOURS[name.partition("/")[0]]
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{path}"/>')
    return _svg(drawn)


def _bars(buckets: Sequence[Sequence[float]], colour: str) -> str:
    """Samples per bucket over a logarithmic axis of ms."""
    low, high = math.log2(buckets[0][0]) - 1 / 16, math.log2(buckets[-1][0])
    most, drawn = max(count for _, count in buckets), []
    for bound, count in buckets:
        at = _LEFT + (math.log2(bound) - 1 / 16 - low) / (high - low) * (_WIDTH - _LEFT - 10)
        width = max(1.0, (_WIDTH - _LEFT - 10) / 16 / (high - low) - 0.5)
        height = max(1.0, count / most * (_HEIGHT - _BOTTOM - _TOP))
        drawn.append(f'<rect x="{at:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}" width="{width:.1f}" '
                     f'height="{height:.1f}" fill="{colour}"/>')  # fmt: skip
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = _LEFT + (power - low) / (high - low) * (_WIDTH - _LEFT - 10)
        drawn.append(f'<text x="{at:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{2.0**power:g} ms</text>')
    return _svg(drawn)


class _Scale:
    """Milliseconds on a logarithmic axis of height."""

    def __init__(self, low: float, high: float) -> None:
        self._low = math.floor(math.log10(low))
        self._high = max(math.ceil(math.log10(high)), self._low + 1)

    def y(self, value: float) -> float:
        share = (math.log10(max(value, 10.0**self._low)) - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    def grid(self) -> list[str]:
        drawn = []
        for power in range(self._low, self._high + 1):
            y = self.y(10.0**power)
            drawn.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d1d9e0"/>')
            drawn.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
        return drawn


def _svg(drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%">{"".join(drawn)}</svg>'
