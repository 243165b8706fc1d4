"""Rows of tables, chosen by number: embeddings, sums of them over bags, and one-hot vectors."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import int32, int64
from ...ir.faults import ROW, demand
from ...ir.ops.elementwise import cast, check_index, stop_gradient, where
from ...ir.ops.index import index as index_, index_put
from ...ir.ops.movement import expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.mode import FixedGradMode
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..arguments import at_most, require
from ..torch.creation import arange, ones, zeros
from ..torch.other_counting import searchsorted
from ..torch.reduction import amax, sum as sum_
from ..torch.reduction_statistics import vector_norm
from ..torch.shape import unsqueeze

__all__ = ["embedding", "embedding_bag", "one_hot"]


def _indices(input: Tensor, name: str) -> Tensor:
    if input.dtype not in (int32, int64):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got torch.{SCALAR_TYPE[input.dtype]}Tensor instead (while checking "
            f"arguments for {name})"
        )
    return input if input.dtype is int64 else cast(input, dtype=int64)


def _padding(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def _accumulated(rows: int, at: Tensor, what: Tensor) -> Tensor:
    """For each of `rows` rows, the sum of what[k] over the k with at[k] == row."""
    start = zeros((rows, *what.shape[1:]), dtype=what.dtype)
    return index_put(start, what, at, axes=(0,), accumulate=True)


def _renormalize(weight: Tensor, at: Tensor, max_norm: float, norm_type: float) -> None:
    """Shrink the rows that are used to at most this norm, in place."""
    with FixedGradMode(False):
        flat = reshape(at, shape=(at.numel(),))
        used = _accumulated(weight.shape[0], flat, ones(at.numel(), dtype=weight.dtype)) > 0
        size = vector_norm(weight.detach(), norm_type, 1)
        shrink = where(used & (size > max_norm), max_norm / (size + 1e-7), 1.0)
        weight.mul_(unsqueeze(shrink, 1))


def _rows(weight: Tensor, at: Tensor, padding: int | None, by_freq: bool) -> Tensor:
    """weight[at]; the gradient passes by the padding, and is shared among equal numbers if
    `by_freq`.
    """
    y = index_(weight, at, axes=(0,))
    if by_freq:
        flat = reshape(at, shape=(at.numel(),))
        often = _accumulated(weight.shape[0], flat, ones(at.numel(), dtype=weight.dtype))
        fixed = stop_gradient(y)
        y = fixed + (y - fixed) / unsqueeze(index_(often, at, axes=(0,)), -1)
    if padding is not None:
        y = where(unsqueeze(at == padding, -1), stop_gradient(y), y)
    return y


@composite("EmbeddingBackward0")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None,
              max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """The rows of `weight` (V, D) whose numbers stand in `input` (*): (*, D).

    The row `padding_idx` gets no gradient; rows longer than `max_norm` are shrunk in place. The
    gradient is always dense.

    Shape: (*), (V, D) -> (*, D). Dtype: that of weight; numbers are int64 or int32.
    Raises IndexError for a number out of range; RuntimeError for numbers of another dtype.

    >>> F.embedding(torch.tensor([1, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    padding = _padding(padding_idx, weight.shape[0])
    at = check_index(_indices(input, "embedding"), size=weight.shape[0], dim=ROW)
    if max_norm is not None:
        _renormalize(weight, at, max_norm, norm_type)
    return _rows(weight, at, padding, scale_grad_by_freq)


def _refuse(bad: bool, words: str) -> None:
    if bad:
        raise ValueError(words)


def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None,
                  max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:
    """The sum, mean or maximum of rows of `weight` (V, D) over each bag of numbers.

    Bags are the rows of a 2-d `input`, or begin at `offsets` in a 1-d one: (bags, D). Numbers equal
    to `padding_idx` do not count; an empty bag gives zeros.

    Shape: input (B, N), or (N,) with offsets (B,) -> (B, D). Dtype: that of weight; numbers int64
    or int32. Raises RuntimeError or IndexError for a number out of range; ValueError for a wrong
    rank.

    >>> F.embedding_bag(torch.tensor([[0, 1]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), mode="sum")
    tensor([[4., 6.]])
    """
    if weight.dtype is int64 and input.dtype.is_floating_point:
        input, weight = weight, input
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({tuple(per_sample_weights.shape)}) is not "
            f"None, then it must have the same shape as the input ({tuple(input.shape)})"
        )
    _refuse(
        input.ndim not in (1, 2),
        f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}",
    )
    if input.ndim == 2:
        _refuse(offsets is not None,
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences. However, found offsets of type Tensor")
    else:
        _refuse(offsets is None, "offsets has to be a 1D Tensor but got None")
        _refuse(offsets.ndim != 1, "offsets has to be a 1D Tensor")  # type: ignore[union-attr]
    _refuse(mode not in ("sum", "mean", "max"), "mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    if not weight.is_floating_point():
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: "
            f"Half, BFloat16, Float, Double; but got {SCALAR_TYPE[weight.dtype]} instead"
        )
    return _bags(input, weight, offsets, per_sample_weights, mode, include_last_offset,
                 _padding(padding_idx, weight.shape[0]), max_norm, norm_type,
                 scale_grad_by_freq)


@composite("EmbeddingBagBackward0")
def _bags(input: Tensor, weight: Tensor, offsets: Tensor | None, scales: Tensor | None, how: str,
          closed: bool, padding: int | None, max_norm: Any, norm_type: float,
          by_freq: bool) -> Tensor:
    at = check_index(_indices(input, "embedding_bag"), size=weight.shape[0], dim=ROW)
    if max_norm is not None:
        _renormalize(weight, at, max_norm, norm_type)
    rows = _rows(weight, at, padding, by_freq)
    counts = None if padding is None else unsqueeze(at != padding, -1)
    if scales is not None:
        rows = rows * unsqueeze(scales, -1)
    if offsets is None:
        return _over_rows(rows, counts, how)
    return _over_segments(rows, counts, _bag_numbers(offsets, at.numel(), closed), how)


def _over_rows(rows: Tensor, counts: Tensor | None, how: str) -> Tensor:
    """The bags are the second dimension of `rows` (bags, n, D)."""
    if rows.shape[1] == 0:
        return sum_(rows, 1)
    if how == "max":
        return _largest(rows, counts, 1)
    total = sum_(rows if counts is None else where(counts, rows, 0), 1)
    if how == "sum":
        return total
    if counts is None:
        return total / rows.shape[1]
    return total / sum_(counts.to(rows.dtype), 1).clamp_min(1)


def _bag_numbers(offsets: Tensor, count: int, closed: bool) -> tuple[Tensor, int]:
    """The bag of each position, and how many bags there are."""
    bags = offsets.shape[0] - closed
    if offsets.numel():
        check_index(offsets[:1], size=1, dim=demand("first bag"))
        at_most(offsets, count, "last bag")
    starts = offsets[:bags] if closed else offsets
    number = searchsorted(starts, arange(count, dtype=starts.dtype), right=True) - 1
    return check_index(number, size=max(bags, 1), dim=0), bags


def _over_segments(
    rows: Tensor, counts: Tensor | None, numbers: tuple[Tensor, int], how: str
) -> Tensor:
    """The bags are runs of `rows` (n, D)."""
    bag, bags = numbers
    if how == "max":
        mine = unsqueeze(unsqueeze(arange(bags), 1) == bag, -1)
        if counts is not None:
            mine = mine & counts
        wide = expand(unsqueeze(rows, 0), shape=(bags, *rows.shape))
        return _largest(wide, mine, 1)
    kept = rows if counts is None else where(counts, rows, 0)
    total = _accumulated(bags, bag, kept)
    if how == "sum":
        return total
    one = ones(rows.shape[0], 1, dtype=rows.dtype) if counts is None else counts.to(rows.dtype)
    return total / _accumulated(bags, bag, one).clamp_min(1)


def _largest(rows: Tensor, counts: Tensor | None, dim: int) -> Tensor:
    """The maximum of those that count, with the gradient to the first of equals; 0 of none."""
    if rows.numel() == 0:
        return sum_(rows, dim)
    if counts is not None:
        rows = where(counts, rows, -math.inf)
    y = rows.max(dim).values
    return y if counts is None else where(amax(expand(counts, shape=tuple(rows.shape)), dim), y, 0)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (*, classes): 1 at the class, else 0; as many classes as are needed by default.

    Shape: (*) -> (*, classes). Dtype: int64, as the labels must be.
    Raises RuntimeError for negative labels, or for one that is not below `num_classes`.

    >>> F.one_hot(torch.tensor([0, 2]), num_classes=3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if tensor.dtype is not int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if tensor.numel() == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    require(tensor >= 0, "no class")
    if num_classes == -1:
        num_classes = int(tensor.max()) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    label = check_index(tensor, size=num_classes, dim=demand("class"))
    return cast(unsqueeze(label, -1) == arange(num_classes), dtype=int64)
