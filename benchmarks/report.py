"""What a run found, as Markdown tables for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median, quantiles
from typing import Any

from .coldstart import ColdStart
from .contestants import BASELINE, PEERS
from .measure import Outcome

SMALL_SHARE = 0.01  # below it, products are not what a step is made of
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


@dataclass
class Report:
    machine: str
    peak: float = 0.0  # operations a second of a large product; 0: not measured
    steady: dict[str, dict[str, Outcome]] = field(default_factory=dict)  # by title of workload
    cold: dict[str, dict[str, ColdStart]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def markdown(self) -> str:
        parts = [self.machine, *self.summary()]
        for title, outcomes in self.steady.items():
            parts += [f"**{title}**", steady_table(outcomes), *failures(outcomes)]
        for title, starts in self.cold.items():
            parts += [f"**Import to first finished step: {title}**", cold_table(starts)]
            parts += failures(starts)
        return "\n\n".join(parts)

    def summary(self) -> list[str]:
        """All workloads in a table, and the mean of what the best peers take."""
        rows, ratios = [], []
        for title, outcomes in self.steady.items():
            ours, best = outcomes[BASELINE], best_peer(outcomes)
            if not (ours.seconds and best):
                continue
            ratios.append(ratio(best.seconds, ours.seconds))
            middle = median(ours.seconds)
            share = ours.flops / middle / self.peak if self.peak else 0.0
            rows.append(
                [
                    title,
                    microseconds(middle),
                    microseconds(median(best.seconds)),
                    best.label,
                    times(ratios[-1]),
                    f"{share:.0%}" if share >= SMALL_SHARE else "-",
                ]
            )
        if not rows:
            return []
        head = ["", "tracegrad us", "best peer us", "best peer", "x tracegrad", "of roofline"]
        mean = f"Geometric mean of the best peers' times: {times(geometric_mean(ratios))}."
        if self.peak:
            mean += (f" The roofline is NumPy's float32 product, {self.peak / 1e9:.0f} GFLOP/s; "
                     "counted are products and convolutions.")
        return [table(head, rows), mean]


def best_peer(outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The peer with the least median time, if there is one with a time."""
    peers = [outcomes[key] for key in PEERS if key in outcomes and outcomes[key].seconds]
    return min(peers, key=lambda peer: median(peer.seconds), default=None)


def failures(found: Mapping[str, Outcome | ColdStart]) -> list[str]:
    """Why a row has no times, a paragraph for each such row."""
    return [f"No times for {each.label}: {each.error}." for each in found.values() if each.error]


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:#.3g}".rstrip(".") if seconds < 1e-3 else f"{seconds * 1e6:.0f}"


def times(number: float) -> str:
    return f"{number:.2f}x" if number < 10 else f"{number:.0f}x"


def spread(samples: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    low, middle, high = quantiles(samples, n=4, method="inclusive")
    return low, middle, high


def ratio(samples: list[float], baseline: list[float]) -> float:
    """The median over rounds of the ratio within a round, so that drift of the machine cancels."""
    return median(a / b for a, b in zip(samples, baseline, strict=True))


def steady_table(outcomes: dict[str, Outcome]) -> str:
    baseline = outcomes[BASELINE].seconds
    rows = []
    for outcome in outcomes.values():
        if outcome.error:
            rows.append([outcome.label, *["-"] * 5])
            continue
        low, middle, high = spread(outcome.seconds)
        rows.append(
            [
                outcome.label,
                microseconds(middle),
                times(ratio(outcome.seconds, baseline)) if baseline else "-",
                microseconds(min(outcome.seconds)),
                f"{microseconds(low)} to {microseconds(high)}",
                f"{outcome.peak_mb:.0f}",
            ]
        )
    head = ["", "median us/step", "x tracegrad", "min us", "quartiles us", "peak MB"]
    return table(head, rows)


def cold_table(starts: dict[str, ColdStart]) -> str:
    ours = starts[BASELINE]
    rows = []
    for start in starts.values():
        if start.error:
            rows.append([start.label, *["-"] * 5])
            continue
        ratios = ["-", "-"] if ours.error else [start.empty / ours.empty, start.warm / ours.warm]
        empty, warm = (r if isinstance(r, str) else times(r) for r in ratios)
        rows.append(
            [
                start.label,
                f"{start.empty:.2f}",
                empty,
                f"{start.warm:.2f}",
                warm,
                f"{start.peak_mb:.0f}",
            ]
        )
    head = ["", "empty cache s", "x tracegrad", "warm cache s", "x tracegrad", "peak MB"]
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown that also reads well in a terminal."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]

    def line(row: Sequence[str]) -> str:
        first, *rest = zip(row, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]
        return "| " + " | ".join(aligned) + " |"

    return "\n".join(map(line, [cells[0], rule, *cells[1:]]))


def around(file: Path) -> tuple[str, str]:
    """The text of `file` before and after its markers."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{file} has no lines {BEGIN} and {END}")
    return before, after


def splice(file: Path, text: str) -> None:
    """Put `text` between the markers of `file`, leaving all else as it is."""
    before, after = around(file)
    file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
