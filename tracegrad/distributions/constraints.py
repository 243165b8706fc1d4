"""Constraints: the sets that parameters and values of distributions lie in.

A constraint checks whether values lie in its set, element by element or, for `event_dim` > 0,
vector by vector or matrix by matrix. `constraint_registry` has a transform onto each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tracegrad as torch

from ..tracer.tensor.tensor import Tensor

__all__ = [
    "Constraint", "MixtureSameFamilyConstraint", "boolean", "cat", "corr_cholesky", "dependent",
    "dependent_property", "greater_than", "greater_than_eq", "half_open_interval", "independent",
    "integer_interval", "interval", "is_dependent", "less_than", "lower_cholesky",
    "lower_triangular", "multinomial", "nonnegative", "nonnegative_integer", "one_hot", "positive",
    "positive_definite", "positive_integer", "positive_semidefinite", "real", "real_vector",
    "simplex", "square", "stack", "symmetric", "unit_interval",
]

SLACK = 1e-6  # by how much a sum of probabilities, or a symmetric matrix, may be off


class Constraint:
    """A set of values. `is_discrete` says whether it has isolated points, `event_dim` how many of
    the last dimensions a value of it takes.

    >>> torch.distributions.constraints.positive.check(torch.tensor([1.0, -1.0]))
    tensor([ True, False])
    """

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Any) -> Any:
        """A bool for each event of `value`: whether it is in the set."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__[1:] + "()"


class _Dependent(Constraint):
    """A set that depends on other values, such as other parameters."""

    def __init__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented):
        self._is_discrete = is_discrete
        self._event_dim = event_dim
        super().__init__()

    @property
    def is_discrete(self) -> bool:
        return self._static("is_discrete")

    @property
    def event_dim(self) -> int:
        return self._static("event_dim")

    def _static(self, name: str) -> Any:
        value = getattr(self, f"_{name}")
        if value is NotImplemented:
            raise NotImplementedError(f".{name} cannot be determined statically")
        return value

    def __call__(self, *, is_discrete: Any = NotImplemented,
                 event_dim: Any = NotImplemented) -> _Dependent:
        """A copy that says more of what is known."""
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, value: Any) -> Any:
        raise ValueError("Cannot determine validity of dependent constraint")

    def __repr__(self) -> str:
        return type(self).__name__.lstrip("_") + "()"


def is_dependent(constraint: Any) -> bool:
    """Whether it cannot be checked without an instance of the distribution.

    >>> torch.distributions.constraints.is_dependent(torch.distributions.constraints.real)
    False
    """
    return isinstance(constraint, _Dependent)


class _DependentProperty(property, _Dependent):
    """A property whose value is a constraint; of the class it is a dependent constraint."""

    def __init__(self, fn: Callable | None = None, *, is_discrete: Any = NotImplemented,
                 event_dim: Any = NotImplemented):
        super().__init__(fn)
        self._is_discrete = is_discrete
        self._event_dim = event_dim

    def __call__(self, fn: Any) -> _DependentProperty:  # type: ignore[override]
        return _DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)

    def __repr__(self) -> str:
        return "DependentProperty()"


class _IndependentConstraint(Constraint):
    """Values all of which, over so many last dimensions, are in the base constraint."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int):
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(
                f"base_constraint must be a Constraint, got {type(base_constraint).__name__}"
            )
        if not isinstance(reinterpreted_batch_ndims, int) or reinterpreted_batch_ndims < 0:
            raise AssertionError(
                "reinterpreted_batch_ndims must be a non-negative int, got "
                f"{reinterpreted_batch_ndims}"
            )
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> bool:
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value: Any) -> Any:
        valid = self.base_constraint.check(value)
        if valid.ndim < self.reinterpreted_batch_ndims:
            least = self.base_constraint.event_dim + self.reinterpreted_batch_ndims
            raise ValueError(f"Expected value.dim() >= {least} but got {value.dim()}")
        for _ in range(self.reinterpreted_batch_ndims):
            valid = valid.all(-1)
        return valid

    def __repr__(self) -> str:
        kind = type(self).__name__[1:]
        return f"{kind}({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """Values in the support of all components of a mixture.

    >>> from tracegrad.distributions import constraints
    >>> constraints.MixtureSameFamilyConstraint(constraints.real)
    MixtureSameFamilyConstraint(Real())
    """

    def __init__(self, base_constraint: Constraint):
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(
                f"base_constraint must be a Constraint, got {type(base_constraint).__name__}"
            )
        self.base_constraint = base_constraint

    @property
    def is_discrete(self) -> bool:
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:
        return self.base_constraint.event_dim

    def check(self, value: Any) -> Any:
        valid = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        return valid.all(-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_constraint!r})"


# ---- sets of numbers, by table: the bounds, whether whole, and the condition
class _Bounded(Constraint):
    """A set of numbers with bounds, which are numbers or tensors, under these names."""

    names: tuple[str, ...] = ()

    def __init__(self, *bounds: Any, **named: Any):
        values = dict(zip(self.names, bounds, strict=False)) | named
        if len(bounds) > len(self.names) or [*values] != [n for n in self.names if n in values] \
                or len(values) != len(self.names):
            raise TypeError(f"{type(self).__name__[1:]} takes {', '.join(self.names)}")
        self.__dict__.update(values)

    def __repr__(self) -> str:
        bounds = ", ".join(f"{name}={getattr(self, name)}" for name in self.names)
        return f"{type(self).__name__[1:]}({bounds})"


def _numbers(name: str, names: str, holds: Callable[..., Any], whole: bool = False,
             words: str = "") -> type[_Bounded]:
    bounds = tuple(names.split())

    def check(self: Any, value: Any) -> Any:
        valid = holds(value, *(getattr(self, n) for n in bounds))
        return (value % 1 == 0) & valid if whole else valid

    return type(name, (_Bounded,), {
        "names": bounds, "is_discrete": whole, "check": check, "__module__": __name__,
        "__doc__": f"{'Whole numbers' if whole else 'Numbers'} {words}.",
    })


_GreaterThan = _numbers("_GreaterThan", "lower_bound", lambda x, a: a < x, words="above a bound")
_GreaterThanEq = _numbers("_GreaterThanEq", "lower_bound", lambda x, a: a <= x,
                          words="not below a bound")
_LessThan = _numbers("_LessThan", "upper_bound", lambda x, b: x < b, words="below a bound")
_Interval = _numbers("_Interval", "lower_bound upper_bound", lambda x, a, b: (a <= x) & (x <= b),
                     words="in a closed interval")
_HalfOpenInterval = _numbers("_HalfOpenInterval", "lower_bound upper_bound",
                             lambda x, a, b: (a <= x) & (x < b),
                             words="in an interval with its lower bound alone")
_IntegerInterval = _numbers("_IntegerInterval", "lower_bound upper_bound",
                            lambda x, a, b: (a <= x) & (x <= b), True, "in a closed interval")
_IntegerGreaterThan = _numbers("_IntegerGreaterThan", "lower_bound", lambda x, a: x >= a, True,
                               "not below a bound")
_IntegerLessThan = _numbers("_IntegerLessThan", "upper_bound", lambda x, b: x <= b, True,
                            "not above a bound")


# ---- sets without bounds: dimensions, whether discrete, and the condition
def _set(name: str, event_dim: int, holds: Callable[[Any], Any], words: str,
         discrete: bool = False, base: type = Constraint) -> type[Constraint]:
    return type(name, (base,), {
        "event_dim": event_dim, "is_discrete": discrete, "check": lambda self, value: holds(value),
        "__module__": __name__, "__doc__": words,
    })


def _is_lower(x: Tensor) -> Any:
    return (x.tril() == x).flatten(-2).all(-1)


def _is_square(x: Tensor) -> Any:
    """A bool for each matrix of the batch."""
    return torch.full(x.shape[:-2], x.shape[-2] == x.shape[-1], dtype=torch.bool, device=x.device)


def _is_symmetric(x: Tensor) -> Any:
    if x.shape[-2] != x.shape[-1]:
        return _is_square(x)
    return torch.isclose(x, x.mT, atol=SLACK).all(-2).all(-1)


def _is_corr_cholesky(x: Tensor) -> Any:
    tolerance = torch.finfo(x.dtype).eps * x.shape[-1] * 10  # of a sum of squares
    unit = (torch.linalg.vector_norm(x, dim=-1) - 1).abs().le(tolerance).all(-1)
    return _is_lower_cholesky(x) & unit


def _is_lower_cholesky(x: Tensor) -> Any:
    return _is_lower(x) & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


def _is_semidefinite(x: Tensor) -> Any:
    symmetric = _is_symmetric(x)
    if not symmetric.all():
        return symmetric
    return torch.linalg.eigvalsh(x).ge(0).all(-1)


def _is_definite(x: Tensor) -> Any:
    symmetric = _is_symmetric(x)
    if not symmetric.all():
        return symmetric
    return torch.linalg.cholesky_ex(x).info.eq(0)


_Real = _set("_Real", 0, lambda x: x == x, "Numbers, NaN excluded.")
_Boolean = _set("_Boolean", 0, lambda x: (x == 0) | (x == 1), "0 and 1.", discrete=True)
_OneHot = _set("_OneHot", 1, lambda x: ((x == 0) | (x == 1)).all(-1) & x.sum(-1).eq(1),
               "Vectors of zeros and a single one.", discrete=True)
_Simplex = _set("_Simplex", 1, lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < SLACK),
                "Vectors of numbers that are not negative and sum to one.")
_LowerTriangular = _set("_LowerTriangular", 2, _is_lower, "Matrices with zeros above the diagonal.")
_LowerCholesky = _set("_LowerCholesky", 2, _is_lower_cholesky,
                      "Lower triangular matrices with a positive diagonal.")
_CorrCholesky = _set("_CorrCholesky", 2, _is_corr_cholesky,
                     "Lower triangular matrices with a positive diagonal and rows of norm one.")
_Square = _set("_Square", 2, _is_square, "Square matrices.")
_Symmetric = _set("_Symmetric", 2, _is_symmetric, "Symmetric matrices.", base=_Square)
_PositiveSemidefinite = _set("_PositiveSemidefinite", 2, _is_semidefinite,
                             "Symmetric matrices without negative eigenvalues.", base=_Symmetric)
_PositiveDefinite = _set("_PositiveDefinite", 2, _is_definite,
                         "Symmetric matrices with positive eigenvalues.", base=_Symmetric)


class _Multinomial(Constraint):
    """Vectors of counts that sum to at most `upper_bound`; values of so many trials sum to it."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Any):
        self.upper_bound = upper_bound

    def check(self, x: Any) -> Any:
        return (x >= 0).all(-1) & (x.sum(-1) <= self.upper_bound)


# ---- several constraints along a dimension
class _Along(Constraint):
    """Constraints of the parts of a tensor along a dimension."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0):
        if not all(isinstance(c, Constraint) for c in cseq):
            raise AssertionError("All elements of cseq must be Constraint instances")
        self.cseq = list(cseq)
        self.dim = dim

    @property
    def is_discrete(self) -> bool:
        return any(c.is_discrete for c in self.cseq)

    @property
    def event_dim(self) -> int:
        return max(c.event_dim for c in self.cseq)


class _Cat(_Along):
    """Constraints of parts of these lengths along a dimension."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0,
                 lengths: Sequence[int] | None = None):
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(
                f"lengths must have length {len(self.cseq)}, got {len(self.lengths)}"
            )

    def check(self, value: Any) -> Any:
        parts = torch.split(value, self.lengths, self.dim)
        checked = [c.check(part) for c, part in zip(self.cseq, parts, strict=True)]
        return torch.cat(checked, self.dim)


class _Stack(_Along):
    """Constraints of the slices of a tensor along a dimension."""

    @property
    def event_dim(self) -> int:
        inner = super().event_dim
        return inner + 1 if self.dim + inner < 0 else inner

    def check(self, value: Any) -> Any:
        slices = torch.unbind(value, self.dim)
        return torch.stack(
            [c.check(v) for c, v in zip(self.cseq, slices, strict=True)], self.dim
        )


# ---- torch's names
dependent = _Dependent()
dependent_property = _DependentProperty
independent = _IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
cat = _Cat
stack = _Stack
