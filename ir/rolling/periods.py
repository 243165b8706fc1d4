"""Where symbols repeat in a sequence with a fixed period.

Takes an array of numbers that stand for symbols; gives repetitions, the longest first. Knows
nothing of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

WINDOW = 4  # symbols that are compared to find where a part may have stood before
PERIODS = 40  # that are tried
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Repetition(NamedTuple):
    """`length` symbols from `start`, each of which is the one `period` before it, if that is
    among them.
    """

    start: int
    period: int
    length: int


def repetitions(symbols: np.ndarray, least: int, shortest: int = 0) -> list[Repetition]:
    """Repetitions of at least so many periods and symbols, longest first; they may overlap. Of a
    period and its multiples the smallest comes first.
    """
    every: list[Repetition] = []
    for period in _periods(symbols):
        equal = symbols[period:] == symbols[:-period]
        edges = np.flatnonzero(np.diff(equal.astype(np.int8), prepend=0, append=0))
        starts, lengths = edges[::2], edges[1::2] - edges[::2] + period
        long = lengths >= max(period * least, shortest)
        pairs = zip(starts[long].tolist(), lengths[long].tolist(), strict=True)
        every += [Repetition(start, period, length) for start, length in pairs]
    return sorted(every, key=lambda r: (-r.length, r.period, r.start))


def _periods(symbols: np.ndarray) -> Iterator[int]:
    """Distances between a part and where it last stood: the most frequent, and those that cover
    most.
    """
    count = len(symbols) - WINDOW + 1
    if count < 2:
        return
    code = np.zeros(count, np.uint64)
    for k in range(WINDOW):
        code = (code + symbols[k : k + count].astype(np.uint64) + np.uint64(1)) * _FACTOR
    order = np.argsort(code, kind="stable")
    again = code[order[1:]] == code[order[:-1]]
    distances, times = np.unique(np.diff(order)[again], return_counts=True)
    frequent = distances[np.argsort(-times, kind="stable")[:PERIODS]]
    covering = distances[np.argsort(-times * distances, kind="stable")[:PERIODS]]
    yield from sorted({*frequent.tolist(), *covering.tolist()})


def disjoint(every: list[Repetition], least: int) -> list[Repetition]:
    """Those of the repetitions that are chosen, in order of their start: the longest first, and of
    the others the longest part that does not overlap with them.
    """
    free = np.ones(max((r.start + r.length for r in every), default=0), np.int8)
    chosen: list[Repetition] = []
    for r in every:
        edges = np.diff(free[r.start : r.start + r.length], prepend=0, append=0)
        starts, stops = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
        if not len(starts):
            continue
        longest = int(np.argmax(stops - starts))
        start, length = r.start + int(starts[longest]), int(stops[longest] - starts[longest])
        if length >= r.period * least:
            free[start : start + length] = 0
            chosen.append(Repetition(start, r.period, length))
    return sorted(chosen)
