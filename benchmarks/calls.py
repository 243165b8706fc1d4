"""`python -m benchmarks.calls`: what a call of a compiled function costs in Python.

The programs do next to nothing, so a call is guards, pointers, the native call and outputs. Given
are microseconds of processor time: of the whole call; of its walk of the launch list, timed alone;
the difference, which is Python's; and torch's eager call of the same function.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

Case = tuple[Callable[..., Any], Callable[[], Any]]  # the function, and a call of it

CALLS = 200  # of a turn


def of_tensors(T: Any, count: int) -> Case:
    args = [T.ones(4) for _ in range(count)]
    f = compiled(T, lambda *xs: sum(xs[1:], xs[0] * 2))
    return f, lambda: f(*args)


def in_a_list(T: Any) -> Case:
    args = [T.ones(4) for _ in range(8)]
    f = compiled(T, lambda xs: sum(xs[1:], xs[0] * 2))
    return f, lambda: f(args)


def of_numbers(T: Any, count: int) -> Case:
    x, numbers = T.ones(4), [0.5 + k for k in range(count)]
    f = compiled(T, lambda x, *ns: sum(ns, x * 2))
    turn = iter(range(1 << 60))
    return f, lambda: f(x, *(n + next(turn) for n in numbers))


def model_of(T: Any) -> tuple[Any, Any, Any]:
    T.manual_seed(0)
    model = T.nn.Sequential(T.nn.Linear(4, 4), T.nn.Tanh(), T.nn.Linear(4, 1))
    return model, T.ones(2, 4), T.ones(2, 1)


def inference(T: Any) -> Case:
    model, x, _ = model_of(T)
    f = compiled(T, lambda x: model(x))

    def call() -> Any:
        with T.no_grad():
            return f(x)

    return f, call


def loss_only(T: Any) -> Case:
    model, x, y = model_of(T)
    f = compiled(T, lambda x, y: T.nn.functional.mse_loss(model(x), y))
    return f, lambda: f(x, y)


def loss_and_backward(T: Any) -> Case:
    model, x, y = model_of(T)
    f = compiled(T, lambda x, y: T.nn.functional.mse_loss(model(x), y))
    parameters = list(model.parameters())

    def call() -> None:
        for p in parameters:
            p.grad = None
        f(x, y).backward()

    return f, call


def whole_step(T: Any) -> Case:
    model, x, y = model_of(T)
    optimizer = T.optim.SGD(model.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = T.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    f = compiled(T, step)
    return f, lambda: f(x, y)


CASES: dict[str, Callable[[Any], Case]] = {
    "1 tensor": lambda T: of_tensors(T, 1),
    "8 tensors": lambda T: of_tensors(T, 8),
    "64 tensors": lambda T: of_tensors(T, 64),
    "a list of 8 tensors": in_a_list,
    "1 tensor, 1 number": lambda T: of_numbers(T, 1),
    "1 tensor, 8 numbers": lambda T: of_numbers(T, 8),
    "MLP, no_grad": inference,
    "MLP, loss only": loss_only,
    "MLP, loss only and backward": loss_and_backward,
    "MLP, whole step": whole_step,
}


def compiled(T: Any, f: Callable) -> Callable:
    return T.compile(f) if T.__name__ == "tracegrad" else f


def walks(f: Any) -> list[tuple[Callable[[int], int], int]]:
    """The native calls of a call: the walk and what it walks, of the program and its backward."""
    entry = f.tracegrad_state.latest()
    executables = [entry.executable]
    if entry.derivative is not None:
        executables += [one.executable for one in entry.derivative.backwards.values()]
    return [(e.walk, e.whole) for e in executables]


def least(calls: list[Callable[[], Any]], seconds: float) -> list[float]:
    """The least processor time of each call in microseconds; they take turns."""
    best, end = [float("inf")] * len(calls), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for k, call in enumerate(calls):
            began = time.thread_time()
            for _ in range(CALLS):
                call()
            best[k] = min(best[k], (time.thread_time() - began) / CALLS * 1e6)
    return best


def walk_all(native: list[tuple[Callable[..., Any], Any]]) -> None:
    for walk, span in native:
        walk(span)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--only", default="", help="the beginnings of names, with commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each; default: %(default)s")
    chosen = parser.parse_args()
    libraries = [importlib.import_module("tracegrad")]
    try:
        libraries.append(importlib.import_module("torch"))
        libraries[1].set_num_threads(1)
    except ImportError:
        print("without torch")
    print("| call | us | native | Python | torch |\n|---|---:|---:|---:|---:|")
    for name, make in CASES.items():
        if not name.startswith(tuple(chosen.only.split(","))):
            continue
        calls, functions = [], []
        for T in libraries:
            f, call = make(T)
            functions.append(f)
            calls.append(call)
            for _ in range(5):
                call()
        calls.append(partial(walk_all, walks(functions[0])))
        ours, *theirs, walked = least(calls, chosen.seconds)
        torch = f"{theirs[0]:.1f}" if theirs else "-"
        print(f"| {name} | {ours:.2f} | {walked:.2f} | {ours - walked:.2f} | {torch} |", flush=True)


if __name__ == "__main__":
    main()
