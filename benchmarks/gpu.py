"""Training steps on a GPU, beside torch eager, torch.compile(mode="reduce-overhead") and JAX.

    python -m benchmarks.gpu                           # the ladder, then everything: some minutes
    python -m benchmarks.gpu --only GPT,softmax        # by the beginning of names
    python -m benchmarks.gpu --peers eager             # peers of choice; those that are installed
    python -m benchmarks.gpu --markdown docs/gpu.md    # the table of that page

The ladder comes first: programs from one operation to a training step, on the GPU and on the CPU,
whose numbers must agree. If a rung breaks, nothing is timed. Each contestant then has a process of
its own. Losses of the first steps must agree with tracegrad's on the CPU; who differs gets no time.
A time is the median over rounds of the time of a step, a round ending when the GPU is done. Whoever
would start after `--minutes` is left out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .jax_programs import jax_program
from .machine import versions
from .process import ROOT
from .programs import NETWORKS, Made, numbers
from .report import microseconds, splice, table, times
from .worker import number
from .workload import JaxJob
from .workloads import WORKLOADS

LABELS = {
    "tracegrad": "tracegrad", "eager": "torch eager", "compile": "torch.compile", "jax": "JAX",
}
FRAMEWORKS = {"tracegrad": "tracegrad", "eager": "torch", "compile": "torch", "jax": "jax"}
CHECKED = 5  # steps whose losses are compared
CLOSE = {"bfloat16": 3e-2, "float32": 1e-3}
SAME_NUMBERS = ("linear regression", "softmax", "layer norm")
ROUNDS, ROUND_SECONDS, MOST_STEPS = 9, 0.2, 2000


# ---- programs
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4096, 1024)).astype(np.float32)


def softmax(T: Any) -> Made:
    return lambda x: T.softmax(x * 2.0, dim=-1).sum(0)[:8].sum(), (T.from_numpy(rows()),)


def layer_norm(T: Any) -> Made:
    x, weight = T.from_numpy(rows()), T.ones(1024).requires_grad_()

    def step(x: Any) -> Any:
        y = T.nn.functional.layer_norm(x, (1024,), weight)
        (gradient,) = T.autograd.grad((y * x).mean(), weight)
        return gradient.sum()

    return step, (x,)


def regression(T: Any) -> Made:
    workload = WORKLOADS["linear-regression"]
    made = workload.torch_style(T, workload.data())

    def step(x: Any, y: Any) -> Any:
        made.optimizer.zero_grad()
        loss = made.loss(x, y)
        loss.backward()
        made.optimizer.step()
        return loss

    return step, tuple(made.batch)


_NETWORKS = ("MLP 20-32-3", "MLP 784-256-256-10", "LeNet", "PINN", "GPT 4x128")
PROGRAMS: dict[str, tuple[Callable[[Any], Made], str]] = {
    "linear regression": (regression, "float32"),
    **{name: (NETWORKS[name], "float32") for name in _NETWORKS},
    "GPT 4x128 bfloat16": (NETWORKS["GPT 4x128"], "bfloat16"),
    "softmax 4096x1024": (softmax, "float32"),
    "layer norm 4096x1024": (layer_norm, "float32"),
}


class Placed:
    """torch or tracegrad, with NumPy's arrays going to a device too."""

    def __init__(self, framework: Any, device: str):
        self._framework, self._device = framework, device
        framework.set_default_device(device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._framework, name)

    def from_numpy(self, array: np.ndarray) -> Any:
        return self._framework.from_numpy(array).to(self._device)


def made(T: Any, name: str, device: str) -> Made:
    build, dtype = PROGRAMS[name]
    T.manual_seed(0)
    T.set_default_dtype(getattr(T, dtype))
    return build(Placed(T, device))


# ---- the ladder
def rungs(T: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Programs that give a tensor, the simplest first."""
    x, w, i = numbers(T, 33, 70), numbers(T, 70, 50, seed=1), T.from_numpy(np.array([3, 0, -1]))
    yield "map", lambda: T.exp(x) * 2 + T.tanh(x)
    yield "row", lambda: T.softmax(x, dim=-1)
    yield "column", lambda: x.sum(0)
    yield "sum of all", lambda: (x * x).sum()
    yield "product", lambda: x @ w
    yield "index", lambda: x[i]
    yield "cumsum", lambda: x.cumsum(-1)
    yield "sort", lambda: x.sort(dim=-1).values
    yield "random numbers", lambda: T.rand(1000)
    yield "convolution", lambda: T.nn.functional.conv2d(
        x.reshape(1, 1, 33, 70), w[:3, :3].reshape(1, 1, 3, 3))
    yield "cholesky", lambda: T.linalg.cholesky(x @ x.T + 40 * T.eye(33))
    yield "loop", lambda: T.stack(list(_recurrence(T, x))).mean(0)


def _recurrence(T: Any, x: Any) -> Iterator[Any]:
    c = T.zeros(70)
    for t in range(33):
        c = T.tanh(c * 0.5 + x[t])
        yield c


def ladder(T: Any, say: Callable[[str], None], device: str = "cuda") -> bool:
    """Whether each rung gives on the device what it gives on the CPU, compiled and eagerly."""
    results: dict[str, list[np.ndarray]] = {}
    for where in ("cpu", device):
        for name, program in rungs(Placed(T, where)):
            for run in (program, T.compile(program)):
                T.manual_seed(0)
                try:
                    results.setdefault(name, []).append(run().detach().cpu().numpy())
                except Exception as error:
                    say(f"{name} on {where}: {type(error).__name__}: {error}")
                    return False
    T.set_default_device("cpu")
    for name, (first, *others) in results.items():
        wrong = max(float(np.abs(first - other).max()) for other in others)
        say(f"{name}: differs by {wrong:.1e}")
        if not wrong <= 1e-4 * max(1.0, float(np.abs(first).max())):
            return False
    return True


# ---- in the process of a contestant
def measured(name: str, contestant: str, device: str) -> dict[str, Any]:
    framework = import_module(FRAMEWORKS[contestant])
    if contestant == "jax":
        call = _jax_call(framework, name)
        if call is None:
            return {"error": "not written"}
    else:
        step, arguments = made(framework, name, device)
        if contestant == "tracegrad":
            step = framework.compile(step)
        elif contestant == "compile":
            step = framework.compile(step, mode="reduce-overhead")
        call = partial(step, *arguments)
    losses = [number(call()) for _ in range(CHECKED)]
    return {"losses": losses, "seconds": timed(call) if device != "cpu" else []}


def _jax_call(jax: Any, name: str) -> Callable[[], Any] | None:
    job = _jax_job(jax, name)
    if job is None:
        return None
    step, state = jax.jit(job.step), [job.state]

    def call() -> Any:
        state[0], loss = step(state[0], *job.batch)
        return loss

    return call


def _jax_job(jax: Any, name: str) -> JaxJob | None:
    if name == "linear regression":
        workload = WORKLOADS["linear-regression"]
        return workload.jax_style(jax, workload.data())
    x = jax.numpy.asarray(rows())
    if name.startswith("softmax"):
        soft = jax.nn.softmax
        return JaxJob(lambda state, x: (state, soft(x * 2.0, axis=-1).sum(0)[:8].sum()), [x])
    if name.startswith("layer norm"):
        def loss(weight: Any, x: Any) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            return (centred * scale * weight * x).mean()

        gradient = jax.grad(loss)
        return JaxJob(lambda w, x: (w, gradient(w, x).sum()), [x], jax.numpy.ones(1024))
    program = jax_program(name)
    return program and program(jax)


def timed(call: Callable[[], Any]) -> list[float]:
    """Seconds of a step, for each round. Reading the last loss waits for the GPU."""
    def run(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            loss = call()
        number(loss)
        return (time.perf_counter() - began) / steps

    run(10)
    steps = min(max(int(ROUND_SECONDS / run(20)), 1), MOST_STEPS)
    return [run(steps) for _ in range(ROUNDS)]


# ---- the table
def asked(name: str, contestant: str, device: str, patience: float) -> dict[str, Any]:
    """What `measured` gives in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", name, contestant, device]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(patience, 1.0)
        )
    except subprocess.TimeoutExpired:
        return {"error": "no time left"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["failed"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, contestants: list[str], until: float, say: Callable[[str], None]) -> list[str]:
    wanted = asked(name, "tracegrad", "cpu", until - time.monotonic())
    cells, ours = [], 0.0
    for contestant in contestants:
        result = asked(name, contestant, "cuda", until - time.monotonic())
        error = result.get("error") or wanted.get("error") or _disagreement(
            name, contestant, result["losses"], wanted["losses"])
        if error:
            say(f"{name}, {LABELS[contestant]}: {error}")
            cells.append("-")
            continue
        seconds = median(result["seconds"])
        ours = seconds if contestant == "tracegrad" else ours
        beside = f" ({times(seconds / ours)})" if ours and contestant != "tracegrad" else ""
        cells.append(microseconds(seconds) + beside)
        say(f"{name}, {LABELS[contestant]}: {cells[-1]} us")
    return [name, *cells]


def _disagreement(
    name: str, contestant: str, losses: list[float], wanted: list[float]
) -> str:
    if FRAMEWORKS[contestant] != "tracegrad" and not name.startswith(SAME_NUMBERS):
        return ""  # a network starts from what its framework draws
    close = CLOSE[PROGRAMS[name][1]]
    if np.allclose(losses, wanted, rtol=close, atol=close):
        return ""
    return f"wrong losses: {losses}, and on the CPU {wanted}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="NAMES")
    parser.add_argument("--peers", default="eager,compile,jax")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(measured(*options.one)))
        return 0

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    T, until = import_module("tracegrad"), time.monotonic() + 60 * options.minutes
    if not T.cuda.is_available():
        say(f"no CUDA device: {T.cuda.why_not()}")
        return 1
    if not ladder(T, say):
        say("a rung of the ladder is broken: nothing is timed")
        return 1
    contestants = ["tracegrad", *(p for p in options.peers.split(",") if p)]
    names = tuple(options.only.split(","))
    rows = [row(n, contestants, until, say) for n in PROGRAMS if n.startswith(names)]
    device = f"{T.cuda.get_device_name()}, {datetime.date.today()}"
    software = ", ".join(f"{name} {number}" for name, number in versions().items())
    head = ["us/step", *(LABELS[c] for c in contestants)]
    text = f"{device}; {software}\n\n{table(head, rows)}"
    print(text)
    if options.markdown:
        splice(options.markdown, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
