"""Other ways to say what a row says: as a method, in place, into `out=`, batched, derived."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import torch

import tracegrad
from tracegrad.functions.out_table import CAST, EXACT

from .program import Row

CALL = re.compile(r"T\.(\w+)\(\{([a-z]\w*)\}(?:, (.*))?\)")
SUBJECT = re.compile(r"\{(x|f|m|v|k|batch|sq)\}")
OUT = {*CAST.split(), *EXACT.split()} - {"histc"}  # of which torch writes beside its answer
# torch's derivatives are not to be compared there, see the reasons
UNLIKE = re.compile(r"celu|hardsigmoid|gamma|binary_cross|topk|kthvalue|median|mode|quantile|pool|"
                    r"_reduce|ldexp|prod|std|no_grad|as_strided|svd|eig|corrcoef|norm|split|unbind|chunk")
# what is done with a function `lambda t: ...` of the subject
TRANSFORMS = (
    "T.vmap(FUNCTION)(T.stack([{x}, {x}]))",
    "T.vmap(FUNCTION, in_dims=-1, out_dims=-1)(T.stack([{x}, {x} * 2], -1))",
    "T.func.jvp(FUNCTION, ({x},), ({x} * 0.5,))",
    "T.func.grad(lambda t: (FUNCTION)(t).sum())({x}).clone()",
    "T.func.jacrev(FUNCTION)({x})",
    "T.func.jacfwd(FUNCTION)({x})",
    "T.func.hessian(lambda t: (FUNCTION)(t).sum())({x})",
    "T.vmap(T.func.grad(lambda t: (FUNCTION)(t).sum()))(T.stack([{x}, {x}])).clone()",
    "T.autograd.functional.jacobian(FUNCTION, {x})",
    "T.autograd.functional.vjp(FUNCTION, {x}, T.ones_like({x}))[1]",
    "T.no_grad()(FUNCTION)({x})",
)


def has(name: str) -> bool:
    return hasattr(torch.Tensor, name) and hasattr(tracegrad.Tensor, name)


def calls(row: Row) -> Iterator[Row]:
    if (call := CALL.fullmatch(row.template)) is None or row.writes:
        return
    name, subject, rest = call.groups(default="")
    if has(name):
        yield Row(f"{{{subject}}}.{name}({rest})", row.rounding, False, row.eager)
    if has(name + "_"):
        yield Row(f"{{{subject}}}.{name}_({rest})", row.rounding, True, row.eager)
    if name in OUT:
        yield Row(f"{row.template[:-1]}, out={{out}})", row.rounding, True, row.eager)


def transforms(row: Row) -> Iterator[Row]:
    subject = SUBJECT.search(row.template)
    if row.writes or row.eager or subject is None or UNLIKE.search(row.template):
        return
    function = "lambda t: " + row.template.replace(subject[0], "t")
    for text in TRANSFORMS:
        rounding = row.rounding if text.startswith(("T.vmap(FUNCTION", "T.no_grad")) else "rough"
        text = text.replace("{x}", subject[0])
        yield Row(text.replace("FUNCTION", f"({function})"), rounding)


@cache
def forms(row: Row) -> tuple[Row, ...]:
    """All of a row; itself, if there is no other."""
    return (*calls(row), *transforms(row)) or (row,)
