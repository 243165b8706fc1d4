"""AdaptiveLogSoftmaxWithLoss: a softmax over many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..functions.torch.creation import zeros
from ..functions.torch.gather import where
from ..functions.torch.slicing_joining import cat
from ..tracer.mode import mode
from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of classes ordered by frequency: the head has the first `cutoffs[0]` of
    them and one entry for each cluster of rarer ones, whose inputs are projected to fewer features.

    Shape: (N, in_features), (N,) -> output (N,), loss (); or without N. Raises ValueError for
    cutoffs that do not increase between 1 and n_classes - 1; RuntimeError for a target out of
    range. Grave et al. (2017).

    >>> layer = nn.AdaptiveLogSoftmaxWithLoss(16, 100, [10, 40])
    >>> output, loss = layer(torch.randn(3, 16), torch.tensor([2, 30, 99]))
    >>> output.shape, bool(loss == -output.mean())
    (tracegrad.Size([3]), True)
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int],
                 div_value: float = 4.0, head_bias: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (cutoffs != sorted(set(cutoffs)) or cutoffs[0] <= 0 or cutoffs[-1] > n_classes - 1
                or any(int(c) != c for c in cutoffs)):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                "order, where each value is between 1 and n_classes-1"
            )
        kind = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes, self.div_value = in_features, n_classes, div_value
        self.cutoffs, self.head_bias = [*cutoffs, n_classes], head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, **kind)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            narrow = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(
                Linear(in_features, narrow, False, **kind), Linear(narrow, size, False, **kind)))

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        self.head.reset_parameters()
        for project, rank in self.tail:
            project.reset_parameters()
            rank.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        _check(input_, target_)
        alone = target_.ndim == 0
        x, target = (input_.unsqueeze(0), target_.unsqueeze(0)) if alone else (input_, target_)
        if mode.trace is None and target.numel():
            low, high = int(target.min()), int(target.max())
            if low < 0 or high >= self.n_classes:
                raise RuntimeError(
                    f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                    f"[{low}, {high}] were found. "
                )
        head = F.log_softmax(self.head(x), dim=1)
        entry, output = target, zeros(1, dtype=head.dtype, device=head.device)
        for i, layer in enumerate(self.tail):
            first, last = self.cutoffs[i], self.cutoffs[i + 1]
            inside = (target >= first) & (target < last)
            place = where(inside, target - first, 0)
            rank = F.log_softmax(layer(x), dim=1).gather(1, place.unsqueeze(1)).squeeze(1)
            entry = where(inside, self.shortlist_size + i, entry)
            output = output + where(inside, rank, 0)
        output = output + head.gather(1, entry.unsqueeze(1)).squeeze(1)
        return _ASMoutput(output.squeeze(0) if alone else output, (-output).mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """Of all classes: (N, in_features) -> (N, n_classes)."""
        return self._full_log_prob(input, self.head(input))

    def _full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, layer in enumerate(self.tail):
            cluster = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(F.log_softmax(layer(input), dim=1) + cluster)
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class: (N, in_features) -> (N,)."""
        return self.log_prob(input).argmax(1)


def _check(input: Tensor, target: Tensor) -> None:
    if target.ndim == 1:
        if input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if input.ndim != 2:
            raise RuntimeError(
                "1D target tensor expects 2D input tensors, but found inputs with size "
                f"{input.shape}"
            )
    elif target.ndim == 0:
        if input.ndim != 1:
            raise RuntimeError(
                "0D target tensor expects 1D input tensors, but found inputs with size "
                f"{input.shape}"
            )
    else:
        raise RuntimeError(
            "0D or 1D target tensor expected, multi-target not supported"
        )
