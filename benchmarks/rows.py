"""`python -m benchmarks.rows`: compiled loops over rows and columns beside torch, eager, and JAX.

Reductions, softmax, transposes, sorts and selections of a 2048 x 2048 matrix, and training steps
whose time goes into rows. Calls alternate in one process; given is the least time in microseconds,
and the best of the others' over ours. With one thread it is the processor time of that thread,
which other processes disturb less; JAX, which has more threads, takes no part then.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

N = 2048
Run = Callable[[], Any]

# of torch's or tracegrad's namespace and a matrix; and of jax.numpy, jax and a matrix
CELLS: dict[str, tuple[Callable, Callable]] = {
    "copy": (lambda T, x: x.clone(), lambda np, jax, x: x.copy()),
    "sum down columns": (lambda T, x: x.sum(0), lambda np, jax, x: x.sum(0)),
    "max down columns": (lambda T, x: x.amax(0), lambda np, jax, x: x.max(0)),
    "argmax down columns": (lambda T, x: x.argmax(0), lambda np, jax, x: x.argmax(0)),
    "sum along rows": (lambda T, x: x.sum(1), lambda np, jax, x: x.sum(1)),
    "argmax along rows": (lambda T, x: x.argmax(1), lambda np, jax, x: x.argmax(1)),
    "softmax": (lambda T, x: T.softmax(x, 1), lambda np, jax, x: jax.nn.softmax(x, 1)),
    "transposed copy": (lambda T, x: x.t().contiguous(), lambda np, jax, x: x.T.copy()),
    "sort": (lambda T, x: T.sort(x, 1)[0], lambda np, jax, x: np.sort(x, 1)),
    "top-5": (lambda T, x: tuple(T.topk(x, 5, 1)), lambda np, jax, x: jax.lax.top_k(x, 5)),
}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def layer_norm(F: Any, x: Any, w: Any, b: Any) -> Any:
    return F.gelu(F.layer_norm(x, (1024,), w, b)).square().mean()


def nll(F: Any, x: Any, y: Any) -> Any:
    return F.nll_loss(F.log_softmax(x, 1), y)


def logistic(F: Any, w: Any, b: Any, x: Any, y: Any) -> Any:
    return F.binary_cross_entropy_with_logits(x @ w + b, y)


def jax_layer_norm(np: Any, jax: Any, x: Any, w: Any, b: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    y = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w + b
    return (jax.nn.gelu(y, approximate=False) ** 2).mean()


def jax_nll(np: Any, jax: Any, x: Any, y: Any) -> Any:
    return -np.take_along_axis(jax.nn.log_softmax(x, 1), y[:, None], 1).mean()


def jax_logistic(np: Any, jax: Any, w: Any, b: Any, x: Any, y: Any) -> Any:
    z = x @ w + b
    return (np.logaddexp(0, z) - z * y).mean()


# a loss for torch and tracegrad, the same for JAX, what is differentiated, and the batch
STEPS: dict[str, tuple[Callable, Callable, list[np.ndarray], list[np.ndarray]]] = {
    "LayerNorm + GELU 4096 x 1024, gradients": (
        layer_norm, jax_layer_norm, [normal(4096, 1024), normal(1024), normal(1024)], []),
    "softmax + NLL 4096 x 1000, gradient": (
        nll, jax_nll, [normal(4096, 1000)], [np.arange(4096) % 1000]),
    "logistic regression 569 x 30, gradients": (
        logistic, jax_logistic, [normal(30), normal()],
        [normal(569, 30), (normal(569) > 0).astype(np.float32)]),
}


def torch_step(T: Any, name: str) -> Run:
    loss, _, parameters, batch = STEPS[name]
    leaves = [T.from_numpy(a.copy()).requires_grad_() for a in parameters]
    rest = [T.from_numpy(a) for a in batch]

    def step(*batch: Any) -> Any:
        for leaf in leaves:
            leaf.grad = None
        value = loss(T.nn.functional, *leaves, *batch)
        value.backward()
        return value

    if T.__name__ == "tracegrad":
        step = T.compile(step)
    return lambda: step(*rest)


def torch_cell(T: Any, name: str) -> Run:
    f, x = CELLS[name][0], T.from_numpy(normal(N, N))
    compiled = T.compile(lambda x: f(T, x)) if T.__name__ == "tracegrad" else lambda x: f(T, x)
    return lambda: compiled(x)


def jax_run(jax: Any, name: str) -> Run:
    numpy = jax.numpy
    if name in CELLS:
        f, args = CELLS[name][1], [numpy.asarray(normal(N, N))]
    else:
        _, loss, parameters, batch = STEPS[name]
        args = [numpy.asarray(a) for a in (*parameters, *batch)]
        f = lambda np, jax, *args: jax.value_and_grad(
            lambda *args: loss(np, jax, *args), argnums=tuple(range(len(parameters))))(*args)
    jitted = jax.jit(lambda *args: f(numpy, jax, *args))
    return lambda: jax.block_until_ready(jitted(*args))


def runs(name: str, libraries: dict[str, Any]) -> dict[str, Run]:
    return {
        key: jax_run(library, name) if key == "jax"
        else (torch_cell if name in CELLS else torch_step)(library, name)
        for key, library in libraries.items()
    }


def least(
    contestants: dict[str, Run], seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
    """The least time of a call of each, in microseconds; calls alternate."""
    best = dict.fromkeys(contestants, float("inf"))
    for run in contestants.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, run in contestants.items():
            count = 20 if best[key] < 1000 else 1
            began = clock()
            for _ in range(count):
                run()
            best[key] = min(best[key], (clock() - began) / count * 1e6)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--only", default="", help="the beginnings of names, with commas")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each; default: %(default)s")
    chosen = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    alone, libraries = chosen.threads == 1, {}
    clock = time.thread_time if alone else time.perf_counter
    for name in ("tracegrad", "torch") if alone else ("tracegrad", "torch", "jax"):
        try:
            libraries[name] = importlib.import_module(name)
        except ImportError:
            print(f"without {name}")
    if "torch" in libraries:
        libraries["torch"].set_num_threads(chosen.threads)
    print(f"{'':42}" + "".join(f"{key:>12}" for key in libraries) + "       ratio")
    for name in (*CELLS, *STEPS):
        if not name.startswith(tuple(chosen.only.split(","))):
            continue
        best = least(runs(name, libraries), chosen.seconds, clock)
        others = min((t for key, t in best.items() if key != "tracegrad"), default=float("nan"))
        print(f"{name:42}" + "".join(f"{t:12,.1f}" for t in best.values())
              + f"{others / best['tracegrad']:12.2f}", flush=True)


if __name__ == "__main__":
    main()
