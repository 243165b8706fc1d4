"""Random programs of loops and branches: in torch as plain Python loops, in ours eagerly and
compiled. Their results, gradients, and all tensors that they write are compared after each call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from textwrap import indent
from types import ModuleType
from typing import Any

import numpy as np
import torch

import tracegrad

from .plain_loops import leaves, plain
from .training import attempt, differ

CALLS = 3
CLOSE = {"torch": 1e-6, "compiled": 1e-8}  # relative, of doubles

# a, b: vectors of 3 doubles; i: an int64; p: a bool; q: a float16. All give a vector.
PURE = """
T.tanh({a})
T.sin({a}) + {b}
{a} * {b}
{a} * 0.5 - {b}
T.relu({a})
T.sigmoid({a}) * {b}
T.maximum({a}, {b} * 0.9)
T.where({a} > {b} * 1.1, {a}, {b} * 0.5)
{a} / (1 + {b} * {b})
T.exp(-{a} * {a})
{a} @ w
w @ {a}
linear({a})
F.linear({a}, w, {b})
(T.outer({a}, {b}) @ w).mean(0)
{a}.sum() * 0.1 + {b}
{a} - {a}.mean()
{a}.softmax(0)
{a}.cumsum(0) * 0.3
{a} + ({a} * {b}).sum()
{a}[{i} % 3] + {b}
table[{i} % 4] * {a}
table.index_select(0, ({i} % 4).reshape(1)).sum(0) + {a}
embedding({i} % 4) + {a}
T.cat([{a}[1:], {b}[:1]])
T.stack([{a}, {b}]).sum(0)
{a}.flip(0)
T.roll({a}, 1)
{a}.reshape(3, 1).expand(3, 3).mean(0)
T.where({p}, {a}, {b})
{a} * {p}
{a} + {q}.double()
{a} * {i} * 0.1
T.sort({a} + table[0])[0]
{a}.detach() * {b}
norm({a})
F.conv1d({a}.reshape(1, 1, 3), w[:1].reshape(1, 1, 3), padding=1).reshape(3)
T.zeros_like({a}).scatter_add(0, T.stack([{i} % 3, {i} % 2]), {b}[:2])
T.func.grad(lambda t: (T.tanh(t) * {b}.detach()).sum())({a})
""".strip().splitlines()
ALONE = """
{v} = {a}.clone(); {v}[1] = {b}.sum()
{v} = {a}.clone(); {v}[{i} % 3] = 0.5
{v} = {a} * 1; {v}.mul_({b})
{v} = {a} * 1; {v}[:2] += {b}[1:]
{v} = {a} + 0; {v}.masked_fill_({b} > 0.5, 0.25)
""".strip().splitlines()
WRITES = """
buffer.mul_(0.9).add_({a}.detach()); {v} = {a} + buffer
buffer[{i} % 3] = {a}.detach().sum(); {v} = {a} * 2
count.add_(1); {v} = {a} * (count % 3)
{v} = buffer + {a}; buffer.copy_({b}.detach())
{v} = bn(T.stack([{a}, {b}, {a} * {b}]))[0]
{v} = bn_plain(T.stack([{a}, {b}]))[1]
memory[1:].copy_(memory[:-1].clone()); memory[0] = {a}.detach(); {v} = memory.sum(0) + {b}
""".strip().splitlines()
DRAWS = """
{v} = F.dropout({a}, 0.4)
{v} = {a} + T.randn(3, dtype=T.float64)
{v} = {a} * T.rand_like({b})
{v} = drop({a}) + T.randint(0, 3, (3,))
""".strip().splitlines()
INTEGERS = ("({i} * 3 + 1) % 7", "{i} + 1", "{i} // 2 + ({a}.sum() > 0).long()", "{a}.argmax()",
            "T.maximum({i}, -{i}) % 5")
BOOLS = ("~{p}", "{p} & ({a}.sum() > 0)", "{a}[0] > {b}[1]", "{p} ^ ({i} % 2 == 0)")
HALVES = ("{q} * 0.5 + 1", "{q} + {a}.detach()[0].half() * 0.25", "-{q}")


class Writer:
    """Text of a body. Pools hold the names that a statement may read."""

    def __init__(self, rng: Random, allowed: set[str]):
        self.rng, self.allowed, self.count = rng, allowed, 0
        self.pairs = rng.random() < 0.3  # whether two carries are a dict

    def name(self, letter: str) -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def fill(self, template: str, pools: dict[str, list[str]], **more: str) -> str:
        r = self.rng
        some = lambda pool: pool[int(len(pool) * r.random() ** 0.6)]
        return template.format(a=some(pools["v"]), b=some(pools["v"]), i=some(pools["i"]),
                               p=some(pools["p"]), q=some(pools["q"]), **more)

    def statements(self, pools: dict[str, list[str]], n: int, depth: int) -> list[str]:
        r, lines = self.rng, []
        for _ in range(n):
            kind = r.random()
            if kind < 0.12 and depth < 2:
                lines += self.loop(pools, depth + 1)
                continue
            v = self.name("v")
            if kind < 0.22:
                lines += self.fill(r.choice(ALONE), pools, v=v).split("; ")
            elif kind < 0.34 and "writes" in self.allowed:
                lines += self.fill(r.choice(WRITES), pools, v=v).split("; ")
            elif kind < 0.40 and "draws" in self.allowed:
                lines += self.fill(r.choice(DRAWS), pools, v=v).split("; ")
            else:
                lines.append(f"{v} = " + self.fill(r.choice(PURE), pools))
            pools["v"].append(v)
        return lines

    def updates(self, pools: dict[str, list[str]], carried: list[str]) -> list[str]:
        """New values of carries, as expressions."""
        news = []
        for c in carried:
            rows = {"v": ("T.tanh({a})", "T.tanh({a} + {b})", "T.sin({a})"), "i": INTEGERS,
                    "p": BOOLS, "q": HALVES}[c[0]]
            news.append(self.fill(self.rng.choice(rows), pools))
        return news

    def body(self, head: str, pools: dict[str, list[str]], own: list[str], depth: int,
             results: Callable[[dict], str]) -> list[str]:
        inner = {k: [*names, *(n for n in own if n[0] == k)] for k, names in pools.items()}
        lines = self.statements(inner, self.rng.randint(1, 4 if depth < 2 else 2), depth)
        if self.rng.random() < 0.2 and any(n[0] == "v" for n in own):
            lines.insert(0, next(n for n in own if n[0] == "v") + ".mul_(0.75)")
        return [head, *("    " + x for x in lines), f"    return {results(inner)}"]

    def loop(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        kind = self.rng.choice(("scan", "scan", "scan", "fori_loop", "while_loop", "cond", "map"))
        return getattr(self, kind)(pools, depth)

    def carried(self) -> list[str]:
        kinds = ["v", *self.rng.choices("vvvipq", k=self.rng.choice((0, 0, 1, 2)))]
        return [self.name(k) for k in kinds]

    def nested(self, names: list[str]) -> str:
        """Carries as a pytree."""
        if len(names) == 1:
            return names[0]
        if len(names) == 2 and self.pairs:
            return f"{{'one': {names[0]}, 'two': {names[1]}}}"
        return f"({names[0]}, [{', '.join(names[1:])}])"

    def initial(self, pools: dict[str, list[str]], carried: list[str]) -> list[str]:
        """What carries begin with."""
        rows = {"v": ("{a}", "{a} * 0.5", "T.zeros(3, dtype=T.float64)", "table[1]"),
                "i": ("{i}", "T.tensor(2)"), "p": ("{p}", "T.tensor(True)"), "q": ("{q}",)}
        return [self.fill(self.rng.choice(rows[c[0]]), pools) for c in carried]

    def scan(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        r, f, c, x = self.rng, self.name("f"), self.name("c"), self.name("x")
        carried, own = self.carried(), [self.name("v")]
        names = list(carried)
        unpack = [f"{self.nested(carried)} = {c}"]
        xs, dim = r.choice((("xs", 0), ("xs", 0), ("xs.t()", 1), ("xs[1:]", 0), ("xs[:1]", 0),
                            ("xs[::2]", 0), ("xs.expand(2, -1, -1).sum(0).t()", 1)))
        unpack.append(f"{own[0]} = {x}")
        if dim == 0 and r.random() < 0.4:
            own.append(self.name("i"))
            take = {"xs[1:]": "ks[1:]", "xs[:1]": "ks[:1]", "xs[::2]": "ks[::2]"}.get(xs, "ks")
            xs, unpack[1] = f"({xs}, {take})", f"{own[0]}, {own[1]} = {x}"
        ys: list[str] = []

        def results(inner: dict) -> str:
            new = self.updates(inner, carried)
            outs = [r.choice(inner["v"][-4:]) for _ in range(r.choice((0, 1, 1, 2)))]
            if r.random() < 0.2:
                outs.append(inner["v"][-1] + ".sum()")
            if r.random() < 0.2 and inner["i"][-1] != "i0":
                outs.append(inner["i"][-1])
            ys.extend(outs)
            y = "None" if not outs else f"({', '.join(outs)},)"
            return f"{self.nested(new)}, {y}"

        text = self.body(f"def {f}({c}, {x}):", pools, [*names, *own], depth, results)
        text[1:1] = ["    " + u for u in self.destructured(unpack, carried, c)]
        more = "".join([f", dim={dim}" * (dim > 0), ", reverse=True" * (r.random() < 0.35),
                        ", checkpoints=2" * (r.random() < 0.1 and "writes" not in self.allowed)])
        out, rows = self.name("o"), self.name("r")
        start = self.nested(self.initial(pools, carried))
        text.append(f"{out}, {rows} = L.scan({f}, {start}, {xs}{more})")
        text += self.destructured([f"{self.nested(carried)} = {out}"], carried, out)
        for n in carried:
            pools[n[0]].append(n)
        for k, y in enumerate(ys):
            v = self.name("v")
            flat = y.endswith(".sum()") or y[0] == "i"
            text.append(f"{v} = table[0] * {rows}[{k}].double().mean()" if flat
                        else f"{v} = {rows}[{k}].mean({'0' if not dim else '1'})")
            pools["v"].append(v)
        return text

    def destructured(self, lines: list[str], carried: list[str], c: str) -> list[str]:
        """A dict cannot be assigned to: its parts are."""
        if len(carried) == 2 and self.pairs:
            return [f"{carried[0]} = {c}['one']", f"{carried[1]} = {c}['two']", *lines[1:]]
        return lines

    def fori_loop(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        r, f, i, c = self.rng, self.name("f"), self.name("i"), self.name("c")
        carried = self.carried()
        text = self.body(f"def {f}({i}, {c}):", pools, [*carried, i], depth,
                         lambda inner: self.nested(self.updates(inner, carried)))
        text[1:1] = ["    " + u for u in self.destructured(
            [f"{self.nested(carried)} = {c}"], carried, c)]
        lower, upper = r.choice((("0", "4"), ("1", "2"), ("2", "2"), ("0", "n"), ("-1", "2"),
                                 ("0", "5"), ("3", "1")))
        out = self.name("o")
        start = self.nested(self.initial(pools, carried))
        text.append(f"{out} = L.fori_loop({lower}, {upper}, {f}, {start})")
        text += self.destructured([f"{self.nested(carried)} = {out}"], carried, out)
        for n in carried:
            pools[n[0]].append(n)
        return text

    def while_loop(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        r, f, g, i = self.rng, self.name("f"), self.name("g"), self.name("i")
        carried = self.carried()
        args = ", ".join([i, *carried])
        test = r.choice(("{i} < 4", "({i} < 6) & ({v}.sum() < 2)", "{i} < n", "{i} < 0",
                         "({i} < 40) & ({v}[0] > -0.4)", "{i} < {i} * 0 + 3"))
        text = [f"def {g}({args}):", f"    return {test.format(i=i, v=carried[0])}"]
        text += self.body(f"def {f}({args}):", pools, [*carried, i], depth, lambda inner:
                          f"({', '.join([i + ' + 1', *self.updates(inner, carried)])},)")
        again = "" if "writes" in self.allowed else ", checkpoints=3"  # which calls it twice
        more = r.choice(("", "", ", max_iterations=50", again))
        start = ", ".join(["T.tensor(0)", *self.initial(pools, carried)])
        out = ", ".join([i, *carried])
        text.append(f"{out}, = L.while_loop({g}, {f}, ({start},){more})")
        for n in (i, *carried):
            pools[n[0]].append(n)
        return text

    def cond(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        r, f, g = self.rng, self.name("f"), self.name("g")
        own, outs = [self.name("v")], self.carried()
        text = []
        for side in (f, g):
            text += self.body(f"def {side}({own[0]}):", pools, own, depth, lambda inner:
                              f"({', '.join(self.updates(inner, outs))},)")
        p = self.fill(r.choice(("{p}", "{a}.sum() > 0", "{i} % 2 == 0", "{a}[0] > {b}[1]")), pools)
        text.append(f"{', '.join(outs)}, = L.cond({p}, {f}, {g}, "
                    f"({self.fill('{a}', pools)},))")
        for n in outs:
            pools[n[0]].append(n)
        return text

    def map(self, pools: dict[str, list[str]], depth: int) -> list[str]:
        f, x, v = self.name("f"), self.name("v"), self.name("v")
        text = self.body(f"def {f}({x}):", pools, [x], depth, lambda inner: inner["v"][-1])
        xs = self.rng.choice(("xs", "xs[1:3]", "xs.flip(0)"))
        text.append(f"{v} = L.map({f}, {xs}).mean(0)")
        pools["v"].append(v)
        return text


SETUP = """
linear, bn, bn_plain = nn.Linear(3, 3).double(), nn.BatchNorm1d(3).double(), \
nn.BatchNorm1d(3, affine=False, momentum=None).double()
norm, embedding, drop = nn.LayerNorm(3).double(), nn.Embedding(4, 3).double(), nn.Dropout(0.3)
modules = nn.ModuleList([linear, bn, bn_plain, norm, embedding])
fill(modules)
buffer, count, memory = T.zeros(3, dtype=T.float64), T.tensor(0), T.zeros(2, 3, dtype=T.float64)
i0, p0 = T.tensor(1), T.tensor(True)
state = [buffer, count, memory]
optimizer = T.optim.OPTIMIZER
""".strip()
OPTIMIZERS = ("SGD(modules.parameters(), lr=0.05)",
              "SGD(modules.parameters(), lr=0.05, momentum=0.9)",
              "Adam(modules.parameters(), lr=0.01, eps=0.01)")
LOSS = ("loss = linear(xs).square().mean()"
        " + sum((o.double() * o.double()).mean() for o in leaves(main(xs, w, table, ks, n)))")
WAYS = {  # what is compiled: its lines and what it returns
    "values": ("return main(xs, w, table, ks, n)",),
    "gradients": (LOSS, "return T.autograd.grad(loss, [xs, w, table, *modules.parameters()],"
                  " materialize_grads=True)"),
    "second": (LOSS, "g = T.autograd.grad(loss, [xs, w, table], create_graph=True,"
               " materialize_grads=True)",
               "s = sum(t.square().sum() for t in g if t.requires_grad)",
               "return g, T.autograd.grad(s, [xs, w, table], materialize_grads=True)"
               " if hasattr(s, 'grad_fn') and s.requires_grad else None"),
    "jvp": ("return T.func.jvp(lambda a, b: [o.double() for o in leaves("
            "main(a, b, table, ks, n))], (xs, w), (xs.cos(), w.sin()))",),
    "vmap": ("return T.func.vmap(lambda a, b: [o.double() for o in leaves("
             "main(a, b, table, ks, n))])(T.stack([xs, xs * 0.5]), T.stack([w, -w]))",),
    "vmapgrad": ("return T.func.vmap(T.func.grad(lambda a: sum((o.double() * o.double()).mean()"
                 " for o in leaves(main(a, w, table, ks, n)))))(T.stack([xs, -xs]))",),
    "training": ("optimizer.zero_grad()", LOSS, "loss.backward()", "optimizer.step()",
                 "return loss.detach()"),
    "epoch": ("def step(total, x):", "    optimizer.zero_grad()",
              "    loss = linear(x).square().mean() + sum((o.double() * o.double()).mean()"
              " for o in leaves(main(x, w, table, ks, n)))",
              "    loss.backward()", "    optimizer.step()",
              "    return total + loss.detach(), loss.detach()",
              "return L.scan(step, T.zeros((), dtype=T.float64),"
              " T.stack([xs, xs * 0.7, -xs]).detach())"),
}


@dataclass(frozen=True)
class Loops:
    way: str
    lines: tuple[str, ...]
    outputs: tuple[str, ...]
    optimizer: str
    draws: bool

    @property
    def text(self) -> str:
        return "\n".join([
            SETUP.replace("OPTIMIZER", self.optimizer),
            "def main(xs, w, table, ks, n):",
            "    v0, q0 = xs[0] * 1, xs.detach()[0, 0].half()",
            *("    " + x for x in self.lines),
            f"    return ({', '.join(self.outputs)},)",
            "def step(xs, w, table, ks, n):",
            indent("\n".join(WAYS[self.way]), "    "),
        ])


def draw(seed: int, index: int) -> Loops:
    rng = Random(f"loops {seed}:{index}")
    way = rng.choice(list(WAYS))
    allowed = {"writes"} if way in ("values", "gradients", "training") else set()
    if rng.random() < 0.3 and not way.startswith("vmap"):
        allowed.add("draws")
    writer = Writer(rng, allowed)
    pools = {"v": ["v0"], "i": ["i0"], "p": ["p0"], "q": ["q0"]}
    lines: list[str] = []
    for _ in range(rng.randint(1, 2)):
        lines += writer.loop(pools, 0)
    outs = [*dict.fromkeys([pools["v"][-1], *rng.choices(pools["v"], k=2), pools["i"][-1],
                            pools["q"][-1]])]
    text = "\n".join(lines)
    draws = any(word in text for word in ("dropout", "rand", "drop("))
    return Loops(way, tuple(lines), tuple(outs), rng.choice(OPTIMIZERS), draws)


def run(program: Loops, T: ModuleType, L: Any, compiled: bool) -> Iterator[list[np.ndarray]]:
    """After each call: what it returned, and all state."""

    def fill(model: Any) -> None:
        with T.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(T.sin(T.arange(p.numel(), dtype=T.float64) * (k + 1.7)).reshape(p.shape))

    env: dict[str, Any] = {"T": T, "nn": T.nn, "F": T.nn.functional, "fill": fill, "L": L,
                           "leaves": leaves}
    exec(compile(program.text, "<loops>", "exec"), env)
    step = T.compile(env["step"]) if compiled else env["step"]
    T.manual_seed(0)
    for k in range(CALLS):
        wave = lambda n, s: T.sin(T.arange(n, dtype=T.float64) * s + k)  # noqa: B023
        xs, w, table = wave(15, 1.3).reshape(5, 3), wave(9, 0.7).reshape(3, 3), wave(12, 2.1)
        inputs = [xs, w, table.reshape(4, 3)]
        if program.way in ("gradients", "second"):
            inputs = [t.requires_grad_() for t in inputs]
        out = step(*inputs, (T.arange(5) * 3 + k) % 4, T.tensor(k + 1))
        modules = env["modules"]
        grads = [T.zeros_like(p) if p.grad is None else p.grad  # zeros of a side not taken
                 for p in modules.parameters()]
        shown = [*leaves(out), *env["state"], *modules.state_dict().values(), *grads]
        yield [t.detach().numpy().copy() for t in shown]


def examine(program: Loops) -> str:
    """In words, the first difference of eager from torch, or compiled from eager; or nothing."""
    if program.way.startswith("vmap"):  # torch cannot branch there
        witness = run(program, tracegrad, tracegrad, False)
    else:  # torch draws other numbers
        T = tracegrad if program.draws else torch
        witness = run(program, T, plain(T), False)
    ways = [witness, run(program, tracegrad, tracegrad, False),
            run(program, tracegrad, tracegrad, True)]
    kept = []
    for way in ways:
        states = []
        for _ in range(CALLS):
            states.append(attempt(way))
            if isinstance(states[-1], Exception):
                break
        kept.append(states)
    for k, (theirs, eager, compiled) in enumerate(zip(*kept, strict=False)):
        for way, a, b in (("torch", eager, theirs), ("compiled", compiled, eager)):
            if isinstance(a, Exception) or isinstance(b, Exception):
                if not (isinstance(a, Exception) and isinstance(b, Exception)):
                    said = [f"{type(e).__name__}: {e}" if isinstance(e, Exception) else "no error"
                            for e in (a, b)]
                    return f"{way}: call {k}: {said[0][:300]}; expected {said[1][:300]}"
            elif words := differ(a, b, CLOSE[way]):
                return f"{way}: call {k}: {words}"
    return ""


def faults(seed: int, indices: range) -> Iterator[str]:
    """The programs of a seed that differ."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for index in indices:
            program = draw(seed, index)
            if said := examine(program):
                yield f"{seed}:{index} {program.way} {said}\n{program.text}\n"
