"""`out=`: the result of a public function, written into tensors that the caller gives.

`accept` lets the functions of a public namespace take it, by the table in out_table.py. The result
is computed first and then written, so nothing is changed by a call that raises, and an operand may
be the output itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from ..ir.device_array import bounds
from ..ir.node import Node
from ..tracer.mode import FixedGradMode, mode, resolve
from ..tracer.pytree import flatten
from ..tracer.tensor.device_memory import place_of
from ..tracer.tensor.inplace import overwrite, refuse_unwritable
from ..tracer.tensor.placement import different_devices
from ..tracer.tensor.promotion import SCALAR_TYPE, can_cast
from ..tracer.tensor.tensor import Tensor
from ..tracer.tensor.views import index_view, memory_offset, strides_of
from .out_table import EXACT_OF_SEVERAL, RULES, SEVERAL
from .torch.memory import resize_
from .torch_function import NOT_TAKEN, taken_over, watchers

_OF_TENSORS = __name__.rpartition(".")[0] + "."  # the package of all functions of tensors
_RESIZED = (
    "An output with one or more elements was resized since it had shape {}, which does not match "
    "the required output shape {}. This behavior is deprecated, and in a future PyTorch release "
    "outputs will not be resized unless they have zero elements. You can explicitly reuse an out "
    "tensor t by resizing it, inplace, to zero elements with t.resize_(0)."
)
_PARTIAL = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a "
    "single memory location. Please clone() the tensor before performing the operation."
)


def accept(namespace: dict[str, Any], prefix: str = "") -> None:
    """Let the public functions of a module take `out`, and the others refuse what is no tensor."""
    for path, rule in RULES.items():
        within, _, name = path.rpartition(".")
        function: Any = namespace.get(name)
        if getattr(function, "writes_out", None) == "":  # from another module, without `out` there
            function = function.__wrapped__
        if within == prefix and function is not None and not hasattr(function, "writes_out"):
            namespace[name] = _writing(function, path, rule, namespace["__name__"])
    for name, function in list(namespace.items()):
        home = getattr(function, "__module__", None) or ""
        if type(function) is FunctionType and name[0] != "_" and home.startswith(_OF_TENSORS):
            namespace[name] = _checking(function, name, namespace["__name__"])


def _checking(function: Callable, name: str, module: str) -> Callable:
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if watchers and (y := taken_over(called, args, kwargs)) is not NOT_TAKEN:
            return y
        try:
            return function(*args, **kwargs)
        except (AttributeError, TypeError) as error:
            return _otherwise(called, name, args, kwargs, error)

    return _public(called, name, module, "")


def _public(called: Any, name: str, module: str, rule: str) -> Callable:
    called.__name__ = called.__qualname__ = name
    called.__module__ = module  # where it is found by this name
    called.writes_out = rule
    return called


def _writing(function: Callable, path: str, rule: str, module: str) -> Callable:
    name = path.rpartition(".")[2]

    @wraps(function)
    def called(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            if watchers and (y := taken_over(called, args, kwargs)) is not NOT_TAKEN:
                return y
            try:
                return function(*args, **kwargs)
            except (AttributeError, TypeError) as error:
                return _otherwise(called, name, args, kwargs, error)
        return _written(function, name, rule, SEVERAL.get(path, 1), out, args, kwargs)

    return _public(called, name, module, rule)


def _written(
    function: Callable, name: str, rule: str, parts: int, out: Any, args: tuple, kwargs: dict
) -> Any:
    outs = [out] if isinstance(out, Tensor) else out
    if not isinstance(outs, (tuple, list)) or not all(isinstance(t, Tensor) for t in outs):
        raise TypeError(_wants(name, "tuple of Tensors" if parts > 1 else "Tensor", out))
    inputs = [resolve(x) for x in flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    into = [resolve(t) for t in outs]
    if mode.grad and any(t._requires_grad for t in (*inputs, *into)):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if rule == "computed":
        kwargs = {**kwargs, "dtype": _computed(kwargs.get("dtype"), into[0])}
    with FixedGradMode(False):
        result = function(*args, **kwargs)
    single = isinstance(result, Tensor)
    if single is not isinstance(out, Tensor):
        raise TypeError(_wants(name, "Tensor" if single else "tuple of Tensors", out))
    results = [result] if single else list(result)
    if len(results) != len(into):
        raise TypeError(f"expected tuple of {len(results)} elements but got {len(into)}")
    if not single and name in EXACT_OF_SEVERAL:
        rule = "exact"
    for t, y in zip(into, results, strict=True):
        _check(name, rule, t, resolve(y), inputs)
    with FixedGradMode(False):
        for t, y in zip(into, results, strict=True):
            _write(name, t, resolve(y))
    if single:
        return out
    if parts == 1:
        return None  # of functions whose number of results is free, torch returns none
    return type(result)(*outs) if hasattr(result, "_fields") else tuple(outs)


def _otherwise(called: Callable, name: str, args: tuple, kwargs: dict, error: Exception) -> Any:
    """What a class among the arguments makes of a call that failed; else the error."""
    y = taken_over(called, args, kwargs)
    if y is not NOT_TAKEN:
        return y
    if isinstance(error, AttributeError):
        raise _no_tensor(name, args, error) or error from None
    raise error


def _no_tensor(name: str, args: tuple, error: AttributeError) -> TypeError | None:
    """What an argument that is no tensor, and was taken for one, deserves."""
    for k, x in enumerate(args):
        if x is error.obj and isinstance(x, (str, int, float, list, tuple, dict, type(None))):
            which = "'input' (position 1)" if k == 0 else f"(position {k + 1})"
            kind = type(x).__name__
            return TypeError(f"{name}(): argument {which} must be Tensor, not {kind}")
    return None


def _wants(name: str, what: str, out: Any) -> str:
    return f"{name}(): argument 'out' must be {what}, not {type(out).__name__}"


def _computed(asked: Any, out: Tensor) -> Any:
    """The dtype of the output, in which the function computes."""
    if asked is not None and asked is not out.dtype:
        raise RuntimeError(
            f"dtype {SCALAR_TYPE[asked]} does not match dtype of out parameter "
            f"({SCALAR_TYPE[out.dtype]})"
        )
    return out.dtype


def _check(name: str, rule: str, out: Tensor, result: Tensor, inputs: list[Tensor]) -> None:
    """Raise what torch raises for an output that an result cannot be written into."""
    if rule == "exact" and out.dtype is not result.dtype:
        raise RuntimeError(
            f"{name}(): Expected out tensor to have dtype {result.dtype}, but got {out.dtype} "
            "instead"
        )
    if rule != "any" and not can_cast(result.dtype, out.dtype):
        raise RuntimeError(
            f"result type {SCALAR_TYPE[result.dtype]} can't be cast to the desired output type "
            f"{SCALAR_TYPE[out.dtype]}"
        )
    if out.device != result.device:
        raise different_devices([result.device, out.device])
    if out.shape == result.shape:
        with FixedGradMode(False):
            refuse_unwritable(out)
        if any(_partly_shared(out, x) for x in inputs):
            raise RuntimeError(_PARTIAL)
    elif out._base is not None:
        raise RuntimeError(
            f"{name}(): out has shape {list(out.shape)} and the result {list(result.shape)}, but "
            "out is a view of another tensor and cannot be resized: give a tensor of that shape"
        )
    elif out._array is None and _from_outside(out):
        raise RuntimeError(
            f"{name}(): out has shape {list(out.shape)} and the result {list(result.shape)}: "
            "neither a compiled function nor one under vmap can resize a tensor that it was "
            "given; give one of that shape"
        )


def _from_outside(t: Tensor) -> bool:
    return not isinstance(t._node, Node) or mode.trace.input_of(t) is not None


def _span(t: Tensor) -> tuple[Any, int, int, bool] | None:
    """Whose memory a tensor lies in, from where to where, and whether it fills that."""
    if t._array is not None:
        low, high = bounds(t._array)
        return place_of(t._array), low, high, high - low == t._array.nbytes
    if t._view is not None and any(op is index_view for op, _ in t._view.path):
        return None
    reach = sum(s * (n - 1) for s, n in zip(strides_of(t), t.shape, strict=True))
    low, root = memory_offset(t), t
    while root._base is not None:  # a view of a view, without gradients
        root = root._base
    return id(root), low, low + reach + 1, reach + 1 == t.numel()


def _partly_shared(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors lie in memory of which they share a part, and not all."""
    if a is b or not a.numel() or not b.numel() or (a._array is None) is not (b._array is None):
        return False
    one, other = _span(a), _span(b)
    if one is None or other is None or one[0] != other[0] or not (one[3] and other[3]):
        return False
    if one[1:3] == other[1:3] and strides_of(a) == strides_of(b):
        return False
    return one[1] < other[2] and other[1] < one[2]


def _write(name: str, out: Tensor, result: Tensor) -> None:
    if out.shape != result.shape:
        if out.numel():
            before, after = list(out.shape), list(result.shape)
            warnings.warn(_RESIZED.format(before, after), UserWarning, stacklevel=4)
        if out._array is None:
            out._node = result.to(out.dtype)._node
            out._version[0] += 1
            return
        resize_(out, tuple(result.shape))
    overwrite(out, result, "CopyBackwards")
