"""What NumPy's functions are given on Tensors, as ours take it and back; what they write into."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.dtype import DType, of_numpy
from ..tracer.mode import mode, resolve
from ..tracer.tensor.dispatch import from_numpy
from ..tracer.tensor.inplace import overwrite, refuse_unwritable
from ..tracer.tensor.promotion import can_cast
from ..tracer.tensor.tensor import Tensor
from . import namespace
from .conversion import numpy
from .torch.creation import as_tensor


def ours(x: Any) -> Any:
    """An argument as the functions here take it: arrays as Tensors that share their memory, NumPy's
    numbers and dtypes as ours.
    """
    if isinstance(x, np.ndarray):
        return from_numpy(x)
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return of_numpy(np.dtype(x))
    if type(x) in (list, tuple):
        return type(x)(map(ours, x))
    return {k: ours(v) for k, v in x.items()} if type(x) is dict else x


def theirs(name: str, x: Any) -> Any:
    """An argument as NumPy takes it: Tensors as arrays."""
    if isinstance(x, Tensor):
        if x.requires_grad or mode.trace is not None:
            raise TypeError(
                f"{name} has no counterpart for Tensors, so it cannot be traced or differentiated: "
                "call it outside compiled functions, on t.detach()"
            )
        return numpy(x)
    if isinstance(x, DType):
        return x.storage
    if type(x) in (list, tuple):
        return type(x)(theirs(name, v) for v in x)
    return {k: theirs(name, v) for k, v in x.items()} if type(x) is dict else x


def written(name: str, outs: tuple, results: Any, where: Any = True) -> Any:
    """The tensors of `out=`, with the results in them where the mask holds. All are looked at
    before one is written.
    """
    results = results if isinstance(results, tuple) else (results,)
    results = tuple(a if isinstance(a, Tensor) else as_tensor(np.asarray(a)) for a in results)
    if len(outs) != len(results) or not all(isinstance(o, Tensor) for o in outs):
        raise TypeError(f"{name}() of Tensors: out= must be Tensors, one for each result")
    for out, result in zip(outs, results, strict=True):
        if np.broadcast_shapes(out.shape, result.shape) != tuple(out.shape):
            raise ValueError(
                f"{name}(): out= has shape {list(out.shape)}, and the result {list(result.shape)}"
            )
        if not can_cast(result.dtype, out.dtype):
            raise TypeError(f"{name}(): the result is {result.dtype}, and out= {out.dtype}")
        refuse_unwritable(resolve(out))
    for out, result in zip(outs, results, strict=True):
        kept = result if where is True else namespace.where(where, result.to(out.dtype), out)
        overwrite(out, kept, "CopyBackwards")
    return outs[0] if len(outs) == 1 else outs
