"""Collation: samples of one structure become one structure of batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ...functions.torch.creation import as_tensor, tensor
from ...functions.torch.slicing_joining import stack
from ...ir.dtype import float64
from ...tracer.mode import mode
from ...tracer.tensor.device import usable
from ...tracer.tensor.tensor import Tensor, wrap

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

_WRONG = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found"


def _text(data: np.ndarray) -> bool:
    """Whether an array holds text or objects."""
    return data.dtype.kind in "SUO"


def _rebuilt(like: Any, values: Any) -> Any:
    """A mapping or a sequence of the type of another one, with other values.

    One that can be changed is copied and then filled: its type may have more attributes than its
    constructor has arguments. What can do neither becomes a dict or a list.
    """
    values = values if isinstance(values, dict) else list(values)
    try:
        if isinstance(like, MutableMapping):
            twin = copy.copy(like)
            twin.update(values)
            return twin
        if isinstance(like, MutableSequence):
            filled = copy.copy(like)
            for i, value in enumerate(values):
                filled[i] = value
            return filled
        return type(like)(values)
    except TypeError:
        return values


def _named(data: Any) -> bool:
    return isinstance(data, tuple) and hasattr(data, "_fields")


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers in a structure as tensors; everything else as it is. Tuples become
    lists.

    Raises TypeError for arrays of other dtypes than torch has.

    >>> import numpy as np
    >>> torch.utils.data.default_convert({"x": np.arange(2), "name": "a"})
    {'x': tensor([0, 1]), 'name': 'a'}
    """
    if isinstance(data, np.ndarray):
        return data if _text(data) else as_tensor(data)
    if isinstance(data, np.generic) and not isinstance(data, (np.str_, np.bytes_)):
        return as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt(data, {k: default_convert(data[k]) for k in data})
    if _named(data):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, map(default_convert, data))
    return data


def collate(batch: Any, *, collate_fn_map: dict | None = None) -> Any:
    """Samples of one structure as one structure of batches, by functions that a map gives for the
    types of leaves: `function(batch, collate_fn_map=...)`.

    Raises TypeError for leaves of other types, RuntimeError for lists of unequal lengths.
    """
    first, kinds = batch[0], collate_fn_map or {}
    kind = type(first)
    if (function := kinds.get(kind)) is None:
        function = next((f for k, f in kinds.items() if isinstance(first, k)), None)
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)

    def column(samples: Any) -> Any:
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _rebuilt(first, {k: column([sample[k] for sample in batch]) for k in first})
    if _named(first):
        return kind(*map(column, zip(*batch, strict=False)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = map(column, zip(*batch, strict=True))
        return list(columns) if isinstance(first, tuple) else _rebuilt(first, columns)
    raise TypeError(f"{_WRONG} {kind}")


def _plain(t: Any) -> bool:
    """Whether a tensor is no more than an array on the host."""
    return type(t) is Tensor and not t.requires_grad and type(t._array) is np.ndarray


def _tensors(batch: Sequence, *, collate_fn_map: Any = None) -> Tensor:
    first = batch[0]
    plain = mode.trace is None and all(map(_plain, batch))
    if plain and len({(t.dtype, t._array.shape) for t in batch}) == 1:
        return wrap(np.stack([t._array for t in batch]), first.dtype)
    return stack(batch, 0)


def _arrays(batch: Sequence, *, collate_fn_map: Any = None) -> Any:
    if _text(batch[0]):
        raise TypeError(f"{_WRONG} {batch[0].dtype}")
    return collate([as_tensor(b) for b in batch], collate_fn_map=collate_fn_map)


def _scalars(batch: Sequence, *, collate_fn_map: Any = None) -> Tensor:
    return as_tensor(np.array(batch))


def _floats(batch: Sequence, *, collate_fn_map: Any = None) -> Tensor:
    return tensor(batch, dtype=float64)


def _integers(batch: Sequence, *, collate_fn_map: Any = None) -> Tensor:
    return tensor(batch)


def _as_it_is(batch: Sequence, *, collate_fn_map: Any = None) -> Sequence:
    return batch


default_collate_fn_map: dict[type | tuple[type, ...], Callable] = {
    Tensor: _tensors, np.ndarray: _arrays, (np.bool_, np.number, np.object_): _scalars,
    float: _floats, int: _integers, str: _as_it_is, bytes: _as_it_is,
}


def default_collate(batch: Any) -> Any:
    """Samples of one structure as one structure of batches: tensors and arrays are stacked, numbers
    become tensors, text stays a list, and dicts, lists and named tuples are entered.

    Shape: (samples, *). Dtype: that of the samples; float64 of Python's floats.
    Raises TypeError for other types, RuntimeError for shapes or lengths that differ.

    >>> torch.utils.data.default_collate([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}])
    {'x': tensor([1, 2]), 'y': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


# ---- pinned memory
def pinning(loader: Any) -> Callable[[Any], Any]:
    """What is done with each batch of a loader: if it says so, and there is a GPU, its tensors are
    put into pinned memory.
    """
    if loader.pin_memory:
        try:
            usable("cuda")
        except RuntimeError:
            return _in_ordinary_memory
        return _in_pinned_memory
    return _in_ordinary_memory


def _in_ordinary_memory(data: Any) -> Any:
    return data


def _in_pinned_memory(data: Any) -> Any:
    if hasattr(data, "pin_memory"):  # a tensor, or an object of the user's
        return data.pin_memory()
    if isinstance(data, Mapping):
        return _rebuilt(data, {k: _in_pinned_memory(v) for k, v in data.items()})
    if _named(data):
        return type(data)(*map(_in_pinned_memory, data))
    if isinstance(data, tuple):
        return [_in_pinned_memory(d) for d in data]  # a list, as in torch
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, map(_in_pinned_memory, data))
    return data
