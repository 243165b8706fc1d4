"""Random programs in torch, in ours eagerly, and in ours compiled.

    python -m tests.fuzz --programs 10000 --seed 1
    python -m tests.fuzz --mode compiled --compiled 300 --jobs 2 --time-limit 600
    python -m tests.fuzz --replay 1:57              # a standalone program; 1:57:compiled likewise

Eager programs are judged statement by statement against torch; compiled ones as a whole against our
own eager run. Differences are shrunk and printed, those that are as they should be (reasons.py)
only counted. The exit status is 1 if one is not explained.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import Counter
from itertools import chain

from .pool import run
from .rows import functions


def replay(text: str) -> None:
    from .draw import draw
    from .examine import judge_of
    from .reproduce import standalone

    seed, index, *way = text.split(":")
    program = draw(int(seed), int(index), bool(way))
    print(standalone(program, judge_of(int(index), bool(way))(program)))


def special(kind: str, seed: int, indices: range) -> int:
    """Programs of training, of loops, such that look at values, or eager ones by plans."""
    from . import looks, loops, planned, training

    faults = {"training": training, "loops": loops, "values": looks, "plans": planned}[kind].faults
    count = 0
    for count, fault in enumerate(faults(seed, indices), 1):  # noqa: B007
        print(f"---- {fault}", flush=True)
    print(f"{len(indices)} programs of {kind}, seed {seed}: {count} unexplained")
    return int(bool(count))


def main() -> int:
    parser = argparse.ArgumentParser(
        "tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=1000, help="eager programs (1000)")
    parser.add_argument("--compiled", type=int, help="compiled programs (a tenth as many)")
    parser.add_argument("--mode", choices=("eager", "compiled", "both"), default="both")
    parser.add_argument("--training", type=int, default=0, help="training programs, and no others")
    parser.add_argument("--loops", type=int, default=0, help="programs of loops, and no others")
    parser.add_argument("--values", type=int, default=0,
                        help="programs that look at values, and no others")
    parser.add_argument("--plans", type=int, default=0,
                        help="eager programs by plans and without, and no others")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first program (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--replay", metavar="SEED:INDEX[:compiled]", help="print that program")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: nothing to compare with, all programs skipped")
        return 0
    if options.replay:
        replay(options.replay)
        return 0
    for kind in ("training", "loops", "values", "plans"):
        if count := getattr(options, kind):
            return special(kind, options.seed, range(options.start, options.start + count))
    compiled = options.programs // 10 if options.compiled is None else options.compiled
    eager = 0 if options.mode == "compiled" else options.programs
    compiled = 0 if options.mode == "eager" else compiled
    first = options.start
    tasks = chain(((k, True) for k in range(first, first + compiled)),
                  ((k, False) for k in range(first, first + eager)))
    counts: Counter = Counter()
    reasons: Counter = Counter()
    faults: Counter = Counter()

    def report(found: dict) -> None:
        way = "compiled" if found["compiled"] else "eager"
        counts[way] += 1
        counts["statements"] += found["statements"]
        difference = found["difference"]
        if difference is None:
            return
        if difference["reason"]:
            reasons[difference["reason"]] += 1
            return
        faults[" ".join(found["sort"])] += 1
        if "program" in found or difference["kind"] == "crash":
            replayed = f"{options.seed}:{found['index']}" + ":compiled" * found["compiled"]
            print(f"---- {replayed}  {difference['kind']}: {difference['detail']}")
            print(found.get("program", ""), flush=True)

    begun = time.monotonic()
    run(tasks, options.seed, options.jobs, report, options.time_limit)
    print(f"{counts['eager']} eager and {counts['compiled']} compiled programs of "
          f"{counts['statements']} statements over {len(functions())} functions, seed "
          f"{options.seed}, {time.monotonic() - begun:.0f} s")
    for title, counter in (("explained", reasons), ("unexplained", faults)):
        print(f"{sum(counter.values())} {title}")
        for words, n in counter.most_common():
            print(f"  {n:5} {words}")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
