"""`python -m benchmarks.functions`: elementary functions beside torch's, on one thread.

Compiled calls of one function and torch's with out= alternate in one process; given are
nanoseconds per element, of the fastest call, for small and for large tensors. A small one pays for
the call, too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import tracegrad as T

SIZES = 1_000, 1_000_000
# the numbers that a function is called with; (-4, 4) for all others
BETWEEN: dict[str, tuple[float, float]] = {
    "log": (0.1, 50), "log2": (0.1, 50), "log10": (0.1, 50), "log1p": (-0.9, 50),
    "acosh": (1, 50), "atanh": (-0.99, 0.99), "asin": (-1, 1), "acos": (-1, 1), "pow": (0.1, 5),
    "erfinv": (-0.99, 0.99), "special.ndtri": (0.01, 0.99), "lgamma": (0.1, 20),
    "digamma": (0.1, 20), "sqrt": (0, 4), "rsqrt": (0.1, 4),
}
OF_TWO = ("pow", "atan2", "hypot", "logaddexp")
WITHOUT_OUT = ("nn.functional.gelu", "nn.functional.softplus", "nn.functional.logsigmoid")
FUNCTIONS = (
    "exp exp2 expm1 log log1p log2 log10 sqrt rsqrt pow tanh sigmoid sinh cosh asinh acosh atanh "
    "sin cos tan asin acos atan atan2 hypot erf erfc special.erfcx erfinv special.ndtri lgamma "
    "digamma logaddexp"
).split() + list(WITHOUT_OUT)


def of(module: object, path: str) -> Callable:
    for name in path.split("."):
        module = getattr(module, name)
    return module  # type: ignore[return-value]


def contestants(name: str, dtype: str, size: int) -> list[Callable[[], object]]:
    """The function by tracegrad and by torch."""
    rng, between = np.random.default_rng(0), BETWEEN.get(name, (-4, 4))
    arrays = [rng.uniform(*between, size).astype(dtype) for _ in range(1 + (name in OF_TWO))]
    function, theirs = of(T, name), of(torch, name)
    step = T.compile(lambda *x: function(*x))
    ours, tensors = [T.from_numpy(x) for x in arrays], [torch.from_numpy(x) for x in arrays]
    options = {} if name in WITHOUT_OUT else {"out": torch.empty_like(tensors[0])}
    np.testing.assert_allclose(step(*ours).numpy(), theirs(*tensors).numpy(), 1e-4, 1e-5)
    return [lambda: step(*ours), lambda: theirs(*tensors, **options)]


def fastest(calls: list[Callable[[], object]], rounds: int, repeats: int) -> list[float]:
    """Seconds of the fastest of `rounds` rows of calls, for each contestant."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for k, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            best[k] = min(best[k], (time.perf_counter() - start) / repeats)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.functions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("names", nargs="*", default=FUNCTIONS, help="default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = [f"{dtype}, {size:,}" for dtype in ("float32", "float64") for size in SIZES]
    print("| function |" + "".join(f" {head} | torch |" for head in heads))
    print("|---|" + "---|" * (2 * len(heads)))
    for name in options.names:
        cells = []
        for dtype in ("float32", "float64"):
            for size in SIZES:
                repeats = max(1, 200_000 // size)
                calls = contestants(name, dtype, size)
                cells += [1e9 * t / size for t in fastest(calls, options.rounds, repeats)]
        print(f"| {name.split('.')[-1]} |" + "".join(f" {c:.2f} |" for c in cells), flush=True)


if __name__ == "__main__":
    main()
