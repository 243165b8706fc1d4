"""`python -m benchmarks`: run the workloads, print the report, see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .coldstart import cold_starts
from .contestants import PEERS, field
from .machine import cores, describe
from .measure import measure
from .picture import draw
from .report import Report, around, splice
from .workloads import WORKLOADS


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
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
    parser.add_argument("--threads", type=int, default=len(cores()), help="default: all cores")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the report between this file's markers, and its picture beside the file",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements here")
    options = parser.parse_args(argv)

    options.peers = [peer for peer in options.peers.split(",") if peer]
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"no such peer: {peer}; there are {', '.join(PEERS)}")
    starts = options.only.split(",") if options.only else [""]
    for start in starts:
        if not any(name.startswith(start) for name in WORKLOADS):
            parser.error(f"no such workload: {start}; there are {', '.join(WORKLOADS)}")
    options.workloads = [w for n, w in WORKLOADS.items() if n.startswith(tuple(starts))]
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not 1 <= options.threads <= len(cores()):
        parser.error(f"--threads must be from 1 to {len(cores())}, the cores there are")
    return options


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    if options.markdown:
        around(options.markdown)  # a file without markers is refused before the measurements
    report = Report(describe(options.threads))
    for workload in options.workloads:
        contestants = field(workload, options.peers)
        outcomes = measure(
            workload, contestants, options.threads, options.rounds, options.seconds, say
        )
        report.steady[workload.title] = outcomes
        for outcome in outcomes.values():
            if outcome.details:
                say(f"\n{workload.name}, {outcome.label}:\n{outcome.details}")
        if workload.cold_start and options.cold:
            report.cold[workload.title] = cold_starts(
                workload, contestants, options.threads, options.cold, say
            )

    text = report.markdown()
    print(f"\n{text}")
    if options.markdown:
        splice(options.markdown, text)
        draw(options.markdown)
    if options.json:
        options.json.write_text(json.dumps(report.json(), indent=1) + "\n")


if __name__ == "__main__":
    main()
