"""How tensors print: digit for digit as in torch.

The numbers of one tensor share a format and a width. Long tensors are summarised. dtype, size and
grad_fn follow if they are not obvious from the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ...ir.dtype import bool_, int64
from ...ir.node import Node
from ..mode import get_default_dtype, mode, resolve
from .device import CPU
from .device_memory import host
from .tensor import Tensor


@dataclass(frozen=True)
class Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PRINT_HINT = (
    "Pass the tensor to print(): it then prints at each call. Or return the tensor and print it "
    "outside the compiled function."
)
_PROFILES = {
    "default": Options(),
    "short": Options(precision=2, threshold=1000, edgeitems=2, linewidth=80),
    "full": Options(precision=4, threshold=math.inf, edgeitems=3, linewidth=80),
}


class _Current:
    options = Options()


def set_printoptions(precision: int | None = None, threshold: float | None = None,
                     edgeitems: int | None = None, linewidth: int | None = None,
                     profile: str | None = None, sci_mode: bool | None = None) -> None:
    """Set how tensors print: digits, summaries, line width, scientific notation.

    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([3.14159])
    tensor([3.14])
    >>> torch.set_printoptions(profile='default')
    """
    chosen: dict[str, Any] = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    start = _Current.options if profile is None else _PROFILES[profile]
    _Current.options = replace(
        start, **{k: v for k, v in chosen.items() if v is not None}, sci_mode=sci_mode
    )


def get_printoptions() -> dict[str, Any]:
    """The current print options.

    >>> torch.get_printoptions()['precision']
    4
    """
    return asdict(_Current.options)


@contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Within it, tensors print with these options.

    >>> with torch.printoptions(precision=2): print(torch.tensor([3.14159]))
    tensor([3.14])
    """
    before = _Current.options
    unknown = set(kwargs) - {f.name for f in fields(Options)} - {"profile"}
    if unknown:
        raise TypeError(f"printoptions() got unexpected arguments {sorted(unknown)}")
    try:
        set_printoptions(**kwargs)
        yield
    finally:
        _Current.options = before


Format = Callable[[Any], str]


def _formatter(shown: np.ndarray, floating: bool) -> tuple[Format, int]:
    """The common format of these numbers, and its width."""
    options = _Current.options
    if not floating:
        width = max((len(str(v)) for v in shown.ravel().tolist()), default=1)
        return (lambda v: str(v).rjust(width)), width
    numbers = shown.astype(np.float64).ravel()
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    whole, scientific = True, False
    if numbers.size:
        size = np.abs(numbers)
        low, high = size.min(), size.max()
        whole = bool((numbers == np.ceil(numbers)).all())
        with np.errstate(over="ignore"):
            wide = bool(high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4)
        scientific = wide if options.sci_mode is None else options.sci_mode
    if scientific:
        text: Format = f"{{:.{options.precision}e}}".format
    elif whole:
        text = lambda v: f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
    else:
        text = f"{{:.{options.precision}f}}".format
    width = max((len(text(v)) for v in numbers.tolist()), default=1)
    return (lambda v: text(v).rjust(width)), width


def _edges(array: np.ndarray) -> np.ndarray:
    """The part of a long array that is printed."""
    n = _Current.options.edgeitems
    for axis in range(array.ndim):
        if array.shape[axis] > 2 * n:
            array = np.concatenate(
                [array.take(range(n), axis), array.take(range(-n, 0), axis)], axis
            )
    return array


def _vector(array: np.ndarray, indent: int, summarise: bool, text: Format, width: int) -> str:
    options = _Current.options
    n = options.edgeitems
    if summarise and not n:
        items = ["..."]
    elif summarise and array.shape[0] > 2 * n:
        items = [*map(text, array[:n].tolist()), " ...", *map(text, array[-n:].tolist())]
    else:
        items = list(map(text, array.tolist()))
    per_line = max(1, (options.linewidth - indent) // (width + 2))
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(array: np.ndarray, indent: int, summarise: bool, text: Format, width: int) -> str:
    if array.ndim == 0:
        return text(array.item())
    if array.ndim == 1:
        return _vector(array, indent, summarise, text, width)
    n, rows = _Current.options.edgeitems, array.shape[0]
    cut = summarise and rows > 2 * n
    inner = [
        _nested(array[i], indent + 1, summarise, text, width)
        for i in (*range(n), *range(rows - n, rows)) if cut
    ] if cut else [_nested(a, indent + 1, summarise, text, width) for a in array]
    if cut:
        inner.insert(n, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(inner) + "]"


def _contents(array: np.ndarray, floating: bool, indent: int) -> str:
    summarise = array.size > _Current.options.threshold
    text, width = _formatter(_edges(array) if summarise else array, floating)
    return _nested(array, indent, summarise, text, width)


def tensor_repr(self: Tensor, *, tensor_contents: Any = None) -> str:
    """The tensor as torch prints it.

    A traced tensor has no values. While it is traced its text is refused; elsewhere the text shows
    only shape and dtype.
    """
    t = resolve(self)
    if mode.trace is not None and isinstance(t._node, Node):
        mode.trace.concrete(t, "the text of a tensor", PRINT_HINT)
    dtype, suffixes = t._dtype, []
    prefix = (
        "tensor(" if type(self).__name__ in ("Tensor", "Parameter") else f"{type(self).__name__}("
    )
    obvious = dtype in (get_default_dtype(), int64, bool_)
    if t._array is None:
        contents = "..."
        suffixes += [f"size={tuple(t.shape)}", *([] if obvious else [f"dtype={dtype}"]), "traced"]
    elif t._array.size == 0:
        contents = "[]"
        suffixes += _device(t)
        if t.ndim != 1:
            suffixes.append(f"size={tuple(t.shape)}")
        if dtype is not get_default_dtype():
            suffixes.append(f"dtype={dtype}")
    else:
        numbers = dtype.decode(host(t._array))
        contents = _contents(numbers, dtype.is_floating_point, len(prefix))
        suffixes += _device(t)
        if not _Current.options.edgeitems:
            suffixes.append(f"size={tuple(t.shape)}")
        if not obvious:
            suffixes.append(f"dtype={dtype}")
    if t._grad_fn is not None:
        suffixes.append(f"grad_fn=<{t._grad_fn.name()}>")
    elif t._requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + contents, suffixes, len(prefix))


def _device(t: Tensor) -> list[str]:
    return [] if t.device == CPU else [f"device='{t.device}'"]


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > _Current.options.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


def tensor_format(self: Tensor, spec: str) -> str:
    """Format a 0-d tensor like its number in f-strings."""
    if mode.trace is not None and isinstance(resolve(self)._node, Node):
        text = mode.trace.mark(self, spec)
        if text is not None:
            return text
    if (
        self.ndim == 0
        and type(self).__name__ != "Parameter"
        and (spec or resolve(self)._array is not None)
    ):
        return format(self.item(), spec)
    return object.__format__(self, spec)
