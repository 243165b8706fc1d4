"""The picture of a report: a bar for each of its workloads, as SVG.

    python -m benchmarks.picture docs/benchmarks.md  # writes docs/benchmarks.svg

Takes the text of a report, so that picture and tables never differ. A bar goes from tracegrad's
whole step to the best peer, on a logarithmic scale that all workloads share; the marks are all
contestants.
"""

from __future__ import annotations

import re
import sys
from html import escape
from math import ceil, floor, log2
from pathlib import Path
from typing import NamedTuple

from .contestants import BASELINE, CONTESTANTS, PEERS

TABLE = re.compile(r"^\*\*(.+)\*\*\n\n((?:\|.*\n?)+)", re.MULTILINE)
WIDTH, RIGHT = 380, 110  # of the bars, and of the numbers beside them
ROW, LETTER = 17, 6.2  # the height of a row, the width of a letter
COLOURS = {
    "tracegrad": "#e8590c", "loss-only": "#f4a261", "eager": "#868e96", "compile": "#4c6ef5",
    "compile-whole": "#22386f", "jax": "#2f9e44",
}
KEYS = {c.label: key for key, c in CONTESTANTS.items()}
SLOWER, TEXT = "#adb5bd", "#777777"


class Mark(NamedTuple):
    key: str  # of the contestant
    times: float  # as a multiple of tracegrad's whole step
    microseconds: str


def marks(report: str) -> dict[str, list[Mark]]:
    """The marks of each table of steady times, by its title; who has no time has no mark."""
    every = {}
    for title, table in TABLE.findall(report):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        if head[1] == "median us/step":
            every[title] = [
                Mark(KEYS[label], float(times.rstrip("x")), median)
                for label, median, times, *_ in rows
                if times != "-"
            ]
    return every


class Scale:
    """Where a multiple of tracegrad's time lies, from left to right."""

    def __init__(self, left: float, times: list[float]) -> None:
        self.left = left
        self.low = floor(log2(min(times, default=1.0)))
        self.high = max(ceil(log2(max(times, default=1.0))), self.low + 1)

    def __call__(self, times: float) -> float:
        return self.left + WIDTH * (log2(times) - self.low) / (self.high - self.low)


def row(title: str, group: list[Mark], x: Scale, y: int) -> list[str]:
    parts = [text(x.left - 8, y, title, 'text-anchor="end"')]
    peers = [mark.times for mark in group if mark.key in PEERS]
    if peers and any(mark.key == BASELINE for mark in group):
        best = min(peers)
        start, end = sorted((x(1.0), x(best)))
        colour = COLOURS[BASELINE] if best > 1 else SLOWER
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="{ROW - 4}" '
            f'fill="{colour}" fill-opacity="0.35"/>'
        )
        ours = next(mark.microseconds for mark in group if mark.key == BASELINE)
        parts.append(text(x.left + WIDTH + 8, y, f"{ours} us, {best:.3g}x"))
    for mark in group:
        parts.append(dot(x(mark.times), y, mark.key))
    return parts


def dot(x: float, y: int, key: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y + ROW / 2:.1f}" r="3.5" fill="{COLOURS[key]}"/>'


def text(x: float, y: int, words: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y + 12}" {more}>{escape(words)}</text>'


def svg(report: str) -> str:
    groups = marks(report)
    left = LETTER * max(map(len, groups), default=0) + 16
    x = Scale(left, [mark.times for group in groups.values() for mark in group])
    parts, y = [], ROW
    bottom = y + ROW * len(groups)
    for power in range(x.low, x.high + 1):
        at, name = x(2.0**power), f"{2**power}x" if power >= 0 else f"1/{2**-power}"
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{ROW}" y2="{bottom}" '
                     f'stroke="{TEXT}" stroke-opacity="{0.9 if power == 0 else 0.25}"/>')
        parts.append(text(at, 0, name, 'text-anchor="middle"'))
    for title, group in groups.items():
        parts += row(title, group, x, y)
        y += ROW
    y += 6
    for at, (key, contestant) in enumerate(CONTESTANTS.items()):
        place, line = at % 3 * 250 + 20, y + at // 3 * ROW
        parts += [dot(place, line, key), text(place + 10, line, contestant.label)]
    y += 2 * ROW + 4
    words = (
        "Median time of a step as a multiple of tracegrad's whole step. Bars end at the best peer; "
        "right of 1x, tracegrad is faster."
    )
    parts.append(text(10, y, words))
    size = f"{left + WIDTH + RIGHT:.0f} {y + ROW + 4}"
    font = f'font-family="sans-serif" font-size="12" fill="{TEXT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {font}>'
    return "\n".join([head, *parts, "</svg>", ""])


def draw(file: Path) -> Path:
    """Write the picture of the report in `file` beside it."""
    picture = file.with_suffix(".svg")
    picture.write_text(svg(file.read_text()))
    return picture


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
