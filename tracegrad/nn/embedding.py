"""Layers that hold a table of vectors: Embedding and EmbeddingBag."""

from __future__ import annotations

from typing import Any, Self

from ..functions.torch.creation import empty
from ..tracer.mode import FixedGradMode
from ..tracer.tensor.tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class _Table(Module):
    """weight (num_embeddings, embedding_dim), at first standard normal; the row `padding_idx` 0."""

    weight: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
                 _weight: Tensor | None, _freeze: bool, kind: dict):
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None:
            assert -num_embeddings <= padding_idx < num_embeddings, (
                "Padding_idx must be within num_embeddings"
            )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        if _weight is None:
            fresh = empty(num_embeddings, embedding_dim, **kind)
            self.weight = Parameter(fresh, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            assert tuple(_weight.shape) == (num_embeddings, embedding_dim), (
                "Shape of weight does not match num_embeddings and embedding_dim"
            )
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with FixedGradMode(False):
                self.weight[self.padding_idx].fill_(0)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Self:
        """A layer with these rows, which are not trained if `freeze`."""
        assert embeddings.ndim == 2, "Embeddings parameter is expected to be 2-dimensional"
        make: Any = cls
        layer = make(*embeddings.shape, _weight=embeddings, **options)
        layer.weight.requires_grad = not freeze
        return layer

    def _options(self, defaults: dict[str, Any]) -> str:
        shown = [f"{self.num_embeddings}, {self.embedding_dim}"]
        shown += [f"{k}={getattr(self, k)}" for k, d in defaults.items() if getattr(self, k) != d]
        return ", ".join(shown)


class Embedding(_Table):
    """Rows of a table by number: (*) -> (*, embedding_dim).

    Shape: as above. Dtype: numbers are int64 or int32, the output has that of the weight.
    Raises IndexError for a number out of range; AssertionError for a padding_idx out of range.

    >>> table = nn.Embedding.from_pretrained(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> table(torch.tensor([1, 0]))
    tensor([[3., 4.],
            [1., 2.]])
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False,
                 _weight: Tensor | None = None, _freeze: bool = False, device: Any = None,
                 dtype: Any = None):
        super().__init__(num_embeddings, embedding_dim, padding_idx, _weight, _freeze,
                         {"device": device, "dtype": dtype})
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)

    def extra_repr(self) -> str:
        return self._options({
            "padding_idx": None, "max_norm": None, "norm_type": 2, "scale_grad_by_freq": False,
        }) + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """The sum, mean or maximum of rows of a table over each bag of numbers.

    Shape: (N, L) -> (N, embedding_dim), or (sum of lengths,) with offsets (N,).
    Raises IndexError or RuntimeError for a number out of range; ValueError for offsets that do not
    fit.

    >>> table = nn.EmbeddingBag.from_pretrained(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), mode="sum")
    >>> table(torch.tensor([[0, 1]]))
    tensor([[4., 6.]])
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                 sparse: bool = False, _weight: Tensor | None = None,
                 include_last_offset: bool = False, padding_idx: int | None = None,
                 device: Any = None, dtype: Any = None):
        super().__init__(num_embeddings, embedding_dim, padding_idx, _weight, False,
                         {"device": device, "dtype": dtype})
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.mode, self.sparse = scale_grad_by_freq, mode, sparse
        self.include_last_offset = include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None,
                per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type,
                               self.scale_grad_by_freq, self.mode, self.sparse, per_sample_weights,
                               self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        defaults = {"max_norm": None, "norm_type": 2, "scale_grad_by_freq": False}
        return (
            f"{self._options(defaults)}, mode={self.mode!r}"
            f"{'' if self.padding_idx is None else f', padding_idx={self.padding_idx}'}"
        )
