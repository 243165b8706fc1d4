"""Transforms onto the sets of constraints: `biject_to(constraint)` is a bijection from all real
numbers, `transform_to(constraint)` a map that is good for optimisation, which may forget something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.tensor.tensor import Tensor
from . import constraints, transforms

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """Functions from constraints to transforms, by the class of the constraint.

    >>> from tracegrad.distributions import constraints, transform_to
    >>> transform_to(constraints.simplex)
    SoftmaxTransform()
    """

    def __init__(self) -> None:
        self._registry: dict[type, Callable[[Any], Any]] = {}
        super().__init__()

    def register(self, constraint: Any, factory: Callable[[Any], Any] | None = None) -> Any:
        """Register the function for a class of constraints, or the class of an instance. Without
        a function it is a decorator of one.

        Raises TypeError for what is no constraint.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not isinstance(constraint, type) or not issubclass(constraint, constraints.Constraint):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, "
                f"but got {constraint}"
            )
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint: Any) -> Any:
        """The transform onto the set of this constraint."""
        try:
            factory = self._registry[type(constraint)]
        except KeyError:
            raise NotImplementedError(
                f"Cannot transform {type(constraint).__name__} constraints"
            ) from None
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _above(constraint: Any) -> Any:
    loc = constraint.lower_bound
    return transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(loc, 1)]
    )


def _below(constraint: Any) -> Any:
    loc = constraint.upper_bound
    return transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(loc, -1)]
    )


def _between(constraint: Any) -> Any:
    low, high = constraint.lower_bound, constraint.upper_bound
    numbers = not isinstance(low, Tensor) and not isinstance(high, Tensor)
    if numbers and low == 0 and high == 1:
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform(
        [transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)]
    )


def _independent(registry: ConstraintRegistry) -> Callable[[Any], Any]:
    return lambda constraint: transforms.IndependentTransform(
        registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims
    )


def _cat(registry: ConstraintRegistry) -> Callable[[Any], Any]:
    return lambda constraint: transforms.CatTransform(
        [registry(c) for c in constraint.cseq], constraint.dim, constraint.lengths
    )


def _stack(registry: ConstraintRegistry) -> Callable[[Any], Any]:
    return lambda constraint: transforms.StackTransform(
        [registry(c) for c in constraint.cseq], constraint.dim
    )


for _registry in (biject_to, transform_to):
    for _kind, _factory in {
        constraints._Real: lambda constraint: transforms.identity_transform,
        constraints._IndependentConstraint: _independent(_registry),
        constraints._GreaterThan: _above,
        constraints._GreaterThanEq: _above,
        constraints._LessThan: _below,
        constraints._Interval: _between,
        constraints._HalfOpenInterval: _between,
        constraints._CorrCholesky: lambda constraint: transforms.CorrCholeskyTransform(),
        constraints._Cat: _cat(_registry),
        constraints._Stack: _stack(_registry),
    }.items():
        _registry.register(_kind, _factory)
biject_to.register(constraints._Simplex, lambda constraint: transforms.StickBreakingTransform())
transform_to.register(constraints._Simplex, lambda constraint: transforms.SoftmaxTransform())
transform_to.register(
    constraints._LowerCholesky, lambda constraint: transforms.LowerCholeskyTransform()
)
for _kind in (constraints._PositiveDefinite, constraints._PositiveSemidefinite):
    transform_to.register(_kind, lambda constraint: transforms.PositiveDefiniteTransform())
