"""A compiled function called without its Python: by Numba, by C, by SciPy, from a file.

    python examples/elsewhere.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import tracegrad as torch
from tracegrad import nn


def points() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 1, 64)[:, None]
    return x, (3 * x).sin()


def trainer():
    """A step of training on a small network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    @torch.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def numba_trains() -> float:
    """A loop in Numba, each iteration of which is a whole training step."""
    x, y = (t.numpy() for t in points())
    step = trainer()[1].cfunc(x, y)

    @numba.njit
    def train(x, y, steps):
        losses = np.empty(steps)
        for k in range(steps):
            losses[k] = step(x, y)
        return losses

    losses = train(x, y, 500)
    print(f"Numba: the loss went from {losses[0]:.3f} to {losses[-1]:.5f}")
    return losses[-1]


def c_calls() -> float:
    """Value and gradient by a C function pointer."""
    f = torch.compile(lambda x: (x**2).sum())
    pointer = f.cfunc(torch.ones(3), gradient=0)
    x, value, gradient = np.array([1, 2, 3], "f4"), np.empty(1, "f4"), np.empty(3, "f4")
    status = pointer.ctypes(x.ctypes.data, value.ctypes.data, gradient.ctypes.data)
    print(f"C: {pointer.signature} returned {status}: {value[0]}, {gradient}")
    return float(value[0])


def scipy_fits() -> float:
    """L-BFGS on the parameters of a network."""
    x, y = points()
    model, _ = trainer()
    loss = torch.scipy.value_and_grad(lambda: nn.functional.mse_loss(model(x), y), model)
    start = torch.scipy.parameters_to_array(model)
    result = minimize(loss, start, jac=True, method="L-BFGS-B")
    torch.scipy.array_to_parameters(result.x, model)
    print(f"SciPy: L-BFGS found a loss of {result.fun:.7f}")
    return result.fun


def scipy_integrates() -> float:
    """A stiff equation, with the Jacobian that its solver asks for."""

    def flow(t, y):
        return torch.stack((y[1], 200 * ((1 - y[0] ** 2) * y[1]) - y[0]))

    f, jac = (make(flow, argnum=1) for make in (torch.scipy.function, torch.scipy.jac))
    solution = solve_ivp(f, (0, 100), [2.0, 0.0], method="BDF", jac=jac)
    print(f"SciPy: van der Pol's oscillator is at {solution.y[0, -1]:.4f}")
    return solution.y[0, -1]


_OTHER = """
import sys
import tracegrad as torch
program = torch.load_program(sys.argv[1])
x = torch.linspace(-1, 1, 64)[:, None]
for _ in range(100):
    loss = program(x, (3 * x).sin())
print(loss.item())
"""


def a_file_goes_on() -> float:
    """Another process goes on with the training, and never sees the network."""
    _, step = trainer()
    x, y = points()
    for _ in range(100):
        step(x, y)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.tgp"
        step.export(path, x, y)
        command = [sys.executable, "-c", _OTHER, str(path)]
        there = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    for _ in range(100):
        here = step(x, y).item()
    print(f"File: the loss is {there:.6f} in another process, and {here:.6f} here")
    assert there == here
    return there


def c_trains() -> float:
    """A C program trains the network: no Python, nothing of this library. It needs a C compiler."""
    x, y = points()
    _, step = trainer()
    with tempfile.TemporaryDirectory() as folder:
        library, program = Path(folder) / "step.so", Path(folder) / "trainer"
        step.export(library, x, y)
        source = Path(__file__).with_name("trainer.c")
        command = ["cc", "-O1", "-Wall", "-Werror", f"-I{folder}", source, library, "-lm"]
        subprocess.run([*command, "-o", program], check=True)
        losses = subprocess.run([program], capture_output=True, check=True, text=True).stdout
    first, last = (float(word) for word in losses.split())
    print(f"C: the loss went from {first:.3f} to {last:.5f}")
    return last


if __name__ == "__main__":
    parts = [numba_trains, c_calls, scipy_fits, scipy_integrates, a_file_goes_on]
    if shutil.which("cc"):
        parts.append(c_trains)
    for part in parts:
        part()
