"""The cells of a sweep as Markdown: how many there are, and those where a peer is faster."""

from __future__ import annotations

from statistics import geometric_mean

from ..report import microseconds, table, times as x_times
from .cell import Times

SLOW = 0.9  # a cell below it needs a reason


def markdown(sweep: dict[str, list[Times]]) -> str:
    parts = [summary(sweep)]
    for group, cells in sweep.items():
        ratios = [(t.ratio, t) for t in cells if t.ratio is not None]
        slow = sorted((r, t.row, t.column, t) for r, t in ratios if r < SLOW)
        if slow:
            head = ["", "size", "tracegrad us", "best peer us", "", "ratio"]
            parts += [f"**{group}**: cells below {SLOW}x", table(head, [line(*s) for s in slow])]
        if failed := [t for t in cells if t.errors]:
            lines = sorted({f"- {t.row}, {t.column}, {library}: {error.splitlines()[0]}"
                            for t in failed for library, error in t.errors.items()})
            parts += [f"**{group}**: without a time", "\n".join(lines)]
    return "\n\n".join(parts)


def line(ratio: float, row: str, column: str, times: Times) -> list[str]:
    peers = {k: t for k, t in times.least.items() if k != "tracegrad"}
    best = min(peers, key=peers.__getitem__)
    ours, theirs = microseconds(times.least["tracegrad"]), microseconds(peers[best])
    return [row, column, ours, theirs, best, f"{ratio:.2f}"]


def summary(sweep: dict[str, list[Times]]) -> str:
    rows = []
    for group, cells in sweep.items():
        ratios = [t.ratio for t in cells if t.ratio is not None]
        mean = x_times(geometric_mean(ratios)) if ratios else "-"
        rows.append([group, str(len(ratios)), mean, str(sum(r < SLOW for r in ratios))])
    return table(["group", "cells", "geometric mean of ratios", f"below {SLOW}x"], rows)
