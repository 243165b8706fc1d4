"""Random programs that look at values of tensors: numbers that leave and are computed with,
branches, shapes that depend on values. Each is run in torch, in ours eagerly and compiled, with
other values at each call; results, state and what is printed are compared.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from textwrap import indent
from types import ModuleType
from typing import Any

import numpy as np
import torch

import tracegrad

from .training import attempt

# {a}, {b}: vectors of 4 doubles; {d}: a vector whose length depends on values; {k}, {m}: numbers;
# {n}: a small int. A number is never compared or rounded where the last digit would decide.
VECTORS = """
{a} * 0.5 + {b}
T.tanh({a} * {b})
{a} * w
{a} * {k}
{a} + {k} * 0.1
{k} - {a}
{a} / (1.5 + abs({k}))
T.full((4,), {k} * 1.0, dtype=T.float64) + {a}
{a} + {d}.sum()
{a} * {d}.numel()
{a} - T.cat([{d}, {a}])[:4]
T.where({a} > 0.37, {a}, {b} * 0.5)
{a}.masked_fill({b} > 0.37, 0.25)
{a}.clamp(-2, {n} + 0.5)
{a} + T.tensor([{k}, {m}, 0.5, {n}], dtype=T.float64)
{a} ** ({n} % 3 + 1) * 0.1
T.cat([{a}[{n} % 4:], {a}[: {n} % 4]])
{a} * [0.5, 1.5, 2.5][{n} % 3]
{a} + T.arange({n} % 5, dtype=T.float64).sum()
{a}.roll({n} % 4)
{a} + T.ones({n} % 3, dtype=T.float64).sum()
{a}.index_select(0, T.tensor([{n} % 4, 1])).sum() + {b}
buffer + {a}
helper({a}, {k})
""".strip().splitlines()
LENGTHS = """
{a}[{a} > 0.37]
{a}[{a} > 0.37] * {k}
{a}[{a} > {b} + 0.01].exp()
{a}.masked_select({b} < 0.37) + {k}
{a}[({b} > 0.37).nonzero()[:, 0]]
T.unique({a}.detach().round())
{a}[: {n} % 5] * 2
T.cat([{d}, {a}[:1]])
{d} * 0.5
{d}[{d} > 0.61]
{a}.repeat_interleave(T.tensor([0, 1, 2, {n} % 3]))
T.where({a} > 0.37)[0].double() + {k}
{d}.sort()[0]
T.bincount(({a}.abs() * 1.3).long() % 4).double()
""".strip().splitlines()
NUMBERS = """
{a}.sum().item()
float({a}[0])
float({a}.mean())
{a}.tolist()[2]
{a}.max().item()
{d}.sum().item()
float({d}.sum()) * 0.5
max({k}, {m} + 0.01)
min([{k}, float({a}[1]) + 0.01, 1.37])
{k} * 0.5 - {m}
abs({k}) ** 0.5
{k} / (1 + abs({m}))
math.tanh({k}) + math.exp(-abs({m}))
sum(float(x) for x in {a})
sum({a}.tolist()) * 0.25
{k} if {m} > 0.37 else {k} * 0.5
round({k}, 9)
{n} * 0.25
divmod({k}, 2.5)[0] * 0 + {m}
next((float(x) for x in {a} if float(x) > 0.37), 0.5)
""".strip().splitlines()
COUNTS = """
({a} > 0.37).sum().item()
int(({a} > 0.37).sum())
int({a}[0] * 3 + 0.137)
{a}.argmax().item()
int({a}.argmin())
len({d})
{d}.shape[0] + 1
{n} + 1
({n} * 3 + 1) % 7
abs({n}) // 2
int(abs({k}) * 2 + 0.137)
len([x for x in {a}.tolist() if x > 0.37])
{d}.numel() * 2
""".strip().splitlines()
TESTS = """
{a}.sum() > 0.37
{a}[1] > {b}[2] + 0.013
{k} > 0.37
float({a}[3]) < {m} + 0.013
{n} % 2 == 0
{n} > 2
len({d}) > 2
({a} > 0.37).any()
not ({a} > 1.37).all()
0.137 < {k} < 2.37
bool({d}.numel())
T.isfinite({a}).all()
{a}.max().item() > 1.37 and {k} < 3.37
""".strip().splitlines()
ACTS = """
state["sum"] += {k}
state["count"] += {n}
state["best"] = min(state["best"], {k} + 0.0137)
history.append({k})
history.append(float({a}[0]))
history.append({n})
buffer.add_({a}.detach() * 0.5)
buffer[{n} % 4] = {k}
buffer.mul_(0.5 if {k} > 0.37 else 0.25)
holder.last = {k}
holder.steps += 1
print(f"{{{k}:.3f}} {{{n}}}")
print("sum", {n}, len({d}))
assert {a}.sum().item() == {a}.sum().item()
""".strip().splitlines()


class Writer:
    def __init__(self, rng: Random):
        self.rng, self.count = rng, 0

    def name(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def fill(self, template: str, pools: dict[str, list[str]]) -> str:
        some = lambda pool: pool[int(len(pool) * self.rng.random() ** 0.6)]
        return template.format(a=some(pools["v"]), b=some(pools["v"]), d=some(pools["d"]),
                               k=some(pools["k"]), m=some(pools["k"]), n=some(pools["n"]))

    def one_of(self, rows: list[str], pools: dict[str, list[str]]) -> str:
        return self.fill(self.rng.choice(rows), pools)

    def statement(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        r = self.rng.random()
        if r < 0.16 and depth < 2:
            return self.branch(pools, depth)
        if r < 0.24 and depth < 2:
            return self.loop(pools, depth)
        if r < 0.40:
            return [self.one_of(ACTS, pools)]
        letter, rows = self.rng.choice((("v", VECTORS), ("v", VECTORS), ("d", LENGTHS),
                                        ("k", NUMBERS), ("k", NUMBERS), ("n", COUNTS)))
        name = self.name(letter)
        line = f"{name} = {self.one_of(rows, pools)}"
        pools[letter].append(name)
        return [line]

    def inner(self, pools: dict[str, list[str]], depth: int, target: str) -> list[str]:
        """A block that sets `target`, a vector or a number."""
        own = {letter: list(names) for letter, names in pools.items()}
        lines = [x for _ in range(self.rng.randint(1, 2)) for x in self.statement(own, depth + 1)]
        rows = {"v": VECTORS, "k": NUMBERS}[target[0]]
        return ["    " + x for x in (*lines, f"{target} = {self.one_of(rows, own)}")]

    def branch(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        target = self.name(self.rng.choice("vvk"))
        lines = [f"if {self.one_of(TESTS, pools)}:", *self.inner(pools, depth, target),
                 "else:", *self.inner(pools, depth, target)]
        pools[target[0]].append(target)
        return lines

    def loop(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        target, turn = self.name(self.rng.choice("vk")), self.name("t")
        start = self.one_of({"v": VECTORS, "k": NUMBERS}[target[0]], pools)
        pools[target[0]].append(target)
        inner = self.inner(pools, depth, target)
        last = f"    {target} = T.tanh({target})" if target[0] == "v" else (
            f"    {target} = math.tanh({target})")
        over = self.one_of(["range(int({n}) % 4)", "{a}.tolist()[:2]", "range({n} % 3, 3)"], pools)
        head = f"for {turn} in {over}:"
        return [f"{target} = {start}", head, *inner, last]


SETUP = """
state, history = {"sum": 0.0, "count": 0, "best": math.inf}, []
buffer = T.zeros(4, dtype=T.float64)
w = T.tensor([0.5, -1.25, 0.75, 1.5], dtype=T.float64, requires_grad=True)
class Holder:
    last, steps = 0.5, 0
holder = Holder()
def helper(a, k):
    if a.sum() * k > 0.37:
        return a * 0.5
    return a + float(k) * 0.25
""".strip()


@dataclass(frozen=True)
class Looks:
    blocks: tuple[tuple[str, ...], ...]
    returns: tuple[str, ...]
    backward: bool

    @property
    def text(self) -> str:
        lines = [x for block in self.blocks for x in block]
        result = ", ".join(self.returns)
        if self.backward:
            lines += [f"loss = sum((v.double() ** 2).sum() for v in [{result}] if T.is_tensor(v))",
                      "w.grad = None", "(loss + (w * x).sum()).backward()"]
        body = indent("\n".join(lines), "    ")
        return (f"{SETUP}\ndef f(x):\n    v0 = x * 1\n    d0 = x[:2]\n    k0, n0 = float(x[0]), 3\n"
                f"{body}\n    return {result},")


def draw(seed: int, index: int) -> Looks:
    rng = Random(f"looks {seed}:{index}")
    writer = Writer(rng)
    pools = {"v": ["v0"], "d": ["d0"], "k": ["k0"], "n": ["n0"]}
    blocks = [tuple(writer.statement(pools, 0)) for _ in range(rng.randint(3, 8))]
    returns = [pools["v"][-1], *(rng.choice(pools[letter]) for letter in "vdkn")]
    return Looks(tuple(blocks), tuple(dict.fromkeys(returns)), rng.random() < 0.4)


def inputs(T: ModuleType) -> list[Any]:
    rows = [[0.5, -1.25, 2.0, 0.25], [-0.75, 0.5, 0.25, -2.0], [3.0, 1.5, -0.5, 0.125],
            [0.0, 0.0, 0.0, 0.0], [-1.0, -2.0, -0.25, -3.0]]
    return [T.tensor(row, dtype=T.float64) for row in (*rows, *rows[:3])]


def plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        return str(value.dtype).split(".")[-1], value.requires_grad, value.detach().tolist()
    if isinstance(value, dict):
        return [*value, *map(plain, value.values())]
    return [plain(x) for x in value] if isinstance(value, (list, tuple)) else value


def run(program: Looks, T: ModuleType, compile_: Callable) -> Iterator[Any]:
    """After each call: what it returned, all state, and what it printed."""
    import math

    env: dict[str, Any] = {"T": T, "math": math, "__name__": "looks"}
    exec(compile(program.text, "<looks>", "exec"), env)
    f = compile_(env["f"])
    for x in inputs(T):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            out = f(x)
        holder = env["holder"]
        w = env["w"]
        yield plain([out, env["state"], env["history"], env["buffer"], holder.last, holder.steps,
                     w.grad if w.grad is not None else 0.0, printed.getvalue()])


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return bool(np.isclose(a, b, 1e-6, 1e-8, equal_nan=True))
    return bool(a == b)


def examine(program: Looks) -> str:
    """In words, the first difference of eager from torch, or compiled from eager; or nothing."""
    ways = [run(program, torch, lambda f: f), run(program, tracegrad, lambda f: f),
            run(program, tracegrad, tracegrad.compile)]
    for k in range(len(inputs(tracegrad))):
        theirs, eager, compiled = map(attempt, ways)
        for way, a, b in (("torch", eager, theirs), ("compiled", compiled, eager)):
            if isinstance(a, Exception) or isinstance(b, Exception):
                if type(a) is not type(b):
                    return f"{way}: call {k}: {shown(a)}; expected {shown(b)}"
            elif not same(a, b):
                return f"{way}: call {k}: {a}\n    expected {b}"
        if isinstance(theirs, Exception):
            return ""
    return ""


def shown(result: Any) -> str:
    if isinstance(result, Exception):
        return f"{type(result).__name__}: {result}"[:400]
    return "no error"


def shrink(program: Looks, way: str) -> Looks:
    """Without the blocks that are not needed for a difference of that way."""
    smaller = True
    while smaller:
        smaller = False
        for k in range(len(program.blocks)):
            less = replace(program, blocks=program.blocks[:k] + program.blocks[k + 1 :])
            if examine(less).startswith(way):
                program, smaller = less, True
                break
    return program


def faults(seed: int, indices: range) -> Iterator[str]:
    """The programs of a seed that differ."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for index in indices:
            program = draw(seed, index)
            if said := examine(program):
                small = shrink(program, said.split(":")[0])
                yield f"{seed}:{index} {examine(small)}\n{small.text}\n"
