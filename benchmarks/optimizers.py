"""`python -m benchmarks.optimizers`: steps of optimizers beside torch's.

No function is compiled around them. The parameters are those of a GPT of 4 layers, 128 wide, or of
a small classifier. Each step has other gradient tensors, as after an eager backward; setting them
is not timed. Contestants take turns, some steps at a time; given are the least times in
microseconds, and the best of torch's over ours. With one thread it is the processor time of that
thread, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

STEPS = 10  # of a turn
FIRST, WARM = 20, 1.0  # steps, and seconds, ahead of the first turn: they are compiled by then

_BLOCK = [(128,), (128,), (384, 128), (384,), (128, 128), (128,), (128,), (128,), (512, 128),
          (512,), (128, 512), (128,)]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "GPT 4x128": [(65, 128), (128, 128), *_BLOCK * 4, (128,), (128,), (65, 128)],
    "MLP 4-32-16-4": [(32, 4), (32,), (16, 32), (16,), (4, 16), (4,)],
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "AdamW": {}, "Adam": {"amsgrad": True}, "SGD": {"momentum": 0.9}, "RMSprop": {},
    "Adagrad": {}, "NAdam": {}, "Adafactor": {},
}
FUSED = ("AdamW", "Adam", "SGD", "Adagrad")  # of torch's on a CPU
Run = Callable[[], float]  # the seconds of a step
clock = [time.perf_counter]


class Parameters:
    """Parameters and two sets of gradients, which steps use in turns."""

    def __init__(self, T: Any, shapes: list[tuple[int, ...]]) -> None:
        rng, self.turn = np.random.default_rng(0), 0

        def tensors() -> list[Any]:
            return [T.tensor(rng.standard_normal(s).astype(np.float32)) for s in shapes]

        self.all = [T.nn.Parameter(t) for t in tensors()]
        self.grads = tensors(), tensors()

    def fill(self) -> None:
        self.turn ^= 1
        for p, grad in zip(self.all, self.grads[self.turn], strict=True):
            p.grad = grad

    def timed(self, act: Callable[[], Any]) -> Run:
        def run() -> float:
            self.fill()
            began = clock[0]()
            act()
            return clock[0]() - began

        return run


def optimizer_runs(T: Any, name: str, shapes: list[tuple[int, ...]]) -> dict[str, Run]:
    """By the name of a column: a step of this library's optimizer."""
    ours = T.__name__ == "tracegrad"
    kinds = {"compiled": {}, "eager": {"fused": False}} if ours else {
        "torch fused": {"fused": True}, "torch foreach": {"foreach": True},
    }
    made = {}
    for label, options in kinds.items():
        if "fused" in options and name not in FUSED:
            continue
        parameters = Parameters(T, shapes)
        optimizer = getattr(T.optim, name)(parameters.all, **OPTIMIZERS[name], **options)
        made[label] = parameters.timed(optimizer.step)
    return made


def clipping_runs(T: Any, name: str, shapes: list[tuple[int, ...]]) -> dict[str, Run]:
    """The same of what is done with gradients between backward and step."""
    parameters = Parameters(T, shapes)
    act = {
        "clip_grad_norm_": lambda: T.nn.utils.clip_grad_norm_(parameters.all, 1.0),
        "clip_grad_value_": lambda: T.nn.utils.clip_grad_value_(parameters.all, 0.5),
        "zero_grad": T.optim.SGD(parameters.all, lr=0.1).zero_grad,
    }[name]
    return {"eager" if T.__name__ == "tracegrad" else "torch foreach": parameters.timed(act)}


def race(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """The least time of each, in microseconds."""
    least = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        end, count = time.perf_counter() + WARM, 0
        while count < FIRST or time.perf_counter() < end:
            run()
            count += 1
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for label, run in runs.items():
            least[label] = min(least[label], *(run() * 1e6 for _ in range(STEPS)))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizers", description=__doc__)
    parser.add_argument("--only", default="", help="the beginnings of names, with commas")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each; default: %(default)s")
    chosen = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    libraries = [importlib.import_module(name) for name in ("tracegrad", "torch")]
    libraries[1].set_num_threads(chosen.threads)
    if chosen.threads == 1:
        clock[0] = time.thread_time
    columns = "compiled", "eager", "torch fused", "torch foreach"
    print("| | " + " | ".join(columns) + " | ratio |\n|---|" + "---:|" * 5)
    makers = dict.fromkeys(OPTIMIZERS, optimizer_runs)
    makers |= dict.fromkeys(("clip_grad_norm_", "clip_grad_value_", "zero_grad"), clipping_runs)
    for model, shapes in SHAPES.items():
        for name, maker in makers.items():
            if not name.startswith(tuple(chosen.only.split(","))):
                continue
            runs: dict[str, Run] = {}
            for T in libraries:
                runs |= maker(T, name, shapes)
            times = race(runs, chosen.seconds)
            best = min(t for label, t in times.items() if label.startswith("torch"))
            cells = [f"{times[c]:,.0f}" if c in times else "-" for c in columns]
            ratio = best / (times.get("compiled") or times["eager"])
            print(f"| {model}, {name} | {' | '.join(cells)} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
