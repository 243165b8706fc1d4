"""Sequences of different lengths as one tensor, padded or packed, and back.

A PackedSequence holds the rows of all sequences in the order of time: first the first row of each
sequence, from the longest to the shortest, then the second of those that have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ...functions.nn.recurrent import rows_of
from ...functions.nn.vision import pad
from ...functions.torch.creation import arange, full, tensor
from ...functions.torch.gather import index_select
from ...functions.torch.scatter import scatter
from ...functions.torch.shape import flatten, reshape, transpose
from ...functions.torch.slicing_joining import stack
from ...ir.dtype import float16, float32, float64, int8, int16, int32, int64, uint8
from ...ir.ops.elementwise import where
from ...tracer.tensor.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of different lengths, packed: what `pack_padded_sequence` and `pack_sequence` give.

    `data` (sum of lengths, *) has the rows, `batch_sizes` (longest,) how many sequences go on at
    each time. If they were sorted, `sorted_indices` is the order and `unsorted_indices` leads back.

    Shape: as above. Raises AssertionError if `batch_sizes` is missing.

    >>> nn.utils.rnn.pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])]).data
    tensor([1, 4, 2, 3])
    """

    def __new__(cls, data: Any, batch_sizes: Tensor | None = None,
                sorted_indices: Tensor | None = None,
                unsorted_indices: Tensor | None = None) -> Self:
        if batch_sizes is None:  # both in the first argument
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with the data converted, as `Tensor.to` does."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cpu(self, *args: Any, **kwargs: Any) -> Self:
        return self.to(*args, **kwargs) if args or kwargs else self

    def cuda(self, *args: Any, **kwargs: Any) -> Self:
        return self.to(*args, **{"device": "cuda", **kwargs})

    def double(self) -> Self:
        return self.to(float64)

    def float(self) -> Self:
        return self.to(float32)

    def half(self) -> Self:
        return self.to(float16)

    def long(self) -> Self:
        return self.to(int64)

    def int(self) -> Self:
        return self.to(int32)

    def short(self) -> Self:
        return self.to(int16)

    def char(self) -> Self:
        return self.to(int8)

    def byte(self) -> Self:
        return self.to(uint8)

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        return False

    def pin_memory(self) -> Self:
        raise RuntimeError("Cannot access accelerator device when none is available.")


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one, (N,) -> (N,); None of None.

    >>> nn.utils.rnn.invert_permutation(torch.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    if permutation is None:
        return None
    count = arange(permutation.numel(), device=permutation.device)
    return scatter(permutation, 0, permutation, count)


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack the first `lengths` (N,) rows of each sequence of (T, N, *), or (N, T, *).

    Lengths descend, or with `enforce_sorted=False` the sequences are sorted first.

    Shape: data (sum of lengths, *). Raises RuntimeError for lengths that do not fit.

    >>> x = torch.tensor([[1, 4], [2, 0], [3, 0]])
    >>> nn.utils.rnn.pack_padded_sequence(x, [3, 1]).batch_sizes
    tensor([2, 1, 1])
    """
    if not isinstance(input, Tensor):
        raise TypeError(
            "_pack_padded_sequence(): argument 'input' (position 1) must be Tensor, not "
            f"{type(input).__name__}"
        )
    whole = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths, np.int64)
    times, batch = _times_and_batch(input, batch_first)
    _check_lengths(whole, times, batch, input.numel(), enforce_sorted)
    order = None if enforce_sorted else np.argsort(-whole, kind="stable")
    descending = whole if order is None else whole[order]
    column, k = np.arange(descending[0])[:, None], np.arange(batch) if order is None else order
    real = column < descending
    place = k * times + column if batch_first else column * batch + k  # in the rows of input
    rows = reshape(input, times * batch, *input.shape[2:])
    where = rows.device
    data = index_select(rows, 0, tensor(place[real], device=where))
    ordered = None if order is None else tensor(order, device=where)
    return PackedSequence(data, tensor(real.sum(1)), ordered)


def _times_and_batch(input: Tensor, batch_first: bool) -> tuple[int, int]:
    if input.ndim < 2:
        raise IndexError(
            f"pack_padded_sequence: input of {input.ndim} dimensions has no times and sequences"
        )
    return (input.shape[1], input.shape[0]) if batch_first else (input.shape[0], input.shape[1])


def _check_lengths(lengths: np.ndarray, times: int, batch: int, size: int, descend: bool) -> None:
    if size == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if lengths.ndim != 1:
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.ndim}D cpu Long tensor"
        )
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
            f"(batch_size={batch})"
        )
    if lengths.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if lengths.max() > times:  # torch reads beyond the end
        raise RuntimeError(
            f"start (0) + length ({lengths.max()}) exceeds dimension size ({times})."
        )
    if descend and (np.diff(lengths) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
            "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: Any = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences (longest, N, *), or (N, longest, *), padded, and their lengths (N,).

    `total_length` makes the first longer. Shape: as above. Raises ValueError if it is too short.

    >>> packed = nn.utils.rnn.pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    (tensor([[1, 2, 3],
            [4, 0, 0]]), tensor([3, 1]))
    """
    data, sizes, _, back = sequence.data, sequence.batch_sizes, *sequence[2:]
    longest = sizes.shape[0]
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but "
            f"got total_length={total_length} and max sequence length being {longest}"
        )
    batch = int(sizes[0]) if back is None else back.shape[0]
    real, place = rows_of(sizes, batch, data.shape[0])
    if back is not None:
        real, place = index_select(real, 1, back), index_select(place, 1, back)
    rows = index_select(data, 0, flatten(place))
    y = reshape(rows, longest, batch, *data.shape[1:])
    filler = full((), padding_value, dtype=data.dtype, device=data.device)
    y = where(reshape(real, longest, batch, *(1,) * (data.ndim - 1)), y, filler)
    if total_length is not None:
        more = total_length - longest
        y = pad(y, (*(0, 0) * (y.ndim - 1), 0, more), value=padding_value)
    return transpose(y, 0, 1) if batch_first else y, real.sum(0)


def pad_sequence(sequences: Sequence[Tensor], batch_first: bool = False,
                 padding_value: float = 0.0, padding_side: str = "right") -> Tensor:
    """Tensors (L, *) with L of their own as one (longest L, N, *), or (N, longest L, *).

    Shape: as above. Raises RuntimeError if other extents differ.

    >>> nn.utils.rnn.pad_sequence([torch.tensor([1, 2]), torch.tensor([3])], batch_first=True)
    tensor([[1, 2],
            [3, 0]])
    """
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"padding_side should be one of 'right' or 'left', got '{padding_side}'"
        )
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    for k, s in enumerate(sequences):
        if not isinstance(s, Tensor):
            raise TypeError(
                f"expected Tensor as element {k} in argument 0, but got {type(s).__name__}"
            )
        if s.ndim == 0:
            raise RuntimeError(f"pad_sequence: sequence {k} has no dimension to pad")
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        less = longest - s.shape[0]
        sides = (less, 0) if padding_side == "left" else (0, less)
        padded.append(pad(s, (*(0, 0) * (s.ndim - 1), *sides), value=padding_value))
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The first `lengths` of each of the sequences (longest L, N, *), or (N, longest L, *).

    Raises ValueError for another number of lengths.

    >>> nn.utils.rnn.unpad_sequence(torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]), True)
    [tensor([1, 2]), tensor([3])]
    """
    rows = padded_sequences if batch_first else transpose(padded_sequences, 0, 1)
    return [row[: max(n, 0)] for row, n in zip(rows, lengths.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (L, *), whose lengths descend unless `enforce_sorted=False`.

    Shape: data (sum of L, *). Raises RuntimeError for a sequence that is empty or too long.

    >>> a, b = torch.tensor([1, 2, 3]), torch.tensor([4])
    >>> nn.utils.rnn.pack_sequence([b, a], enforce_sorted=False).sorted_indices
    tensor([1, 0])
    """
    sequences = list(sequences)
    padded = pad_sequence(sequences)
    return pack_padded_sequence(padded, [s.shape[0] for s in sequences],
                                enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence, each (L, *).

    >>> packed = nn.utils.rnn.pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> nn.utils.rnn.unpack_sequence(packed)
    [tensor([1, 2, 3]), tensor([4])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
