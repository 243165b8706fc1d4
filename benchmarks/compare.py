"""`python -m benchmarks.compare A B`: two commits of tracegrad at the same workloads.

Each commit is checked out into a temporary folder, with a disk cache of its own, and its workers
take turns with the other's; workloads and harness are those of this checkout. Given are the
medians, and the median of the ratios within a round: below 1, B is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median

from .coldstart import caches
from .contestants import BASELINE, CONTESTANTS
from .machine import cores, describe, thread_count
from .measure import Entrant, Outcome, measure
from .process import ROOT, Worker
from .report import microseconds, ratio, table, times
from .workload import Workload
from .workloads import named


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[None]:
    git("worktree", "add", "--detach", str(folder), commit)
    try:
        if not (folder / "src" / "tracegrad").exists():
            raise SystemExit(f"{commit} has no src/tracegrad, so it cannot be imported from there")
        yield
    finally:
        git("worktree", "remove", "--force", str(folder))


def worker(workload: Workload, style: str, threads: int, tree: Path, harness: Path) -> Worker:
    """`harness` holds nothing but these benchmarks, so that the package comes from `tree`."""
    environment = caches(tree.with_name(f"{tree.name}-caches"))
    environment["PYTHONPATH"] = str(tree / "src")
    return Worker(workload, CONTESTANTS[style], threads, environment, harness)


def compared(
    workload: Workload, commits: list[str], folder: Path, options: argparse.Namespace
) -> dict[str, Outcome]:
    entrants = [
        Entrant(side, commit, partial(
            worker, workload, options.style, options.threads, folder / side, folder / "harness"))
        for side, commit in zip("AB", commits, strict=True)
    ]
    say = partial(print, file=sys.stderr, flush=True)
    return measure(workload.name, entrants, options.rounds, options.seconds, say)


def markdown(results: dict[str, dict[str, Outcome]], commits: list[str]) -> str:
    rows, ratios = [], []
    for title, outcomes in results.items():
        a, b = outcomes["A"], outcomes["B"]
        cells = [o.error or microseconds(median(o.seconds)) for o in (a, b)]
        if a.seconds and b.seconds:
            ratios.append(ratio(b.seconds, a.seconds))
            cells += [times(ratios[-1]), times(min(b.seconds) / min(a.seconds))]
        rows.append([title, *cells, *["-"] * (4 - len(cells))])
    parts = [table(["", *(f"{c} us" for c in commits), "B / A", "by the least"], rows)]
    if ratios:
        parts.append(f"Geometric mean of B / A: {times(geometric_mean(ratios))}.")
    return "\n\n".join(parts)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("commits", nargs=2, metavar="COMMIT")
    parser.add_argument("--only", default="", metavar="NAMES", help="the beginnings of names")
    parser.add_argument("--style", default=BASELINE, choices=(BASELINE, "loss-only"))
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a round, about")
    parser.add_argument(
        "--threads", type=thread_count, default=len(cores()), help="default: all cores"
    )
    options = parser.parse_args(argv)
    try:
        options.workloads = named(options.only)
    except LookupError as error:
        parser.error(str(error))
    return options


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    commits = [git("rev-parse", "--short", commit) for commit in options.commits]
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "harness").mkdir()
        (folder / "harness" / "benchmarks").symlink_to(ROOT / "benchmarks")
        with checked_out(commits[0], folder / "A"), checked_out(commits[1], folder / "B"):
            for workload in options.workloads:
                if workload.trains or options.style == BASELINE:
                    results[workload.title] = compared(workload, commits, folder, options)
    print(f"{describe(options.threads)}\n\n{markdown(results, commits)}")


if __name__ == "__main__":
    main()
