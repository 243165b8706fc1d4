"""What a statement is given: questions that reasons for differences ask."""

from __future__ import annotations

import re
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

import tracegrad

from .compare import is_tensor
from .memory import significant
from .program import NAME, Program, build
from .shake import run
from .values import shifted


def operands(program: Program, at: int, library: ModuleType) -> list[Any]:
    """The tensors that a statement is given; after the last one, all of the program's."""
    env = build(program, library)
    run(env, program.until(at))
    if at == len(program.statements):
        return [env[n] for n in program.names if is_tensor(env.get(n))]
    return [env[n] for n in sorted(program.statements[at].names) if is_tensor(env.get(n))]


def of_single_number(program: Program, at: int) -> bool:
    """Whether a statement is given a tensor without dimensions."""
    return any(t.ndim == 0 for t in operands(program, at, torch))


def of_empty(program: Program, at: int) -> bool:
    """Whether a statement is given a tensor without elements."""
    return any(t.numel() == 0 for t in operands(program, at, torch))


def laid_otherwise(program: Program, at: int) -> bool:
    """Whether a statement, or one before it, goes by the layout of a tensor, and the libraries
    have laid out some tensor differently.
    """
    said = " ".join(s.row.template for s in program.statements[: at + 1])
    if not re.search(r"reshape|view|flatten|ravel|as_strided|contiguous", said):
        return False
    places = []
    for T in (torch, tracegrad):
        env = build(program, T)
        run(env, program.until(at))
        places.append([significant(t) for t in env.values() if is_tensor(t)])
    return places[0] != places[1]


def of_other_number(program: Program, at: int) -> bool:
    """Whether a statement is given halves and a 0-d tensor of another float type."""
    given = operands(program, at, torch)
    halves = {t.dtype for t in given if t.ndim and t.dtype.itemsize == 2 and t.is_floating_point()}
    numbers = {t.dtype for t in given if not t.ndim and t.is_floating_point()}
    return bool(halves) and bool(numbers - halves)


def of_integers(program: Program, at: int) -> bool:
    """Whether a statement is given integers."""
    return any(not t.is_floating_point() for t in operands(program, at, torch))


def of_bytes(program: Program, at: int) -> bool:
    """Whether a statement is given bytes."""
    return any(t.dtype is torch.uint8 for t in operands(program, at, torch))


def of_no_number(program: Program, at: int) -> bool:
    """Whether a statement is given an infinity or NaN."""
    return any(not t.isfinite().all() for t in operands(program, at, torch))


def of_nan(program: Program, at: int) -> bool:
    """Whether a statement is given NaN."""
    return any(t.isnan().any() for t in operands(program, at, torch))


def of_larger_memory(program: Program, at: int) -> bool:
    """Whether a fresh result of torch's that a statement is given has more memory than elements."""
    found = (t for t in operands(program, at, torch) if t.is_contiguous() and t._base is None)
    return any(t.untyped_storage().nbytes() > t.numel() * t.itemsize for t in found)


def of_tiny(program: Program, at: int) -> bool:
    """Whether a statement is given numbers near or below the least normal one."""
    found = (t.abs() for t in operands(program, at, torch) if t.is_floating_point())
    return any(((t > 0) & (t < 1e-6)).any() for t in found)


def of_overlapping(program: Program, at: int) -> bool:
    """Whether elements of an input lie at one place in memory."""
    return any(i.layout in ("expanded", "overlapping") for i in program.inputs)


def of_correlated_rows(program: Program, at: int) -> bool:
    """Whether two rows of a matrix that a statement is given are one but for scale and offset."""
    found = (t.double() for t in operands(program, at, torch) if t.ndim == 2 and len(t) > 1)
    return any((t.corrcoef().abs() > 1 - 1e-6).sum() > len(t) for t in found)


def of_singular_values_without_gap(program: Program, at: int) -> bool:
    """Whether a matrix of the program, with its numbers or those of its second call, has a singular
    value of zero, or two that are equal.
    """
    others = [replace(i, values=shifted(i.values, i.dtype)) for i in program.inputs]
    for calls in (program, replace(program, inputs=type(program.inputs)(others))):
        for t in operands(calls, len(calls.statements), torch):
            if t.ndim > 1 and t.numel() and t.is_floating_point() and t.isfinite().all():
                s = torch.linalg.svdvals(t.detach().double())
                down = torch.cat([s, torch.zeros_like(s[..., :1])], -1)
                if (-down.diff(dim=-1) <= 1e-6 * s[..., :1]).any():
                    return True
    return False


def of_equal_rows(program: Program, at: int) -> bool:
    """Whether all numbers of a row that a statement is given are equal."""
    found = (t for t in operands(program, at, torch) if t.ndim and t.shape[-1] > 1)
    return any((t == t[..., :1]).all(-1).any() for t in found)


def of_written_base(program: Program, at: int) -> bool:
    """Whether a statement is given a view whose base torch gave a history by a write."""
    return any(t._is_view() and t.grad_fn is not None for t in operands(program, at, torch))


def of_shared(program: Program, at: int) -> bool:
    """Whether a statement is given tensors of one memory."""
    found = [t.untyped_storage().data_ptr() for t in operands(program, at, torch)]
    return len(found) > len(set(found))


def of_least(program: Program, at: int) -> bool:
    """Whether a statement is given the most negative integer."""
    kinds = (torch.int8, torch.int16, torch.int32, torch.int64)
    found = (t for t in operands(program, at, torch) if t.dtype in kinds)
    return any((t == torch.iinfo(t.dtype).min).any() for t in found)


def of_pole(program: Program, at: int) -> bool:
    """Whether a statement is given an integer of zero or less, or -inf."""
    found = (t.double() for t in operands(program, at, torch))
    return any(((t <= 0) & (t == t.floor())).any() for t in found)


def of_view(program: Program, at: int) -> bool:
    """Whether a statement is given a view."""
    return any(t._is_view() for t in operands(program, at, torch))


def of_itself(program: Program, at: int) -> bool:
    """Whether a statement is given one tensor more than once."""
    given = [text for _, text in program.statements[at].filled if NAME.fullmatch(text)]
    return len(given) > len(set(given))
