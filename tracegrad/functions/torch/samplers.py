"""Random numbers by rejection methods (ir/ops/samplers.py): gamma, Dirichlet, Poisson, binomial and
von Mises distributions. Computed in float64 and rounded once.
"""

from __future__ import annotations

from ...ir.dtype import DType, float64
from ...ir.op import OpDef
from ...ir.ops.elementwise import exp, maximum
from ...ir.ops.samplers import (
    angle_sample,
    binomial_sample,
    dirichlet_sample,
    gamma_sample,
    log_gamma_sample,
    poisson_sample,
)
from ...ir.ops.slopes import beta_slope, gamma_slope
from ...tracer.autograd.graph import composite
from ...tracer.tensor.generator import Generator
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..arguments import require
from .random_sampling import bits, constant_in, floating, narrowed
from .shape import broadcast_tensors
from .tensors import finfo

__all__ = [
    "_dirichlet_grad", "_sample_dirichlet", "_standard_gamma", "_standard_gamma_grad", "binomial",
    "poisson",
]


def _drawn(sampler: OpDef, generator: Generator | None, *params: Tensor) -> Tensor:
    """A float64 number for each element of the parameters, without a history."""
    word = bits(tuple(params[0].shape), generator)
    return sampler(word, *(narrowed(p.detach(), float64) for p in params))


def _above_zero(y: Tensor, d: DType) -> Tensor:
    """y in this dtype, and its least normal number where it is smaller."""
    return narrowed(maximum(y, finfo(d).tiny), d)


@composite("StandardGammaBackward0")
def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of the gamma distribution of rate one with these concentrations; differentiable.

    Shape: (*) -> (*). Dtype: that of input. Raises NotImplementedError for integers.

    >>> bool((torch._standard_gamma(torch.ones(3)) > 0).all())
    True
    """
    d = floating(input.dtype, "gamma_cpu")
    y = _above_zero(exp(_drawn(log_gamma_sample, generator, input)), d)
    return gamma_sample(y, input)


def _standard_gamma_grad(input: Tensor, output: Tensor) -> Tensor:
    """The derivative of numbers that `_standard_gamma` drew, in the concentrations.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises NotImplementedError where its own derivative is asked for.

    >>> torch._standard_gamma_grad(torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([1.6317])
    """
    return gamma_slope(input, output)


@composite("DirichletBackward0")
def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Vectors of the Dirichlet distribution, with the concentrations in the last dimension of
    `input`; differentiable.

    Shape: (*, N) -> (*, N). Dtype: that of input. Raises NotImplementedError for integers.

    >>> torch._sample_dirichlet(torch.ones(2, 3)).sum(-1)
    tensor([1.0000, 1.0000])
    """
    d = floating(input.dtype, "dirichlet")
    log_gamma = _drawn(log_gamma_sample, generator, input)
    parts = exp(log_gamma - log_gamma.amax(-1, keepdim=True))  # the ratios of small ones are kept
    return dirichlet_sample(_above_zero(parts / parts.sum(-1, keepdim=True), d), input)


def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """The derivative of x in alpha, over 1 - x: x has the beta distribution of alpha and
    total - alpha, of which the latter is fixed.

    Shape: three that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises NotImplementedError where its own derivative is asked for.

    >>> torch._dirichlet_grad(torch.tensor([0.3]), torch.tensor([2.0]), torch.tensor([3.0]))
    tensor([0.2580])
    """
    return beta_slope(x, alpha, total)


@composite("PoissonBackward0")
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of events at these rates.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for negative rates.

    >>> torch.poisson(torch.zeros(2))
    tensor([0., 0.])
    """
    d = floating(input.dtype, "poisson_cpu")
    require(~(input.detach() < 0), "rate")
    return constant_in(narrowed(_drawn(poisson_sample, generator, input), d), input)


@composite("BinomialBackward0")
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """The successes among `count` trials, each of probability `prob`.

    Shape: two that broadcast -> the shape to which they do. Dtype: that of both, floating point.
    Raises ValueError for integers; RuntimeError for different dtypes.

    >>> torch.binomial(torch.tensor([3.0, 3.0]), torch.tensor([0.0, 1.0]))
    tensor([0., 3.])
    """
    for name, x in (("count", count), ("prob", prob)):
        if not x.dtype.is_floating_point:
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: "
                f"{SCALAR_TYPE[x.dtype]}"
            )
    if count.dtype is not prob.dtype:
        raise RuntimeError(
            f"Found dtype {SCALAR_TYPE[prob.dtype]} but expected {SCALAR_TYPE[count.dtype]}"
        )
    n, p = broadcast_tensors(count, prob)
    drawn = _drawn(binomial_sample, generator, n, p)
    return constant_in(narrowed(drawn, count.dtype), count, prob)


def von_mises(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Angles around zero of the distribution of von Mises.

    Shape: (*) -> (*). Dtype: that of concentration.
    """
    return narrowed(_drawn(angle_sample, generator, concentration), concentration.dtype)
