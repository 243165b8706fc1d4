"""kl_divergence, and the registry of the functions for pairs of classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .distribution import Distribution

_Function = Callable[[Any, Any], Any]
_KL_REGISTRY: dict[tuple[type, type], _Function] = {}
_KL_MEMOIZE: dict[tuple[type, type], _Function | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[_Function], _Function]:
    """A decorator that registers a function of p and q for kl_divergence of these classes and their
    subclasses.

    Raises TypeError for what is no class.

    >>> from tracegrad.distributions import Normal, register_kl
    >>> class Mine(Normal):
    ...     pass
    >>> @register_kl(Mine, Mine)
    ... def kl(p, q):
    ...     return p.loc - q.loc
    >>> torch.distributions.kl_divergence(Mine(1.0, 1.0), Mine(0.0, 1.0))
    tensor(1.)
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type):  # a class need not be a Distribution: pyro's base is not
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def register(function: _Function) -> _Function:
        _KL_REGISTRY[type_p, type_q] = function
        _KL_MEMOIZE.clear()
        return function

    return register


def _more_special(a: tuple[type, type], b: tuple[type, type], order: tuple[int, ...]) -> bool:
    """Whether a is at least as special as b, its classes compared in this order."""
    for k in order:
        if not issubclass(a[k], b[k]):
            return False
        if a[k] is not b[k]:
            return True
    return True


def _most_special(pairs: list[tuple[type, type]], order: tuple[int, ...]) -> tuple[type, type]:
    best = pairs[0]
    for pair in pairs[1:]:
        if _more_special(pair, best, order):
            best = pair
    return best


def _dispatch_kl(type_p: type, type_q: type) -> _Function | None:
    """The function of the most special registered pair; None if there is no pair."""
    pairs = [
        (p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)
    ]
    if not pairs:
        return None
    by_p, by_q = _most_special(pairs, (0, 1)), _most_special(pairs, (1, 0))
    function = _KL_REGISTRY[by_p]
    if function is not _KL_REGISTRY[by_q]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({by_p[0].__name__}, {by_q[1].__name__})",
            RuntimeWarning,
            stacklevel=4,
        )
    return function


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """The divergence of Kullback and Leibler, the mean of log p(x) - log q(x) over x of p.

    Shape: that of the batches. Raises NotImplementedError for pairs without a formula.

    >>> from tracegrad.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    pair = type(p), type(q)
    if pair not in _KL_MEMOIZE:
        _KL_MEMOIZE[pair] = _dispatch_kl(*pair)
    function = _KL_MEMOIZE[pair]
    if function is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
            f"{type(q).__name__}"
        )
    return function(p, q)
