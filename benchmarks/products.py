"""`python -m benchmarks.products`: compiled matrix products beside torch.mm, on one thread.

The shapes are those of the MLP 784-256-256-10 with batch 512, forward and backward, a deep and a
wide one. Calls alternate in one process; given are multiply-adds per second, by the median and by
the fastest call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import tracegrad as T

# rows, columns, depth; whether the left and the right operand lie transposed
SHAPES = [
    (512, 256, 784, False, True),
    (512, 256, 256, False, True),
    (512, 256, 256, False, False),
    (256, 784, 512, True, False),
    (256, 256, 512, True, False),
    (256, 1024, 4096, False, False),
    (64, 4096, 1024, False, False),
]


def contestants(m: int, n: int, k: int, left: bool, right: bool) -> list[Callable[[], object]]:
    """The product by tracegrad and by torch, which agree."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if left else (m, k), np.float32)
    b = rng.standard_normal((n, k) if right else (k, n), np.float32)

    @T.compile
    def product(a, b):
        return (a.t() if left else a) @ (b.t() if right else b)

    ours = T.from_numpy(a), T.from_numpy(b)
    theirs = torch.from_numpy(a), torch.from_numpy(b)
    x, y = theirs[0].t() if left else theirs[0], theirs[1].t() if right else theirs[1]
    out = torch.empty(m, n)
    np.testing.assert_allclose(product(*ours), torch.mm(x, y), rtol=1e-3, atol=1e-3)
    return [lambda: product(*ours), lambda: torch.mm(x, y, out=out)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.products", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="default: %(default)s")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [(shape, contestants(*shape)) for shape in SHAPES]
    seconds: dict[tuple, list[float]] = {}
    for _ in range(rounds):
        for shape, calls in rows:
            for who, call in enumerate(calls):
                call()  # what lay in the caches was the other's
                for _ in range(3):
                    start = time.perf_counter()
                    call()
                    seconds.setdefault((shape, who), []).append(time.perf_counter() - start)
    print("| rows x columns x depth | operands | tracegrad | torch.mm | ratio | by the fastest |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for shape, _ in rows:
        m, n, k, left, right = shape
        median = [statistics.median(seconds[shape, who]) for who in (0, 1)]
        fastest = [min(seconds[shape, who]) for who in (0, 1)]
        rate = [f"{m * n * k / t / 1e9:.1f} G/s" for t in median]
        lie = ("A' " if left else "A ") + ("B'" if right else "B")
        print(
            f"| {m} x {n} x {k} | {lie} | {rate[0]} | {rate[1]} | "
            f"{median[1] / median[0]:.2f}x | {fastest[1] / fastest[0]:.2f}x |"
        )


if __name__ == "__main__":
    main()
