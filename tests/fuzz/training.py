"""Random training programs: a network, a loss, an optimizer, and six steps of them, in torch, in
ours eagerly and in ours compiled. What a step returns, all parameters and buffers, are compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from random import Random
from textwrap import indent
from types import ModuleType
from typing import Any

import numpy as np
import torch

import tracegrad

BATCHES = (3, 3, 5, 3, 2, 5)
CLOSE = {"torch": 1e-6, "compiled": 1e-8}  # relative, of doubles

LAYERS = """
nn.Linear(4, 4)
nn.Linear(4, 4, bias=False)
nn.LayerNorm(4)
nn.LayerNorm(4, elementwise_affine=False)
nn.RMSNorm(4)
nn.BatchNorm1d(4)
nn.BatchNorm1d(4, momentum=None)
nn.BatchNorm1d(4, affine=False, track_running_stats=False)
nn.GroupNorm(2, 4)
nn.Tanh()
nn.ReLU()
nn.GELU()
nn.SiLU()
nn.ELU()
nn.Softplus()
nn.PReLU()
nn.Dropout(0.0)
nn.Identity()
nn.Softmax(-1)
nn.Sequential(nn.Linear(4, 8), nn.GLU(-1))
nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(8, 4))
nn.Sequential(nn.Unflatten(1, (2, 2)), nn.ConvTranspose1d(2, 1, 3), nn.Flatten())
nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten())
nn.Sequential(nn.Unflatten(1, (1, 4)), nn.AvgPool1d(2), nn.Upsample(scale_factor=2), nn.Flatten())
nn.Sequential(nn.Unflatten(1, (1, 4)), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(2, 4))
""".strip().splitlines()
LOSSES = """
F.mse_loss(out, y)
F.mse_loss(out, y, reduction="sum")
F.smooth_l1_loss(out, y)
F.huber_loss(out, y, delta=0.5)
F.cross_entropy(out, y.argmax(1))
F.cross_entropy(out, y.softmax(1), label_smoothing=0.1)
F.binary_cross_entropy_with_logits(out, y.sigmoid())
F.kl_div(out.log_softmax(1), y.softmax(1), reduction="batchmean")
F.gaussian_nll_loss(out, y, out.exp())
(out - y).abs().mean()
((out - y) ** 2).sum(1).mean()
1 - F.cosine_similarity(out, y).mean()
nn.HuberLoss()(out, y)
""".strip().splitlines()
# eps is large, as gradients of zero but for rounding would become steps of one
OPTIMIZERS = """
SGD({p}, lr=0.1)
SGD({p}, lr=0.1, momentum=0.9)
SGD({p}, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
SGD({p}, lr=0.1, momentum=0.9, dampening=0.5)
SGD({p}, lr=0.1, maximize=True)
Adam({p}, lr=0.01, eps=0.01)
Adam({p}, lr=0.01, eps=0.01, amsgrad=True, weight_decay=0.1)
AdamW({p}, lr=0.01, eps=0.01)
RMSprop({p}, lr=0.01, eps=0.01)
RMSprop({p}, lr=0.01, eps=0.01, centered=True, momentum=0.9)
Adagrad({p}, lr=0.1, lr_decay=0.1, eps=0.01)
""".strip().splitlines()
PARAMETERS = (
    "model.parameters()",
    "[{'params': model[0].parameters()}, {'params': model[1:].parameters(), 'lr': 0.03}]",
)
PREPARED = (  # before the first step
    "model[0].weight.register_hook(lambda g: g * 2)",
    "model[0].weight.requires_grad_(False)",
    "model.register_forward_hook(lambda m, i, o: o * 2)",
    "model[1].register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))",
    "model[-1].register_forward_pre_hook(lambda m, i: (i[0] + 1,))",
    "model[0].weight.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(0.5))",
    "model.tied = model[0].weight",
)
BEFORE = (  # before backward
    "loss = loss + 0.01 * sum((p ** 2).sum() for p in model.parameters())",
    "if loss > 1:\n    loss = loss * 0.5",
    "loss = loss + (out.detach() * out).mean()",
    "with T.no_grad():\n    scale = out.abs().mean()\nloss = loss * scale",
    "for k in range(3):\n    loss = loss + 0.1 * k * out[:, k].mean()",
    "gs = T.autograd.grad(loss, [model[0].weight], create_graph=True, allow_unused=True)\n"
    "loss = loss + 0.1 * sum((g ** 2).sum() for g in gs if g is not None)",
    "x = x.clone().requires_grad_()\nloss = loss + T.autograd.grad(model(x).sum(), x,"
    " create_graph=True)[0].square().mean()",
    "loss = loss + T.func.vmap(lambda r: (r * r).sum())(out).mean()",
    "out.register_hook(lambda g: g * 0.5)",
    "while loss > 4:\n    loss = loss * 0.5",
    "buffer.mul_(0.9).add_(out.detach().mean())\nloss = loss * (1 + buffer)",
)
AFTER = (  # after backward
    "nn.utils.clip_grad_norm_(model.parameters(), 0.5)",
    "nn.utils.clip_grad_value_(model.parameters(), 0.05)",
    "for p in model.parameters():\n    if p.grad is not None:\n        p.grad.add_(0.01)",
    "F.mse_loss(model(x), y).backward()",
    "for p in model.parameters():\n    if p.grad is not None:\n        p.grad = p.grad * 0.5",
)
LAST = (  # after optimizer.step()
    "with T.no_grad():\n    for q, p in zip(average, model.parameters()):\n        q.lerp_(p, 0.1)",
    "with T.no_grad():\n    for p in model.parameters():\n        p.clamp_(-1, 1)",
    "scheduler.step()",
    "loss = loss.detach()",
    "model[0].weight.data.mul_(0.99)",
)
BETWEEN = (  # outside of the step, before call number k
    "optimizer.param_groups[0]['lr'] = 0.01 * k",
    "model.train(k % 2 == 0)",
    "model[0].weight.requires_grad_(k % 3 != 0)",
    "scheduler.step()",
    "model.load_state_dict({n: t * 0.9 for n, t in model.state_dict().items()})",
    "x = x.t().contiguous().t()",
    "optimizer.load_state_dict(optimizer.state_dict())",
    "x = x.float().double()[:, [3, 1, 0, 2]]",
)
SCHEDULERS = ("StepLR(optimizer, 2, 0.5)", "ExponentialLR(optimizer, 0.9)",
              "CosineAnnealingLR(optimizer, 5)", "LambdaLR(optimizer, lambda e: 0.8 ** e)")


@dataclass(frozen=True)
class Training:
    layers: tuple[str, ...]
    loss: str
    optimizer: str
    scheduler: str
    prepared: str = ""
    before: str = ""
    after: str = ""
    last: str = ""
    between: str = ""

    @property
    def text(self) -> str:
        body = [f"loss = {self.loss}", self.before, "loss.backward()", self.after,
                "optimizer.step()", self.last, "return loss"]
        return "\n".join([
            f"model = nn.Sequential({', '.join(self.layers)}).double()",
            "fill(model)",
            f"optimizer = T.optim.{self.optimizer}",
            f"scheduler = T.optim.lr_scheduler.{self.scheduler}",
            "average = [p.detach().clone() for p in model.parameters()]",
            "buffer = T.zeros((), dtype=T.float64)",
            self.prepared,
            "def step(x, y):",
            "    optimizer.zero_grad()",
            "    out = model(x)",
            indent("\n".join(line for line in body if line), "    "),
            "def between(k, x):",
            indent(self.between or "pass", "    "),
            "    return x",
        ])


def draw(seed: int, index: int) -> Training:
    rng = Random(f"training {seed}:{index}")
    some = lambda rows, share=0.5: rng.choice(rows) if rng.random() < share else ""
    layers = ("nn.Linear(4, 4)", *rng.choices(LAYERS, k=rng.randint(1, 3)))
    optimizer = rng.choice(OPTIMIZERS).format(p=rng.choice(PARAMETERS))
    return Training(layers, rng.choice(LOSSES), optimizer, rng.choice(SCHEDULERS),
                    some(PREPARED, 0.4), some(BEFORE), some(AFTER, 0.4), some(LAST, 0.4),
                    some(BETWEEN))


def run(program: Training, T: ModuleType, compiled: bool) -> Iterator[list[np.ndarray]]:
    """After each step: the loss, parameters, buffers, gradients, and averages."""

    def fill(model: Any) -> None:
        with T.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(T.sin(T.arange(p.numel(), dtype=T.float64) * (k + 1.7)).reshape(p.shape))

    env: dict[str, Any] = {"T": T, "nn": T.nn, "F": T.nn.functional, "fill": fill}
    exec(compile(program.text, program.text, "exec"), env)
    step = T.compile(env["step"]) if compiled else env["step"]
    for k, n in enumerate(BATCHES):
        x = T.sin(T.arange(4 * n, dtype=T.float64) * (1.3 + k)).reshape(n, 4)
        y = T.cos(T.arange(4 * n, dtype=T.float64) * (0.7 + k)).reshape(n, 4)
        loss = step(env["between"](k, x), y)
        model = env["model"]
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        shown = [loss, *model.state_dict().values(), *gradients, *env["average"], env["buffer"]]
        yield [t.detach().numpy().copy() for t in shown]


def differ(mine: list[np.ndarray], theirs: list[np.ndarray], close: float) -> str:
    if len(mine) != len(theirs):
        return f"{len(mine)} tensors, expected {len(theirs)}"
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        size = max(1.0, float(np.max(np.abs(b), initial=0)))
        if a.shape != b.shape or not np.allclose(a, b, close, close * size, equal_nan=True):
            return f"tensor {k}: {a.ravel()[:3]}, expected {b.ravel()[:3]}"
    return ""


def attempt(states: Iterator[list[np.ndarray]]) -> Any:
    try:
        return next(states)
    except Exception as error:
        return error


def examine(program: Training) -> str:
    """In words, the first difference of eager from torch, or compiled from eager; or nothing."""
    ways = [run(program, torch, False), run(program, tracegrad, False),
            run(program, tracegrad, True)]
    for k in range(len(BATCHES)):
        theirs, eager, compiled = map(attempt, ways)
        for way, a, b in (("torch", eager, theirs), ("compiled", compiled, eager)):
            if isinstance(a, Exception) or isinstance(b, Exception):
                if not (isinstance(a, Exception) and isinstance(b, Exception)):
                    said = [f"{type(e).__name__}: {e}" if isinstance(e, Exception) else "no error"
                            for e in (a, b)]
                    return f"{way}: step {k}: {said[0][:300]}; expected {said[1][:300]}"
            elif said_of := differ(a, b, CLOSE[way]):
                return f"{way}: step {k}: {said_of}"
        if isinstance(theirs, Exception):
            return ""
    return ""


def shrink(program: Training, way: str) -> Training:
    """Without what is not needed for a difference of that way."""

    def simpler() -> Iterator[Training]:
        for k in range(1, len(program.layers)):
            yield replace(program, layers=program.layers[:k] + program.layers[k + 1 :])
        for f in fields(program)[4:]:
            if getattr(program, f.name):
                yield replace(program, **{f.name: ""})
        yield replace(program, optimizer="SGD(model.parameters(), lr=0.1)")
        yield replace(program, loss=LOSSES[0])

    for candidate in simpler():
        if candidate != program and examine(candidate).startswith(way):
            return shrink(candidate, way)
    return program


def faults(seed: int, indices: range) -> Iterator[str]:
    """The shrunk training programs of a seed that differ."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for index in indices:
            program = draw(seed, index)
            if said := examine(program):
                small = shrink(program, said.split(":")[0])
                yield f"{seed}:{index} {said}\n{small.text}\n# {examine(small)}\n"
