"""Losses as Modules: each holds the options of its function in nn.functional."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter as Argument, signature
from typing import Any

from ..functions.nn.loss import legacy
from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .layer import documentation
from .module import Module

_BUFFERS = ("weight", "pos_weight")


class _Loss(Module):
    """Base of losses that reduce over elements."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean"):
        super().__init__()
        self.reduction = legacy(size_average, reduce, reduction)


class _WeightedLoss(_Loss):
    """Base of losses with a weight for each class."""

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None,
                 reduce: bool | None = None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


def _module(name: str, function: Callable, tensors: int = 2, without: str = "") -> type[Module]:
    """The Module whose options are those of the function, after its first arguments, which are
    tensors; tensors among the options are buffers.
    """
    arguments = signature(function)
    options = [
        a.replace(annotation=Argument.empty)
        for a in list(arguments.parameters.values())[tensors:]
        if a.name != without
    ]
    accepted = arguments.replace(parameters=options, return_annotation=Argument.empty)
    kept = [a.name for a in options if a.name not in ("size_average", "reduce")]

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        bound = accepted.bind(*args, **kwargs)
        bound.apply_defaults()
        chosen = bound.arguments
        chosen["reduction"] = legacy(
            chosen.pop("size_average", None), chosen.pop("reduce", None), chosen["reduction"]
        )
        for key, value in chosen.items():
            if key in _BUFFERS:
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)

    def forward(self: Any, *inputs: Tensor) -> Tensor:
        return function(*inputs, **{key: getattr(self, key) for key in kept})

    body = {"__init__": __init__, "forward": forward, "__module__": __name__,
            "__signature__": accepted, "__doc__": documentation(name, function)}
    base = _WeightedLoss if "weight" in kept else _Loss
    return type(name, (base,), body)


MSELoss = _module("MSELoss", F.mse_loss, without="weight")
L1Loss = _module("L1Loss", F.l1_loss, without="weight")
SmoothL1Loss = _module("SmoothL1Loss", F.smooth_l1_loss)
HuberLoss = _module("HuberLoss", F.huber_loss, without="weight")
NLLLoss = _module("NLLLoss", F.nll_loss)
CrossEntropyLoss = _module("CrossEntropyLoss", F.cross_entropy)
BCELoss = _module("BCELoss", F.binary_cross_entropy)
BCEWithLogitsLoss = _module("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits)
KLDivLoss = _module("KLDivLoss", F.kl_div)
PoissonNLLLoss = _module("PoissonNLLLoss", F.poisson_nll_loss)
GaussianNLLLoss = _module("GaussianNLLLoss", F.gaussian_nll_loss, 3)
CosineEmbeddingLoss = _module("CosineEmbeddingLoss", F.cosine_embedding_loss, 3)
HingeEmbeddingLoss = _module("HingeEmbeddingLoss", F.hinge_embedding_loss)
MarginRankingLoss = _module("MarginRankingLoss", F.margin_ranking_loss, 3)
MultiMarginLoss = _module("MultiMarginLoss", F.multi_margin_loss)
MultiLabelMarginLoss = _module("MultiLabelMarginLoss", F.multilabel_margin_loss)
MultiLabelSoftMarginLoss = _module("MultiLabelSoftMarginLoss", F.multilabel_soft_margin_loss)
SoftMarginLoss = _module("SoftMarginLoss", F.soft_margin_loss)
TripletMarginLoss = _module("TripletMarginLoss", F.triplet_margin_loss, 3)
CTCLoss = _module("CTCLoss", F.ctc_loss, 4)


class CosineSimilarity(Module):
    """cosine_similarity along `dim`.

    Shape: two that broadcast -> without the dimension `dim`.
    Raises IndexError for a dimension out of range; RuntimeError if the shapes do not broadcast.

    >>> nn.CosineSimilarity(dim=0)(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
    tensor(0.7071)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis.

    Shape: (*, D), (*, D) -> (*). Raises RuntimeError if the shapes do not broadcast.

    >>> nn.PairwiseDistance()(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class TripletMarginWithDistanceLoss(Module):
    """triplet_margin_with_distance_loss; the distance is PairwiseDistance() unless one is given.

    Shape: three of (*, D) -> (), or (*) with reduction 'none'.
    Raises ValueError for a margin that is not positive.

    >>> loss = nn.TripletMarginWithDistanceLoss(margin=2.0)
    >>> loss(torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 2.0))
    tensor(0.5858)
    """

    def __init__(self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
                 margin: float = 1.0, swap: bool = False,
                 reduction: str = "mean") -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(
                "TripletMarginWithDistanceLoss: expected margin to be greater than 0, got "
                f"{margin} instead"
            )
        self.distance_function: Any = distance_function or PairwiseDistance()
        self.margin, self.swap, self.reduction = margin, swap, reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction,
        )
