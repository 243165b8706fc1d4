"""torch.debug (ours): look at values while a compiled function runs, without a branch on them."""

import builtins as _builtins
from collections.abc import Callable as _Callable
from typing import Any as _Any

from .driver.snapshot import rerunning as _rerunning
from .tracer.autograd.batching import BatchTrace as _BatchTrace
from .tracer.capture.shown import show_later as _show_later
from .tracer.mode import mode as _mode, resolve as _resolve
from .tracer.pytree import flatten as _flatten
from .tracer.tensor.tensor import Tensor as _Tensor

__all__ = ["callback", "print"]


def print(fmt: str, *args: _Any, **kwargs: _Any) -> None:
    """Print `fmt.format(*args, **kwargs)`; in a compiled function at each call, when its program
    has run, in the order of the calls of `print`.

    Raises TypeError for a format that is no text; RuntimeError within `vmap`.

    >>> @torch.compile
    ... def f(x):
    ...     torch.debug.print("the sum is {:.2f}", x.sum())
    ...     return x * 2
    >>> y = f(torch.ones(3))
    the sum is 3.00
    """
    if not isinstance(fmt, str):
        raise TypeError(f"debug.print: the format must be a str, got {type(fmt).__name__}")
    _later(_show, (fmt, *args), kwargs, "debug.print")


def callback(f: _Callable, *args: _Any) -> None:
    """Call `f(*args)` with the values of tensors; in a compiled function at each call, when its
    program has run, in the order of such calls. What it returns is dropped, and what it changes is
    not seen by the call.

    Raises TypeError for an `f` that cannot be called, what `f` raises, and RuntimeError within
    `vmap`.

    >>> seen = []
    >>> @torch.compile
    ... def f(x):
    ...     torch.debug.callback(lambda t: seen.append(t.item()), x.sum())
    ...     return x * 2
    >>> y = f(torch.ones(3)), f(torch.ones(4))
    >>> seen
    [3.0, 4.0]
    """
    if not callable(f):
        raise TypeError(f"debug.callback: expected a function, got {type(f).__name__}")
    _later(_call, (f, *args), {}, "debug.callback")


def _later(function: _Callable, args: tuple, kwargs: dict, what: str) -> None:
    trace = _mode.trace
    if isinstance(trace, _BatchTrace):
        raise RuntimeError(
            f"{what}: within vmap a tensor has a value for each example; return it instead"
        )
    while (outer := getattr(trace, "outer", None)) is not None:
        trace = outer
    if trace is None or trace.observer is None:
        function(*args, **kwargs)
        return
    tensors = [t for t in _flatten((args, kwargs))[0] if isinstance(t, _Tensor)]
    for t in tensors:
        _resolve(t)  # refuses one from another trace
    _show_later(trace.observer.log, function, args, kwargs)


def _show(fmt: str, *args: _Any, **kwargs: _Any) -> None:
    _builtins.print(fmt.format(*args, **kwargs))


def _call(f: _Callable, *args: _Any) -> None:
    if not _rerunning():
        f(*args)
