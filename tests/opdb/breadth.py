"""An entry beyond float64: which dtypes give torch's value, and whether wrong calls raise torch's
class of error.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

import tracegrad

from .compare import Absent, Differs, answer_of_torch, checked, compare, finished, tensors
from .entries import LOOKED_AT, NotComparable, sampled, samples

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
          "bool")
HALVES = ("float16", "bfloat16")  # torch's own kernels may round so often that float32 decides


def dtypes(op: Any, f: Any) -> dict[str, str]:
    """For each dtype that torch's entry has: "" if our eager value agrees, else why not."""
    supported = {str(d).split(".")[1] for d in op.supported_dtypes("cpu")}
    return {d: value_of_dtype(op, f, d) for d in DTYPES if d in supported}


def value_of_dtype(op: Any, f: Any, dtype: str) -> str:
    try:
        (sample, *_) = samples(op, 1, False, getattr(torch, dtype))
        plan, want = answer_of_torch(op, sample, False)
        args, kwargs = sample.made(tracegrad)
        g = finished(f, sample.finish)
        got = tensors(checked("value", lambda: g(*args, **kwargs)), tracegrad)
        try:
            compare("value", got, want.value, plan.random)
        except Differs:
            if dtype not in HALVES:
                raise
            wide = answer_of_torch(op, sample.widened(), False)[1].value
            kinds = [y.dtype for y in want.value]
            compare("value", got, [y.to(d) for y, d in zip(wide, kinds, strict=True)], False)
    except (Differs, Absent, NotComparable) as why:
        return str(why)
    except Exception as error:  # torch itself, or the samples of this dtype
        return f"not comparable: {type(error).__name__}"
    return ""


def errors(op: Any, f: Any) -> Iterator[str]:
    """The wrong calls of the entry that we do not refuse as torch does, in words."""
    if op.error_inputs_func is None:
        return
    for wrong in islice(op.error_inputs("cpu"), LOOKED_AT):
        if "out" in wrong.sample_input.kwargs:
            continue
        try:
            sample = sampled(wrong.sample_input)
            args, kwargs = sample.made(torch)
            with np.errstate(all="ignore"):
                op.op(*args, **kwargs)
            continue  # torch does not refuse this one on its own
        except NotComparable:
            continue
        except Exception as error:
            kind = type(error)
        try:
            args, kwargs = sample.made(tracegrad)
            f(*args, **kwargs)
            if kind is TypeError:
                continue  # we take a number where torch wants a tensor
            yield f"no {kind.__name__} ({wrong.error_regex}) for {sample.text}"
        except Exception as error:
            if not isinstance(error, kind) and not issubclass(kind, type(error)):
                yield (f"{type(error).__name__} ({str(error)[:80]}) instead of {kind.__name__} "
                       f"({wrong.error_regex}) for {sample.text}")
