"""`python -m benchmarks`: run the workloads, print the report, see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path

from .coldstart import caches, cold_starts
from .contestants import PEERS, field
from .flops import product_rate
from .machine import cores, describe, output_file, thread_count
from .measure import Entrant, measure
from .picture import draw, svg
from .process import ROOT, Worker
from .report import Report, around, splice
from .workloads import WORKLOADS, named

KEPT = Path(tempfile.gettempdir()) / "tracegrad-benchmarks"  # disk caches, from run to run
HISTORY = ROOT / "benchmarks" / "history"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help=f"workloads, comma separated, by name or its beginning; of {', '.join(WORKLOADS)}",
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="a round of the slowest takes about this long"
    )
    parser.add_argument(
        "--cold", type=int, default=1, metavar="N", help="cold starts of each contestant; 0: none"
    )
    parser.add_argument(
        "--cold-all", action="store_true", help="of all workloads, not only those marked for it"
    )
    parser.add_argument(
        "--threads", type=thread_count, default=len(cores()), help="default: all cores"
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the report between this file's markers, and its picture beside the file",
    )
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write all measurements here"
    )
    parser.add_argument("--picture", type=output_file, metavar="FILE", help="draw the bars as SVG")
    parser.add_argument(
        "--history", action="store_true", help=f"write all measurements to {HISTORY.name}/DATE.json"
    )
    options = parser.parse_args(argv)

    options.peers = [peer for peer in options.peers.split(",") if peer]
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"no such peer: {peer}; there are {', '.join(PEERS)}")
    try:
        options.workloads = named(options.only)
    except LookupError as error:
        parser.error(str(error))
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    if options.markdown:
        around(options.markdown)  # a file without markers is refused before the measurements
    report = Report(describe(options.threads), product_rate(options.threads))
    for workload in options.workloads:
        contestants = field(workload, options.peers)
        entrants = [
            Entrant(c.key, c.label, partial(Worker, workload, c, options.threads, caches(KEPT)))
            for c in contestants
        ]
        outcomes = measure(workload.name, entrants, options.rounds, options.seconds, say)
        report.steady[workload.title] = outcomes
        for outcome in outcomes.values():
            if outcome.details:
                say(f"\n{workload.name}, {outcome.label}:\n{outcome.details}")
        if options.cold and (workload.cold_start or options.cold_all):
            report.cold[workload.title] = cold_starts(
                workload, contestants, options.threads, options.cold, say
            )

    text = report.markdown()
    print(f"\n{text}")
    if options.markdown:
        splice(options.markdown, text)
        draw(options.markdown)
    if options.picture:
        options.picture.write_text(svg(text))
    files = [options.json] if options.json else []
    if options.history:
        HISTORY.mkdir(exist_ok=True)
        files.append(HISTORY / f"{date.today()}.json")
    for file in files:
        file.write_text(json.dumps(report.json(), indent=1) + "\n")


if __name__ == "__main__":
    main()
