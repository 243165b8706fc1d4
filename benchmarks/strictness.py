"""What exact arithmetic costs: programs compiled as they are and with `fast_math=True`, in turns.

    python -m benchmarks.strictness [--only NAME,..] [--rounds 60]

Prints the least time of a call either way, on one thread, and how much longer the exact one takes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .workloads import WORKLOADS

Call = Callable[[], Any]


def _numbers(T: Any, *shape: int) -> Any:
    return T.tensor(np.random.default_rng(0).random(shape, np.float32) + 0.5)


def with_gradient(f: Callable) -> Callable:
    """The loss f(x, ...).sum() and its gradient for x."""

    def both(x: Any, *rest: Any) -> Any:
        x = x.detach().requires_grad_()
        loss = f(x, *rest).sum()
        loss.backward()
        return loss.detach(), x.grad

    return both


def black_scholes(T: Any) -> Callable:
    def price(s: Any, k: Any, t: Any) -> Any:
        r, v = 0.05, 0.2
        root = v * t.sqrt()
        d = ((s / k).log() + (r + v * v / 2) * t) / root
        cdf = lambda x: 0.5 * (1 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh())
        return s * cdf(d) - k * (-r * t).exp() * cdf(d - root)

    return price


def adam(p: Any, g: Any, m: Any, v: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - 0.001 * (m / 0.1) / ((v / 0.001).sqrt() + 1e-8), m, v


def programs(T: Any) -> dict[str, tuple[Callable, list[Any]]]:
    """By name: a function and its arguments."""
    F, rows = T.nn.functional, lambda n, m: _numbers(T, n, m)
    labels = T.tensor(np.arange(512) % 1000)
    vector = lambda: _numbers(T, 100_000)
    norm = lambda x: F.layer_norm(x, (768,))
    return {
        "softmax": (lambda x: T.softmax(x, 1), [rows(512, 1000)]),
        "cross entropy, gradient": (
            with_gradient(lambda x: F.cross_entropy(x, labels)), [rows(512, 1000)]),
        "layer norm": (norm, [rows(512, 768)]),
        "layer norm, gradient": (with_gradient(lambda x: norm(x) * x), [rows(512, 768)]),
        "Black-Scholes": (black_scholes(T), [vector(), vector(), vector()]),
        "gelu, gradient": (with_gradient(lambda x: F.gelu(x, approximate="tanh")), [vector()]),
        "Adam": (adam, [vector(), vector(), vector(), vector()]),
        "polynomial": (lambda x: ((x * 0.3 + 1.1) * x - 0.7) * x + 2.3, [vector()]),
        "sum of squares": (lambda x: (x * x).sum(), [vector()]),
        "variance": (lambda x: x.var(1), [rows(512, 768)]),
        "largest": (lambda x: x.amax(1), [rows(512, 768)]),
        "clamped": (lambda x: (x - 0.1).clamp(0.5, 1.0), [vector()]),
        "sums of columns": (lambda x: (x * 2.5).sum(0), [rows(2000, 300)]),
        "softmax of bfloat16": (lambda x: T.softmax(x * 1.5 + x, 1), [rows(512, 1000).bfloat16()]),
        "polynomial of float16": (
            lambda x: ((x * 0.3 + 1.1) * x - 0.7) * x + 2.3, [vector().half()]),
    }


def training(T: Any, name: str, **options: Any) -> Call:
    """A step of a workload of this package."""
    workload = WORKLOADS[name]
    job = workload.torch_style(T, workload.data())

    def step(*batch: Any) -> Any:
        job.optimizer.zero_grad()
        loss = job.loss(*batch)
        loss.backward()
        job.optimizer.step()
        return loss

    compiled = T.compile(step, **options)
    return lambda: compiled(*job.batch)


def calls(T: Any, **options: Any) -> Iterator[tuple[str, Call]]:
    """Every program compiled with these options, by name."""
    for name, (f, xs) in programs(T).items():
        yield name, partial(T.compile(f, **options), *xs)
    for name, workload in WORKLOADS.items():
        if workload.trains:
            yield name, training(T, name, **options)


def least(call: Call, seconds: float) -> float:
    """The least time of a call, of as many as fit."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of programs, or their beginnings")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = "1"
    T = import_module("tracegrad")
    wanted = tuple(options.only.split(","))
    exact, fast = (
        {n: c for n, c in calls(T, **o) if n.startswith(wanted)} for o in ({}, {"fast_math": True})
    )
    print(f"{'':28}{'exact':>10}{'fast':>10}   us")
    for name in exact:
        times = [float("inf")] * 2
        for _ in range(options.rounds):
            for k, call in enumerate((exact[name], fast[name])):
                times[k] = min(times[k], least(call, 0.005))
        one, two = (1e6 * t for t in times)
        print(f"{name:28}{one:10.1f}{two:10.1f}   {one / two:.2f}", flush=True)


if __name__ == "__main__":
    main()
