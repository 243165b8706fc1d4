"""Sequences of different lengths as one tensor, and back."""

from __future__ import annotations

from collections.abc import Sequence

from ...functions.nn.vision import pad
from ...functions.torch.shape import transpose
from ...functions.torch.slicing_joining import stack
from ...tracer.tensor.tensor import Tensor


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
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
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
    """The first `lengths` of each of the sequences (longest L, N, *), or (N, longest L, *)."""
    rows = padded_sequences if batch_first else transpose(padded_sequences, 0, 1)
    return [row[:n] for row, n in zip(rows, lengths.tolist(), strict=True)]


__all__ = ["pad_sequence", "unpad_sequence"]
