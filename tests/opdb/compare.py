"""One entry of the database: torch's answers, and whether ours are the same, eagerly and compiled.

`walk` is the text that both libraries run: the outputs, their gradient for random cotangents, and
the gradient of that along random directions, with respect to inputs and cotangents.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

import tracegrad

from .entries import (
    NotComparable,
    Sample,
    differentiable,
    identity,
    leaves,
    ours,
    samples,
    unseeded,
)

RTOL = {"value": 1e-8, "grad": 1e-7, "gradgrad": 1e-6}  # in float64
ATOL = {"value": 1e-10, "grad": 1e-9, "gradgrad": 1e-8}
ROUGH = {"float32": 1e3, "float16": 1e6, "bfloat16": 4e6}  # of RTOL and ATOL, in other types
STAGES = ("value", "grad", "gradgrad")


@dataclass
class Outcome:
    """What was found. `status` is pass, random, eager, compiled, absent, or incomparable; `stage`
    says what of it differs; `order` is how far torch itself differentiates.
    """

    name: str
    status: str = "pass"
    stage: str = ""
    reason: str = ""
    order: int = 0
    autograd: bool = False
    seconds: float = 0.0
    sample: str = ""

    @property
    def verdict(self) -> str:
        """`pass`, `eager-fail(grad)`, `absent`, ..."""
        failed = f"{self.status}-fail({self.stage})"
        return failed if self.status in ("eager", "compiled") else self.status

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


class Differs(Exception):
    """Our answer is not torch's: in which stage, and how."""

    def __init__(self, stage: str, how: str):
        super().__init__(how)
        self.stage = stage


@dataclass
class Answers:
    """What `walk` finds, stage by stage, as far as it came."""

    value: list
    grad: list
    gradgrad: list


@dataclass
class Plan:
    """What torch's own walk fixes for ours: outputs and gradients that have derivatives, the
    cotangents and directions, and how far to go.
    """

    order: int
    random: bool = False  # then only shapes and dtypes are compared, to first order
    outputs: tuple[int, ...] = ()
    gradients: tuple[int, ...] = ()
    cotangents: tuple[np.ndarray, ...] = ()
    directions: tuple[np.ndarray, ...] = ()


def tensors(tree: Any, library: ModuleType) -> list[Any]:
    return list(leaves(tree, library.Tensor))


def inputs_of(library: ModuleType, *trees: Any) -> list[Any]:
    """The tensors that want a gradient, each once."""
    seen: dict[int, Any] = {id(t): t for t in tensors(trees, library) if t.requires_grad}
    return list(seen.values())


def grad(library: ModuleType, ys: Sequence, xs: Sequence, gs: Sequence, create: bool) -> list:
    if not ys or not xs:
        return [None] * len(xs)
    return list(
        library.autograd.grad(ys, xs, gs, create_graph=create, retain_graph=True, allow_unused=True)
    )


def walk(library: ModuleType, f: Callable, args: tuple, kwargs: dict, plan: Plan,
         cotangents: Sequence, directions: Sequence, order: int) -> tuple:
    """Outputs, gradients and second gradients, in either library."""
    ys = tensors(f(*args, **kwargs), library)
    if order == 0:
        return ys, [], []
    xs = inputs_of(library, args, kwargs)
    chosen = [ys[k] for k in plan.outputs]
    if not all(y.requires_grad for y in chosen):
        raise Differs("grad", "an output has no gradient where torch's has one")
    gs = grad(library, chosen, xs, cotangents, create=order > 1)
    if order == 1:
        return ys, gs, []
    pairs = [
        (gs[k], v)
        for k, v in zip(plan.gradients, directions, strict=True)
        if gs[k] is not None and gs[k].requires_grad
    ]
    wanted = [*xs, *cotangents]
    hs = grad(library, [g for g, _ in pairs], wanted, [v for _, v in pairs], create=False)
    return ys, gs, hs


# ---- torch
def drawn(shapes: Sequence, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(np.asarray(rng.uniform(0.5, 1.5, s) * rng.choice((-1, 1), s)) for s in shapes)


def finished(f: Callable, finish: Callable) -> Callable:
    return lambda *args, **kwargs: finish(f(*args, **kwargs))


def answer_of_torch(op: Any, sample: Sample, differentiate: bool) -> tuple[Plan, Answers]:
    """torch's answers, and with them the plan for ours."""
    f = finished(unseeded(op.op), sample.finish)
    torch.manual_seed(1)
    args, kwargs = sample.made(torch)
    try:
        ys = tensors(f(*args, **kwargs), torch)
    except Exception as error:  # the sample needs what a copy of its tensors has not
        raise NotComparable(f"torch itself: {str(error).splitlines()[0]}") from error
    if any(y.is_complex() or y.layout is not torch.strided for y in ys):
        raise NotComparable("the answer is complex or sparse")
    plan = Plan(0, is_random(f, sample, ys))
    if differentiate:
        plan.outputs = tuple(k for k, y in enumerate(ys) if y.requires_grad)
    if not plan.outputs:
        return plan, Answers(ys, [], [])
    plan.order = 1
    plan.cotangents = drawn([ys[k].shape for k in plan.outputs], 2)
    cotangents = [torch.tensor(c, dtype=ys[k].dtype, requires_grad=True)
                  for k, c in zip(plan.outputs, plan.cotangents, strict=True)]
    xs = inputs_of(torch, args, kwargs)
    chosen = [ys[k] for k in plan.outputs]
    try:
        gs = grad(torch, chosen, xs, cotangents, create=True)
    except (RuntimeError, NotImplementedError):
        try:
            args, kwargs = sample.made(torch)
            return plan, Answers(*walk(torch, f, args, kwargs, plan,
                                       [c.detach() for c in cotangents], (), 1))
        except (RuntimeError, NotImplementedError):
            plan.order = 0
            return plan, Answers(ys, [], [])
    answers = Answers(ys, gs, [])
    live = [k for k, g in enumerate(gs) if g is not None and g.requires_grad]
    if live and op.supports_gradgrad and not plan.random:
        directions = drawn([gs[k].shape for k in live], 3)
        vs = [torch.tensor(v, dtype=gs[k].dtype) for k, v in zip(live, directions, strict=True)]
        try:
            hs = grad(torch, [gs[k] for k in live], [*xs, *cotangents], vs, create=False)
        except (RuntimeError, NotImplementedError):
            return plan, answers
        plan.order, plan.gradients, plan.directions = 2, tuple(live), directions
        answers.gradgrad = hs
    return plan, answers


def is_random(f: Callable, sample: Sample, ys: list) -> bool:
    torch.manual_seed(2)
    args, kwargs = sample.made(torch)
    again = tensors(f(*args, **kwargs), torch)
    return not all(torch.equal(torch.nan_to_num(a.detach()), torch.nan_to_num(b.detach()))
                   for a, b in zip(ys, again, strict=True))


# ---- comparison
def array(t: Any) -> np.ndarray:
    t = t.detach()
    if str(t.dtype).endswith("bfloat16"):
        t = t.float()
    return t.numpy(force=True) if isinstance(t, torch.Tensor) else np.asarray(t.numpy())


def compare(stage: str, got: list, want: list, random: bool) -> None:
    """Raise Differs unless ours are torch's; a gradient of None is zero. Of random numbers, shapes
    and dtypes are compared.
    """
    if len(got) != len(want):
        raise Differs(stage, f"{len(got)} tensors, torch has {len(want)}")
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        if a is None and b is None:
            continue
        if a is None or b is None:
            if stage == "value" or (np.any(array(a if b is None else b) != 0) and not random):
                raise Differs(stage, f"number {k} is {'None' if a is None else 'not None'}")
            continue
        ours_, theirs = str(a.dtype).split(".")[-1], str(b.dtype).split(".")[-1]
        if ours_ != theirs:
            raise Differs(stage, f"number {k} has dtype {ours_}, torch's {theirs}")
        x, y = array(a), array(b)
        if x.shape != y.shape:
            raise Differs(stage, f"number {k} has shape {x.shape}, torch's {y.shape}")
        if random:
            continue
        rough = ROUGH.get(ours_, 1.0)
        scale = float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0)) if y.dtype.kind == "f" else 1
        rtol, atol = RTOL[stage] * rough, ATOL[stage] * rough * max(1.0, scale)
        close = np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True)
        if not close.all():
            at = tuple(int(i) for i in np.argwhere(~close)[0])
            raise Differs(stage, f"number {k}: {x[at]!r} at {at}, torch has {y[at]!r} "
                                 f"({int((~close).sum())} of {close.size} differ)")


MISSING = re.compile(
    r"^torch\.\S+ is not part of tracegrad|type object 'Tensor' has no attribute")


class Absent(Exception):
    """The entry's call reached for a name that we do not have."""


def checked(stage: str, f: Callable, *args: Any) -> Any:
    """f(*args); what it raises is a difference in this stage."""
    try:
        return f(*args)
    except Differs:
        raise
    except AttributeError as error:
        if MISSING.search(str(error)):
            raise Absent(str(error)) from error
        raise Differs(stage, f"AttributeError: {error}") from error
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise Differs(stage, f"{type(error).__name__}: {lines[0]}") from error


def handed(plan: Plan, want: Answers) -> tuple[list, list]:
    """The cotangents and directions as our tensors."""
    kinds = [str(want.value[k].dtype).split(".")[1] for k in plan.outputs]
    cotangents = [
        tracegrad.tensor(c, dtype=getattr(tracegrad, d)).requires_grad_(plan.order > 1)
        for c, d in zip(plan.cotangents, kinds, strict=True)
    ]
    kinds = [str(want.grad[k].dtype).split(".")[1] for k in plan.gradients]
    directions = [
        tracegrad.tensor(v, dtype=getattr(tracegrad, d))
        for v, d in zip(plan.directions, kinds, strict=True)
    ]
    return cotangents, directions


def eagerly(f: Callable, sample: Sample, plan: Plan, want: Answers) -> None:
    for order, stage in enumerate(STAGES[: plan.order + 1]):
        args, kwargs = sample.made(tracegrad)
        got = checked(stage, walk, tracegrad, f, args, kwargs, plan, *handed(plan, want), order)
        for done in STAGES[: order + 1]:
            compare(done, got[STAGES.index(done)], getattr(want, done), plan.random)


def compiled(f: Callable, sample: Sample, plan: Plan, want: Answers) -> None:
    """The compiled function, its gradient from outside, and all orders within one program."""
    value = tracegrad.compile(lambda args, kwargs: f(*args, **kwargs))
    args, kwargs = sample.made(tracegrad)
    ys = tensors(checked("value", value, args, kwargs), tracegrad)
    compare("value", ys, want.value, plan.random)
    cotangents, directions = handed(plan, want)
    if plan.order == 0:
        return
    chosen = [ys[k] for k in plan.outputs]
    xs = inputs_of(tracegrad, args, kwargs)
    gs = checked("grad", grad, tracegrad, chosen, xs, cotangents, False)
    compare("grad", gs, want.grad, plan.random)
    within = tracegrad.compile(
        lambda args, kwargs, cs, vs: walk(tracegrad, f, args, kwargs, plan, cs, vs, plan.order)
    )
    args, kwargs = sample.made(tracegrad)
    stage = STAGES[plan.order]
    got = checked(stage, within, args, kwargs, cotangents, directions)
    for done in STAGES[: plan.order + 1]:
        try:
            compare(done, list(got[STAGES.index(done)]), getattr(want, done), plan.random)
        except Differs as error:
            raise Differs(done, f"within one program: {error}") from None


def examine(op: Any, count: int = 1, eager_only: bool = False) -> Outcome:
    """The outcome of one entry, over `count` of its samples."""
    start = time.perf_counter()
    outcome = Outcome(identity(op), autograd=differentiable(op))
    f = ours(op)
    try:
        if f is None:
            outcome.status, outcome.reason = "absent", f"there is no tracegrad.{op.name}"
        for sample in samples(op, count, outcome.autograd):
            outcome.sample = sample.text
            with np.errstate(all="ignore"):
                plan, want = answer_of_torch(op, sample, outcome.autograd)
            outcome.order = max(outcome.order, plan.order)
            if f is None:
                outcome.reason += "; random" if plan.random else ""
                break
            g = finished(f, sample.finish)
            outcome.status = "eager"
            eagerly(g, sample, plan, want)
            if not eager_only:
                outcome.status = "compiled"
                compiled(g, sample, plan, want)
            outcome.status = "random" if plan.random else "pass"
    except NotComparable as why:
        if outcome.status != "absent":
            outcome.status = "incomparable"
        outcome.reason = f"{outcome.reason}; {why}".strip("; ")
    except Absent as error:
        outcome.status, outcome.reason = "absent", str(error) + "; random" * plan.random
    except Differs as error:
        outcome.stage, outcome.reason = error.stage, str(error)
    outcome.seconds = round(time.perf_counter() - start, 2)
    return outcome
