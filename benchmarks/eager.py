"""`python -m benchmarks.eager`: what single operations cost without `compile`, beside torch.

Every operation is measured three times: forward, forward with the gradient recorded, and the
backward of that. Ours and torch's alternate in one process, in short batches; given is the least
time of a call in microseconds. Sizes count the elements of the operands.

    python -m benchmarks.eager                            # all, with 4, 1000 and 10^6 elements
    python -m benchmarks.eager --sizes 4 --only sum,x[1]  # a choice
    python -m benchmarks.eager --json eager.json          # the times, to compare two versions
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Run = Callable[[], Any]
ROUNDS, BATCH = 12, 2e-3  # batches of each contestant, and the seconds that one takes
KINDS = ("forward", "recorded", "backward")

# a, b: vectors; A, B: square matrices; p: a vector of positive numbers; i: whole numbers
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "a + b": lambda T, x: x.a + x.b,
    "a + 1.0": lambda T, x: x.a + 1.0,
    "a - b": lambda T, x: x.a - x.b,
    "a * b": lambda T, x: x.a * x.b,
    "a / b": lambda T, x: x.a / x.b,
    "-a": lambda T, x: -x.a,
    "a ** 2": lambda T, x: x.a**2,
    "A + row": lambda T, x: x.A + x.row,
    "where": lambda T, x: T.where(x.mask, x.a, x.b),
    "maximum": lambda T, x: T.maximum(x.a, x.b),
    "clamp": lambda T, x: x.a.clamp(-1.0, 1.0),
    "exp": lambda T, x: x.a.exp(),
    "log": lambda T, x: x.p.log(),
    "sqrt": lambda T, x: x.p.sqrt(),
    "tanh": lambda T, x: T.tanh(x.a),
    "sigmoid": lambda T, x: T.sigmoid(x.a),
    "relu": lambda T, x: T.relu(x.a),
    "gelu": lambda T, x: T.nn.functional.gelu(x.a),
    "sum": lambda T, x: x.a.sum(),
    "sum(dim)": lambda T, x: x.A.sum(1),
    "mean": lambda T, x: x.a.mean(),
    "max": lambda T, x: x.a.max(),
    "max(dim)": lambda T, x: x.A.max(1)[0],
    "var": lambda T, x: x.a.var(),
    "softmax": lambda T, x: T.softmax(x.A, 1),
    "log_softmax": lambda T, x: T.log_softmax(x.A, 1),
    "cumsum": lambda T, x: x.a.cumsum(0),
    "A @ B": lambda T, x: x.A @ x.B,
    "linear": lambda T, x: T.nn.functional.linear(x.A, x.B, x.row),
    "layer_norm": lambda T, x: T.nn.functional.layer_norm(x.A, x.row.shape),
    "mse_loss": lambda T, x: T.nn.functional.mse_loss(x.a, x.b),
    "cross_entropy": lambda T, x: T.nn.functional.cross_entropy(x.A, x.labels),
    "x[1]": lambda T, x: x.a[1],
    "x[1:3]": lambda T, x: x.a[1:3],
    "x[i]": lambda T, x: x.a[x.labels],
    "reshape": lambda T, x: x.A.reshape(-1),
    "view": lambda T, x: x.A.view(-1),
    "A.t()": lambda T, x: x.A.t(),
    "unsqueeze": lambda T, x: x.a.unsqueeze(0),
    "cat": lambda T, x: T.cat([x.a, x.b]),
    "stack": lambda T, x: T.stack([x.a, x.b]),
    "clone": lambda T, x: x.a.clone(),
}
# those that record nothing
PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "a > b": lambda T, x: x.a > x.b,
    "argmax": lambda T, x: x.a.argmax(),
    "add_": lambda T, x: x.a.add_(0.0),
    "x[1].item()": lambda T, x: x.a[1].item(),
    "shape": lambda T, x: x.a.shape,
    "detach": lambda T, x: x.a.detach(),
    "zeros": lambda T, x: T.zeros(x.n),
    "tensor(3.0)": lambda T, x: T.tensor(3.0),
    "randn": lambda T, x: T.randn(x.n),
    "arange": lambda T, x: T.arange(x.n),
    "no_grad": lambda T, x: _entered(T.no_grad()),
}


def _entered(context: Any) -> None:
    with context:
        pass


def operands(T: Any, n: int, requires_grad: bool) -> SimpleNamespace:
    """The operands of all operations, the same for both libraries."""
    rng, k = np.random.default_rng(0), math.isqrt(n)

    def leaf(array: Any) -> Any:
        return T.tensor(np.asarray(array, np.float32), requires_grad=requires_grad)

    return SimpleNamespace(
        n=n, a=leaf(rng.standard_normal(n)), b=leaf(rng.standard_normal(n)),
        A=leaf(rng.standard_normal((k, k))), B=leaf(rng.standard_normal((k, k))),
        row=leaf(rng.standard_normal(k)), p=leaf(rng.uniform(0.5, 2, n)),
        mask=T.tensor(rng.standard_normal(n) > 0), labels=T.tensor(rng.integers(0, k, k)),
    )


def _backward(T: Any, function: Callable, x: SimpleNamespace) -> Run:
    y = function(T, x)
    weight = T.ones(tuple(y.shape))

    def run() -> None:
        y.backward(weight, retain_graph=True)

    return run


def calls(T: Any, function: Callable, n: int, kind: str) -> Run:
    """A call of one operation without arguments."""
    x = operands(T, n, kind != "forward")
    return _backward(T, function, x) if kind == "backward" else lambda: function(T, x)


# ---- what takes several operations
def _small(T: Any) -> Run:
    a, b = (T.randn(8, 8, requires_grad=True) for _ in range(2))

    def step() -> None:
        (T.relu(a @ b) ** 2).mean().backward()

    return step


def _mlp(T: Any, backward: bool) -> Run:
    nn = T.nn
    model = nn.Sequential(*[m for _ in range(10) for m in (nn.Linear(16, 16), nn.ReLU())])
    x, optimizer = T.randn(8, 16), T.optim.SGD(model.parameters(), 0.0)

    def step() -> None:
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    return step if backward else lambda: model(x)


PROGRAMS: dict[str, Callable[[Any], Run]] = {
    "(relu(a @ b) ** 2).mean(), backward": _small,
    "MLP of 10 layers, forward": lambda T: _mlp(T, False),
    "MLP of 10 layers, step of SGD": lambda T: _mlp(T, True),
}


# ---- measuring
def _batch(run: Run, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - begin) / count


def measure(ours: Run, theirs: Run) -> tuple[float, float]:
    """The least time of each in microseconds."""
    best, counts = [math.inf, math.inf], []
    for run in (ours, theirs):
        run()
        counts.append(max(1, int(BATCH / max(_batch(run, 3), 1e-8))))
    for _ in range(ROUNDS):
        for k, run in enumerate((ours, theirs)):
            best[k] = min(best[k], _batch(run, counts[k]))
    return best[0] * 1e6, best[1] * 1e6


def rows(libraries: tuple[Any, Any], sizes: list[int], only: list[str]) -> dict[str, list]:
    """For each row of the table its times: ours and torch's, or None, for each kind."""
    table: dict[str, list] = {}
    for name, program in PROGRAMS.items():
        if not only or name in only:
            table[name] = [measure(*map(program, libraries)), None, None]
    for n in sizes:
        for name, function in {**OPERATIONS, **PLAIN}.items():
            if only and name not in only:
                continue
            kinds = KINDS if name in OPERATIONS else KINDS[:1]
            times = [measure(*(calls(T, function, n, kind) for T in libraries)) for kind in kinds]
            table[f"{name}, {n}"] = [*times, None, None][:3]
    return table


def show(table: dict[str, list]) -> str:
    """The table in Markdown."""
    lines = [f"| us: ours, torch | {' | '.join(KINDS)} |", "|---" * 4 + "|"]
    for name, times in table.items():
        cells = ["" if t is None else f"{t[0]:.1f}, {t[1]:.1f} ({t[0] / t[1]:.1f}x)" for t in times]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="4,1000,1000000")
    parser.add_argument("--only", default="", help="names of rows, separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the times into this file")
    options = parser.parse_args()
    libraries = importlib.import_module("tracegrad"), importlib.import_module("torch")
    for T in libraries:
        T.set_num_threads(options.threads)
    only = [name for name in options.only.split(",") if name]
    table = rows(libraries, [int(n) for n in options.sizes.split(",")], only)
    print(show(table))
    if options.json:
        options.json.write_text(json.dumps(table))


if __name__ == "__main__":
    main()
