"""`python -m benchmarks.sweep`: operations over sizes, compiled, beside torch eager and JAX.

Each group of operations is measured in a process of its own, in which the libraries take turns. A
cell is the least time of the best peer over tracegrad's: above 1, tracegrad is faster. The cells of
a group come in an order of which every beginning is an even sample, so a small budget leaves gaps
all over the table instead of cutting off its end. With `--threads 1` the clock is the processor
time, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec

from ..machine import cores, describe, output_file, thread_count
from ..process import ROOT, THREAD_VARIABLES
from .cell import Times
from .groups import GROUPS
from .picture import draw
from .report import markdown


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="NAMES",
        help=f"groups, comma separated, by the beginning of names; of {', '.join(GROUPS)}",
    )
    parser.add_argument(
        "--budget", type=float, default=600, metavar="SECONDS",
        help="for all groups together; a full sweep takes an hour; default: %(default)s",
    )
    parser.add_argument(
        "--threads", type=thread_count, default=len(cores()), help="default: all cores"
    )
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write all times here")
    parser.add_argument("--picture", type=output_file, metavar="FILE",
                        help="draw the heat map as .svg or .png; needs matplotlib")
    options = parser.parse_args(argv)
    options.groups = [g for g in GROUPS if g.startswith(tuple(options.only.split(",")))]
    if not options.groups:
        parser.error(f"no such group: {options.only}; there are {', '.join(GROUPS)}")
    if options.picture and options.picture.suffix not in (".svg", ".png"):
        parser.error(f"--picture: {options.picture} is not an .svg or .png")
    if options.picture and not find_spec("matplotlib"):
        parser.error("--picture needs matplotlib")
    return options


def measured(group: str, seconds: float, threads: int) -> Iterator[Times]:
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
    command = ["-m", "benchmarks.sweep.group", group, str(seconds), str(threads)]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **limits},
        stdout=subprocess.PIPE, text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Times(**json.loads(line))
    if process.returncode:
        print(f"{group}: ended with code {process.returncode}", file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    sweep: dict[str, list[Times]] = {}
    for group in options.groups:
        cells = sweep[group] = []
        for times in measured(group, options.budget / len(options.groups), options.threads):
            cells.append(times)
        print(f"{group}: {len(cells)} of {len(list(GROUPS[group]()))} cells", file=sys.stderr)
    machine = describe(options.threads)
    if options.json:
        cells_of = {group: [asdict(t) for t in cells] for group, cells in sweep.items()}
        options.json.write_text(json.dumps({"machine": machine, "groups": cells_of}, indent=1))
    print(f"{machine}\n\n{markdown(sweep)}")
    if options.picture:
        draw(sweep, options.picture)


if __name__ == "__main__":
    main()
