"""Distribution: what all have, and Parametric, of those whose parameters are the tensors that
`arg_constraints` names.
"""

from __future__ import annotations

import warnings
from functools import reduce
from typing import Any, ClassVar

import tracegrad as torch

from ..tracer.tensor.tensor import Tensor
from . import constraints
from .utils import lazy_property, text_of

__all__ = ["Distribution"]


class Distribution:
    """A distribution: `batch_shape` of independent ones, each of events of `event_shape`.

    With `validate_args`, by default `__debug__`, parameters and values are checked against
    `arg_constraints` and `support`, and ValueError names what does not fit.

    >>> d = torch.distributions.Normal(torch.zeros(2), 1.0)
    >>> d.sample((3,)).shape, d.log_prob(torch.zeros(2))
    (tracegrad.Size([3, 2]), tensor([-0.9189, -0.9189]))
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__

    def __init__(self, batch_shape: Any = (), event_shape: Any = (),
                 validate_args: bool | None = None):
        self._batch_shape = torch.Size(batch_shape)
        self._event_shape = torch.Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()
        super().__init__()

    def _validate_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = "
                "{}` or initialize the distribution with `validate_args=False` to turn off "
                "validation.",
                stacklevel=4,
            )
            return
        checks = []
        for name, constraint in arg_constraints.items():
            unread = name not in self.__dict__
            if constraints.is_dependent(constraint) or (
                unread and isinstance(getattr(type(self), name, None), lazy_property)
            ):
                continue
            value = getattr(self, name)
            checks.append((constraint.check(value).all(), name, value, constraint))
        # one look at values for all: in a compiled function it is a guard, which takes its time
        if not checks or reduce(torch.logical_and, (valid for valid, *_ in checks)):
            return
        _, name, value, constraint = next(check for check in checks if not check[0])
        raise ValueError(
            f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of "
            f"distribution {self!r} to satisfy the constraint {constraint!r}, but found invalid "
            f"values:\n{text_of(value)}"
        )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check parameters and values, if they are not told."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    @property
    def batch_shape(self) -> Any:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Any:
        """The shape of a single event."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint of values."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        """The value of greatest probability or density."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Any:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """The standard deviation."""
        return self.variance.sqrt()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """This distribution with its batch expanded to a shape."""
        raise NotImplementedError

    def sample(self, sample_shape: Any = ()) -> Any:
        """Samples, `sample_shape` of each distribution of the batch, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Samples with a gradient in the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Any:
        """n samples of each; torch's old name of `sample((n,))`."""
        warnings.warn("sample_n(n) will be deprecated. Use .sample((n,)) instead.",
                      FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density, or of the probability, at a value."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """The probability of what is not above a value."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values of a discrete distribution, along a new first dimension."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """The entropy, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """exp of the entropy."""
        return torch.exp(self.entropy())

    def _extended_shape(self, sample_shape: Any = ()) -> Any:
        """The shape of such a sample."""
        return torch.Size(sample_shape) + self._batch_shape + self._event_shape

    def _validate_sample(self, value: Any) -> None:
        """Raise ValueError unless `log_prob` has a meaning for the value."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        rank = len(self._event_shape)
        last = torch.Size(value.shape[max(value.dim() - rank, 0) :])
        if last != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{value.shape} vs {self._event_shape}."
            )
        expected = self._batch_shape + self._event_shape
        for i, j in zip(reversed(value.shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    "Value is not broadcastable with batch_shape+event_shape: "
                    f"{value.shape} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) of the distribution {self!r}, but found "
                f"invalid values:\n{text_of(value)}"
            )

    def _checked(self, value: Any) -> None:
        if self._validate_args:
            self._validate_sample(value)

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """The object that `expand` of `cls` fills: a new one, of a class without an own __init__.
        """
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ "
                "method must also define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    def _filled(self, _instance: Any, batch_shape: Any, event_shape: Any, **values: Any) -> Any:
        """What `expand` returns: an instance with these attributes and shapes, whose parameters
        were checked before.
        """
        home = next(c for c in type(self).__mro__ if c.__module__.startswith(__package__))
        new = self._get_checked_instance(home, _instance)
        for name, value in values.items():
            setattr(new, name, value)
        Distribution.__init__(new, batch_shape, event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        shown = {k: self.__dict__[k] for k in self.arg_constraints if k in self.__dict__}
        parameters = ", ".join(
            f"{k}: {text_of(v) if v.numel() == 1 else v.size()}" for k, v in shown.items()
        )
        return f"{type(self).__name__}({parameters})"


class Parametric(Distribution):
    """A distribution whose parameters are tensors, in attributes with the names of
    `arg_constraints`; `kept` names further attributes that `expand` copies.
    """

    kept: ClassVar[tuple[str, ...]] = ()

    def _expanded(self, batch: Any) -> dict[str, Any]:
        """The attributes of this distribution expanded to a batch."""
        values = {k: self.__dict__[k] for k in self.kept if k in self.__dict__}
        for name, constraint in self.arg_constraints.items():
            if name in self.__dict__:
                value = self.__dict__[name]
                event = value.shape[value.dim() - constraint.event_dim :]
                values[name] = value.expand(torch.Size(batch) + event)
        return values

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._filled(
            _instance, batch_shape, self._event_shape, **self._expanded(batch_shape)
        )
