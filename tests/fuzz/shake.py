"""How far rounding may carry: a program is run again in torch with its numbers moved by a few units
in their last place, and what that changes is what any order of rounding may change.

Equal numbers are moved alike, so that ties stay ties. It is only asked where the plain tolerance
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .compare import array, attempt, dtype_of, is_tensor
from .orders import first, second, smooth
from .program import Program, Statement, build, code
from .values import EPS, FLOATS

TIMES = 8
UNITS = 4  # by which numbers are moved
FACTOR = 8  # between what was seen and what is allowed


def noise(t: torch.Tensor, seed: int) -> torch.Tensor:
    """Factors around 1, the same for the same number."""
    wild = torch.frac(torch.sin(t.double() * 12.9898 + seed) * 43758.5453)
    return (1 + UNITS * EPS[dtype_of(t)] * torch.nan_to_num(wild)).to(t.dtype)


def move(env: dict[str, Any], names: Sequence[str], seed: int, lattice: bool) -> None:
    """Move the numbers of these tensors, each memory once. Quarters stay if `lattice`: they may
    tie with constants.
    """
    seen = set()
    for name in names:
        t = env.get(name)
        if not isinstance(t, torch.Tensor) or dtype_of(t) not in FLOATS:
            continue
        storage = t.untyped_storage()
        if storage.data_ptr() in seen:
            continue
        seen.add(storage.data_ptr())
        flat = torch.empty(0, dtype=t.dtype).set_(storage)
        factors = noise(flat, seed)
        if lattice:
            factors[(flat * 4 == torch.round(flat * 4)) & (flat.abs() < 16)] = 1
        flat.mul_(factors)


def run(env: dict[str, Any], program: Program, after: Callable = lambda statement: None) -> None:
    """The statements, and what is to be done after each."""
    for s in program.statements:
        try:
            exec(code(s.text), env)
        except Exception:
            continue  # torch refused when it was drawn, too
        after(s)


def farther(found: dict, key: Any, moved: Any, still: Any) -> None:
    """Widen found[key] by how far a tensor has moved."""
    if moved is None or still is None or moved.shape != still.shape:
        found[key] = np.inf
        return
    a, b = array(moved).astype(np.float64), array(still).astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.where(np.isfinite(a) & np.isfinite(b), FACTOR * np.abs(a - b),
                       np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.inf))
    found[key] = np.maximum(found.get(key, 0), gap)


def spread(program: Program, k: int, name: str) -> Any:
    """By how much the numbers that statement k sees, moved, change what it makes of `name`."""
    still = build(program, torch)
    run(still, program.until(k + 1))
    found: dict = {}
    for seed in range(TIMES):
        env = build(program, torch)
        run(env, program.until(k))
        move(env, program.until(k).names, seed, False)
        if attempt(program.statements[k].text, env) is None:
            farther(found, name, env[name], still[name])
    return found.get(name, np.inf)


def spread_of_results(program: Program, names: Sequence[str]) -> dict[str, Any]:
    """By how much moving what every inexact statement makes changes the values at the end."""
    still = build(program, torch)
    run(still, program)
    found: dict = {}
    for seed in range(TIMES):
        env = build(program, torch)

        def after(s: Statement, env: dict = env, seed: int = seed) -> None:
            if not s.exact:
                move(env, s.targets or program.names, seed, False)

        run(env, program, after)
        for name in names:
            if is_tensor(still.get(name)):
                farther(found, name, env[name], still[name])
    return found


def spread_of_gradients(program: Program) -> dict[tuple[int, int], Any]:
    """By how much rounding may change gradients, by (order - 1, number): once with the numbers
    moved, once with what flows back moved.
    """
    still = gradients(program, 0, "")
    found: dict = {}
    for seed in range(TIMES):
        for what in ("numbers", "flow"):
            for order, moved in enumerate(gradients(program, seed, what)):
                for k, g in enumerate(moved):
                    if len(still) > order and still[order][k] is not None:
                        farther(found, (order, k), g, still[order][k])
    return found


def gradients(program: Program, seed: int, what: str) -> list[list]:
    """torch's gradients with numbers moved, or with the flow moved, or just so."""
    env = build(program, torch)
    generator = torch.Generator().manual_seed(seed)

    def moved(g: torch.Tensor | None) -> torch.Tensor | None:
        if g is None:
            return None
        wild = torch.rand(g.shape, generator=generator, dtype=torch.float64) * 2 - 1
        return g * (1 + UNITS * EPS[dtype_of(g)] * wild).to(g.dtype)

    def after(s: Statement) -> None:
        if what == "numbers":
            move(env, program.names, seed, True)
        for t in map(env.get, s.targets) if what == "flow" else ():
            if is_tensor(t) and t.requires_grad:
                t.register_hook(moved)

    run(env, program, after)
    xs = [env[n] for n in program.leaves]
    try:
        gs = first(torch, [env[n] for n in smooth(program, env)], xs)
    except RuntimeError:
        return []
    try:
        return [gs, second(torch, gs, xs)]
    except RuntimeError:
        return [gs]
