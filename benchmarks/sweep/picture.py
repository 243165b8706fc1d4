"""The heat map of a sweep: a row for each operation, a column for each size."""

from __future__ import annotations

from math import log2
from pathlib import Path
from typing import Any

from .cell import Times
from .groups import GROUPS

LIMIT = 3.0  # of the colours: 1/8 to 8 times


def draw(sweep: dict[str, list[Times]], file: Path) -> None:
    """Draw one panel per group; the format is that of the file's suffix."""
    from matplotlib.figure import Figure

    panels = [(group, *axes_of(group, cells), cells) for group, cells in sweep.items()]
    heights = [len(rows) + 6 for _, rows, _, _ in panels]
    figure = Figure(figsize=(9, 0.17 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for (group, rows, columns, cells), panel in zip(panels, axes, strict=True):
        image = fill(panel, rows, columns, cells)
        panel.set_title(group, fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 30 / sum(heights)))
    bar.set_ticks(range(-3, 4), labels=["1/8", "1/4", "1/2", "1x", "2x", "4x", "8x"])
    bar.set_label("time of the best peer over tracegrad's; blue: tracegrad is faster")
    figure.savefig(file)


def axes_of(group: str, cells: list[Times]) -> tuple[list[str], list[str]]:
    """The rows and columns of a group that were measured, in the order of its table."""
    every = list(GROUPS[group]())
    rows, columns = {t.row for t in cells}, {t.column for t in cells}
    return ([r for r in dict.fromkeys(c.row for c in every) if r in rows],
            [c for c in dict.fromkeys(c.column for c in every) if c in columns])


def fill(panel: Any, rows: list[str], columns: list[str], cells: list[Times]) -> Any:
    values = [[float("nan")] * max(len(columns), 1) for _ in rows or [""]]
    for t in cells:
        if t.ratio is not None:
            y, x = rows.index(t.row), columns.index(t.column)
            values[y][x] = log2(t.ratio)
            colour = "white" if abs(values[y][x]) > 0.6 * LIMIT else "black"
            panel.text(x, y, f"{t.ratio:.2g}", ha="center", va="center", fontsize=5, color=colour)
    panel.set_xticks(range(len(columns)), columns, fontsize=6)
    panel.set_yticks(range(len(rows)), rows, fontsize=5)
    return panel.imshow(values, "RdBu", aspect="auto", vmin=-LIMIT, vmax=LIMIT)
