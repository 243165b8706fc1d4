"""The picture of a report: bars for the tables of its Markdown, as SVG.

    python -m benchmarks.picture docs/benchmarks.md  # writes docs/benchmarks.svg

Takes the text of a report, so that picture and tables never differ. The bars are the median times
and each workload has a scale of its own.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

TABLE = re.compile(r"^\*\*(.+)\*\*\n\n((?:\|.*\n?)+)", re.MULTILINE)
LEFT, WIDTH, RIGHT = 190, 430, 140  # of the names, the bars, the numbers beside them
ROW, HEAD = 17, 26
OURS, OTHERS, TEXT = "#e8590c", "#868e96", "#777777"


class Bar(NamedTuple):
    label: str
    times: float  # as a multiple of tracegrad's whole step
    microseconds: str


def bars(report: str) -> dict[str, list[Bar]]:
    """The bars of each table of steady times, by its title; who has no time has no bar."""
    found = {}
    for title, table in TABLE.findall(report):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        if head[1] == "median us/step":
            found[title] = [
                Bar(label, float(times.rstrip("x")), median)
                for label, median, times, *_ in rows
                if times != "-"
            ]
    return found


def svg(report: str) -> str:
    groups = bars(report)
    parts: list[str] = []
    y = 0

    def text(x: float, words: str, more: str = "") -> None:
        parts.append(f'<text x="{x:.0f}" y="{y + 12}" {more}>{escape(words)}</text>')

    for title, group in groups.items():
        y += HEAD - ROW
        text(0, title, 'font-weight="bold"')
        y += ROW
        longest = max((bar.times for bar in group), default=1.0)
        for bar in group:
            ours = bar.label.startswith("tracegrad")
            length = WIDTH * bar.times / longest
            text(LEFT - 8, bar.label, 'text-anchor="end"')
            parts.append(
                f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{ROW - 4}" '
                f'fill="{OURS if ours else OTHERS}"/>'
            )
            text(LEFT + length + 6, f"{bar.microseconds} us, {bar.times:.3g}x")
            y += ROW
    y += 8
    text(LEFT, "median time of a step, and as a multiple of tracegrad's whole step; less is better")
    size = f"{LEFT + WIDTH + RIGHT} {y + ROW + 4}"
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
