"""The entries of torch's operator database as calls of ours: which function of ours answers an
entry, and its sample inputs as arrays from which either library's tensors are made anew per call.

A tensor of a sample becomes an `Array`; `made` turns a structure that holds some into one that
holds tensors of torch or of tracegrad. Since the public names are torch's, everything after that
is one text for both.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import tracegrad

LOOKED_AT = 80  # samples of an entry among which some are chosen
LARGEST = 600  # numbers in a sample; larger ones are taken where there are no others
OURS = {"torch": tracegrad, "F": tracegrad.nn.functional}
UNSEEDED = {"wrapper_set_seed": lambda op, *args, **kwargs: op(*args, **kwargs)}


class NotComparable(Exception):
    """Why an entry says nothing about us: it needs complex or sparse tensors."""


def identity(op: Any) -> str:
    """The name of an entry: `max/binary`."""
    return f"{op.name}/{op.variant_test_name}" if op.variant_test_name else op.name


def differentiable(op: Any) -> bool:
    return bool(op.supports_autograd) and torch.float64 in op.supported_dtypes("cpu")


def entries(patterns: Iterable[str] = ()) -> list[Any]:
    """The entries whose name, identity or last part of the name matches one of the patterns."""
    chosen = []
    patterns = list(patterns)
    for op in op_db:
        if op.name.startswith("jiterator"):
            continue  # about torch's compiler for CUDA
        names = (op.name, identity(op), op.name.split(".")[-1])
        if not patterns or any(fnmatchcase(n, p) for n in names for p in patterns):
            chosen.append(op)
    return chosen


def sample_dtype(op: Any) -> torch.dtype:
    """float64 where the entry has it, else the first of the integers that it has, else bool."""
    supported = op.supported_dtypes("cpu")
    wanted = (torch.float64, torch.float32, torch.int64, torch.uint8, torch.bool)
    for dtype in wanted:
        if dtype in supported:
            return dtype
    raise NotComparable("needs complex or quantised numbers")


# ---- which function of ours
def found(root: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        root = getattr(root, part, None)
    return root


def ours(op: Any) -> Callable | None:
    """Our function for the entry. Where the database wraps torch in a function of its own, that
    function, reading `tracegrad` where it says `torch`.
    """
    f = op.op
    if isinstance(f, FunctionType) and f.__module__.startswith("torch.testing"):
        return rebound(f)
    function = found(tracegrad, op.name)
    if not callable(function) or isinstance(function, type):
        function = getattr(tracegrad.Tensor, op.name, None)
    return function


def rebound(f: FunctionType) -> FunctionType:
    """f with torch's modules exchanged for ours."""
    return with_globals(f, OURS | UNSEEDED)


def unseeded(f: Callable) -> Callable:
    """f, without the seed that the database sets in functions that draw numbers."""
    wrapped = isinstance(f, FunctionType) and f.__module__.startswith("torch.testing")
    return with_globals(f, UNSEEDED) if wrapped else f


def with_globals(f: FunctionType, names: dict[str, Any]) -> FunctionType:
    new = FunctionType(
        f.__code__, dict(f.__globals__) | names, f.__name__, f.__defaults__, f.__closure__
    )
    new.__kwdefaults__ = f.__kwdefaults__
    return new


# ---- samples
@dataclass(frozen=True)
class Array:
    """A tensor of either library, to be made."""

    data: np.ndarray
    dtype: str
    requires_grad: bool
    number: int  # of the tensor in its sample: two places may hold one tensor


@dataclass(frozen=True)
class Sample:
    """The arguments of a call, and what the database does to the answer before differentiating."""

    args: tuple
    kwargs: dict
    finish: Callable
    text: str

    def made(self, library: ModuleType) -> tuple[tuple, dict]:
        """The arguments, of fresh tensors."""
        make = maker(library)
        return make(self.args), make(self.kwargs)

    def widened(self) -> Sample:
        """With halves as float32."""
        return replace(self, args=mapped(wider, self.args), kwargs=mapped(wider, self.kwargs))


def wider(a: Any) -> Any:
    half = isinstance(a, Array) and a.dtype in ("float16", "bfloat16")
    return replace(a, data=a.data.astype(np.float32), dtype="float32") if half else a


def samples(op: Any, count: int, grad: bool, dtype: torch.dtype | None = None) -> list[Sample]:
    """The first sample that is neither empty nor large, and others spread over the rest."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    drawn = op.sample_inputs("cpu", dtype or sample_dtype(op), requires_grad=grad)
    looked_at = [sampled(s) for s in islice(drawn, LOOKED_AT)]
    if not looked_at:
        raise NotComparable("the database has no samples")
    groups = (
        [s for s in looked_at if not trivial(s, grad) and size(s) <= LARGEST],
        [s for s in looked_at if not trivial(s, grad)],
        looked_at,
    )
    usable = next(g for g in groups if g)
    step = max(1, len(usable) // count)
    return usable[::step][:count]


def sampled(s: Any) -> Sample:
    numbers: dict[int, int] = {}

    def array(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if x.layout is not torch.strided or x.is_complex():
                raise NotComparable("needs sparse or complex tensors")
            number = numbers.setdefault(id(x), len(numbers))
            plain = x.detach().resolve_neg().resolve_conj()
            half = plain.dtype is torch.bfloat16
            data = (plain.float() if half else plain).numpy()
            return Array(data, str(x.dtype).split(".")[1], x.requires_grad, number)
        return x

    args, kwargs = mapped(array, (s.input, *s.args)), mapped(array, dict(s.kwargs))
    text = s.summary() if hasattr(s, "summary") else repr(s)
    return Sample(args, kwargs, s.output_process_fn_grad, text[text.find("(") + 1 : -1])


def size(s: Sample) -> int:
    return sum(a.data.size for a in leaves((s.args, s.kwargs), Array))


def trivial(s: Sample, grad: bool) -> bool:
    arrays = list(leaves((s.args, s.kwargs), Array))
    return any(a.data.size == 0 for a in arrays) or (
        grad and not any(a.requires_grad for a in arrays)
    )


# ---- structures
def mapped(f: Callable, tree: Any) -> Any:
    """The structure with f applied to what is no container."""
    if type(tree) in (list, tuple):
        return type(tree)(mapped(f, x) for x in tree)
    if type(tree) is dict:
        return {k: mapped(f, x) for k, x in tree.items()}
    return f(tree)


def leaves(tree: Any, kind: type) -> Iterator[Any]:
    """All of the class in a structure of sequences and dicts, named tuples among them."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for x in tree:
            yield from leaves(x, kind)
    elif isinstance(tree, dict):
        for x in tree.values():
            yield from leaves(x, kind)


def maker(library: ModuleType) -> Callable[[Any], Any]:
    """A function that makes the tensors in a structure, and translates torch's constants."""
    made: dict[int, Any] = {}

    def make(x: Any) -> Any:
        if isinstance(x, Array):
            if x.number not in made:
                made[x.number] = tensor(library, x)
            return made[x.number]
        if library is torch:
            return x
        if isinstance(x, torch.dtype):
            return getattr(tracegrad, str(x).split(".")[1])
        if isinstance(x, torch.Size):
            return tuple(x)
        if isinstance(x, torch.device):
            return str(x)
        if isinstance(x, torch.memory_format | torch.layout):
            return getattr(tracegrad, str(x).split(".")[1], str(x))
        if isinstance(x, slice):
            return slice(*(make(y) for y in (x.start, x.stop, x.step)))
        if isinstance(x, FunctionType) and x.__module__.startswith("torch.testing"):
            return rebound(x)
        if isinstance(x, torch.nn.Module):
            return getattr(tracegrad.nn, type(x).__name__)()  # with its defaults, as the database's
        name = getattr(x, "__name__", "")
        if callable(x) and getattr(torch.nn.functional, name, None) is x:
            return getattr(tracegrad.nn.functional, name)
        return x

    return functools.partial(mapped, make)


def tensor(library: ModuleType, a: Array) -> Any:
    """A leaf with a's values, strides and dtype."""
    data = np.array(a.data, order="K", copy=True)
    t = library.from_numpy(data)
    if a.dtype == "bfloat16":
        t = t.to(library.bfloat16)
    return t.requires_grad_(a.requires_grad)
