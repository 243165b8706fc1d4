"""`vmap`: apply a function of one example to many examples at once.

The mapped axes of the arguments are moved to the front. The function runs once inside a BatchTrace.
The example axes of the outputs are moved to the axes that the user wants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ...ir.ops.movement import concat, expand, permute, slice as slice_
from ..mode import resolve
from ..pytree import LEAF, broadcast_prefix, flatten, unflatten
from ..tensor.inplace import overwrite
from ..tensor.masked_selection import settle
from ..tensor.tensor import Tensor
from .batching import BatchTrace, batching

InDims = int | tuple | dict | None


def move_axis(x: Tensor, source: int, to: int) -> Tensor:
    """Move one axis; the others keep their order."""
    order = [d for d in range(x.ndim) if d != source % x.ndim]
    order.insert(to % x.ndim, source % x.ndim)
    return x if order == list(range(x.ndim)) else permute(x, axes=tuple(order))


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


class _Call:
    """One call of a mapped function: which inputs are mapped along which axis."""

    def __init__(
        self, function: Callable, in_dims: Any, out_dims: Any, args: tuple, allow_none: bool
    ):
        self.function, self.out_dims, self.allow_none = function, out_dims, allow_none
        self.prefix = f"vmap({_name(function)}, in_dims={in_dims}, ...)(<inputs>)"
        if not isinstance(in_dims, (int, tuple)) or isinstance(in_dims, bool):
            raise ValueError(
                f"{self.prefix}: expected `in_dims` to be int or a (potentially nested) tuple "
                f"matching the structure of inputs, got: {type(in_dims)}."
            )
        if not args:
            raise ValueError(
                f"vmap({_name(function)})(<inputs>): got no inputs. Maybe you forgot to add "
                "inputs, or you are trying to vmap over a function with no inputs. The latter is "
                "unsupported."
            )
        self.leaves, self.structure = flatten(args)
        dims = broadcast_prefix(in_dims, self.structure)
        if dims is None:
            raise ValueError(
                f"{self.prefix}: in_dims is not compatible with the structure of `inputs`. in_dims "
                f"has structure {flatten(in_dims)[1]} but inputs has structure {self.structure}."
            )
        self.dims = [self.checked(d, x) for d, x in zip(dims, self.leaves, strict=True)]
        self.size = self.examples()

    def checked(self, d: Any, x: Any) -> int | None:
        """One entry of in_dims, checked against its input."""
        if d is None:
            return None
        if not isinstance(d, int) or isinstance(d, bool):
            raise ValueError(
                f"{self.prefix}: Got in_dim={d} for an input but in_dim must be either an integer "
                "dimension or None."
            )
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{self.prefix}: Got in_dim={d} for an input but the input is of type {type(x)}. "
                "We cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -x.ndim <= d < x.ndim:
            raise ValueError(
                f"{self.prefix}: Got in_dim={d} for some input, but that input is a Tensor of "
                f"dimensionality {x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < "
                f"{x.ndim}."
            )
        return d

    def examples(self) -> int:
        """The number of examples."""
        sizes = [
            x.shape[d] for x, d in zip(self.leaves, self.dims, strict=True) if d is not None
        ]
        if not sizes:
            raise ValueError(
                f"{self.prefix}: Expected at least one Tensor to vmap over, but every in_dim is "
                "None"
            )
        if len(set(sizes)) > 1:
            raise ValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, got "
                f"sizes {sizes} for the mapped dimension"
            )
        return sizes[0]

    def run(self, kwargs: dict, start: int, stop: int, randomness: str) -> tuple[list, Any, list]:
        """The outputs of the examples from `start` to `stop`: leaves, structure, and mapped axes.
        """
        trace = BatchTrace(stop - start, randomness)
        inputs = []
        for x, d in zip(self.leaves, self.dims, strict=True):
            inputs.append(x if d is None else (x, self.example_slice(x, d, start, stop), d))
        with batching(trace):
            args = [trace.enter(x[0], x[1]) if isinstance(x, tuple) else x for x in inputs]
            output = self.function(*unflatten(args, self.structure), **kwargs)
            leaves, structure = flatten(output)
            dims = self.output_dims(structure)
            for y, d in zip(leaves, dims, strict=True):
                whole = d is None or (y is None and self.allow_none)
                if not isinstance(y, Tensor) and not whole:
                    raise ValueError(
                        f"vmap({_name(self.function)}, ...): `{_name(self.function)}` must only "
                        f"return Tensors, got type {type(y)}. Did you mean to set out_dims= to "
                        "None for output?"
                    )
            results = [trace.value(y) if isinstance(y, Tensor) else (y, False) for y in leaves]
        self.write_back(trace, inputs)
        outputs = [
            self.place_output(y, m, d, trace.size) if isinstance(y, Tensor) else y
            for (y, m), d in zip(results, dims, strict=True)
        ]
        return outputs, structure, dims

    def example_slice(self, x: Tensor, d: int, start: int, stop: int) -> Tensor:
        """The examples `start` to `stop` of `x`, along the first axis."""
        front = move_axis(settle(x), d, 0)
        if (start, stop) == (0, self.size):
            return front
        rest = tuple((0, n, 1) for n in front.shape[1:])
        return slice_(front, slices=((start, stop, 1), *rest))

    def write_back(self, trace: BatchTrace, inputs: list) -> None:
        """Write in-place changes of mapped inputs to the user's tensors."""
        changed = {id(t): examples for t, examples in trace.write_back()}
        for x in inputs:
            if isinstance(x, tuple) and id(x[0]) in changed:
                overwrite(x[1], changed.pop(id(x[0])), "CopyBackwards")

    def output_dims(self, structure: Any) -> list[int | None]:
        """The axis along which each output is to be mapped."""
        out_dims = self.out_dims
        if structure is LEAF and isinstance(out_dims, tuple) and len(out_dims) == 1:
            out_dims = out_dims[0]
        dims = broadcast_prefix(out_dims, structure)
        if dims is None:
            raise ValueError(
                f"vmap({_name(self.function)}, ..., out_dims={self.out_dims}): out_dims is not "
                "compatible with the structure of `outputs`. out_dims has structure "
                f"{flatten(out_dims)[1]} but outputs has structure {structure}."
            )
        for d in dims:
            if d is not None and (not isinstance(d, int) or isinstance(d, bool)):
                raise ValueError(
                    f"vmap({_name(self.function)}, ..., out_dims={self.out_dims}): `out_dims` must "
                    "be an int, None or a python collection of ints representing where in the "
                    f"outputs the vmapped dimension should appear, got {d}."
                )
        return dims

    def place_output(self, y: Tensor, mapped: bool, d: int | None, size: int) -> Tensor:
        """An output with its example axis at `d`."""
        if d is None:
            if mapped:
                raise ValueError(
                    f"vmap({_name(self.function)}, ...): `{_name(self.function)}` can not return a "
                    "BatchedTensor when out_dim is None"
                )
            return y
        y = y if mapped else expand(resolve(y), shape=(size, *y.shape))
        if not -y.ndim <= d < y.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-y.ndim}, {y.ndim - 1}], "
                f"but got {d})"
            )
        return move_axis(y, 0, d)


def map_examples(
    function: Callable, in_dims: Any, out_dims: Any, args: tuple, kwargs: dict,
    randomness: str = "error", chunk_size: int | None = None, allow_none: bool = False,
) -> Any:
    """One call of a mapped function. With `allow_none` outputs may be None."""
    call = _Call(function, in_dims, out_dims, args, allow_none)
    step = min(chunk_size or call.size, call.size) or 1
    bounds = [(k, min(k + step, call.size)) for k in range(0, call.size, step)] or [(0, 0)]
    runs = [call.run(kwargs, start, stop, randomness) for start, stop in bounds]
    leaves, structure, dims = runs[0]
    if len(runs) > 1:
        columns = zip(*(run[0] for run in runs), strict=True)
        leaves = [
            ys[0] if d is None or ys[0] is None else concat(*ys, axis=d % ys[0].ndim)
            for ys, d in zip(columns, dims, strict=True)
        ]
    return unflatten(leaves, structure)


def vmap(func: Callable, in_dims: InDims = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable:
    """A function that applies `func` to many examples at once.

    `in_dims` gives for each argument the axis of the examples; None if the argument is the same for
    all. It may be nested like the arguments, or one value for all below. `out_dims` gives the axis
    of the examples in the outputs. `randomness` is 'error', 'different' or 'same'. `chunk_size`
    limits how many examples are computed together.

    Shape: those of `func`, with the examples along `in_dims` and `out_dims`.
    Raises ValueError for dimensions that do not fit; RuntimeError for random numbers, unless
    allowed.

    >>> xs, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 10.0])
    >>> torch.vmap(torch.dot, in_dims=(0, None))(xs, weight)
    tensor([21., 43.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if chunk_size is not None and not (chunk_size == int(chunk_size) and chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        return map_examples(func, in_dims, out_dims, args, kwargs, randomness, chunk_size)

    return mapped
