"""The state of a thread: grad mode, and the trace that is being recorded.

`resolve` replaces a concrete tensor by its twin in the trace. Every public function that reads or
changes a tensor's value or autograd state passes its tensors through `resolve`. After that, the
autograd graph treats eager and traced tensors alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from copy import copy
from enum import Enum
from functools import wraps
from inspect import isgeneratorfunction
from itertools import count
from typing import Any

from ..ir.dtype import DType, float32
from .change_counter import changed


class Forward(Enum):
    """Grad mode in a function that is differentiated forward. `no_grad` stops no tangent there, so
    all is recorded; the value is the mode that the user sees. At kinks torch's forward formulas
    choose other derivatives than those for backward.
    """

    ON = True
    OFF = False


class Mode(threading.local):
    """The state of one thread. Its `__dict__` has all of it: what reads several of them takes it
    once, as each access of an attribute looks for the thread.
    """

    grad: bool | Forward = True  # if true: operations on tensors that require grad are recorded
    stopped: bool = False  # the user has turned recording off
    inference: bool = False
    edges_only: bool = False  # autograd nodes get edges and save no values
    make_saved: Any = None  # saves a tensor for backward, if not graph.Saved
    autocast: Any = None  # the casts of torch.autocast, or None
    planning: bool = True  # operations may be computed by their plans (autograd/plans.py)
    anomaly: bool = False  # backward looks for NaN
    trace: Any = None  # the Trace being recorded, or None
    device: Any = None  # that new tensors are put on, if it is not the CPU
    outer_devices: Any = None  # the same, outside of the `with` statements for devices

    def __init__(self) -> None:
        defaults = {name: getattr(Mode, name) for name in Mode.__annotations__}
        self.__dict__.update(defaults)


mode = Mode()
sequence_numbers = count(1)  # of autograd nodes, and of changes through `.data`


@contextmanager
def in_trace(trace: Any) -> Iterator[None]:
    """Within it, operations of this thread run in that trace; in none, if it is None."""
    before, mode.trace = mode.trace, trace
    try:
        yield
    finally:
        mode.trace = before


@contextmanager
def casting(policy: Any) -> Iterator[None]:
    """Within it, operations of this thread are cast by that policy of autocast; None: not at all.
    """
    before, mode.autocast = mode.autocast, policy
    try:
        yield
    finally:
        mode.autocast = before


def resolve(t: Any) -> Any:
    """The tensor to use for `t` now: `t` itself, or its twin in the current trace.

    A view is brought up to date.
    """
    if mode.trace is not None:
        t = mode.trace.traced_for(t)
    if t._view is not None:
        t._view.refresh(t)
    return t


def autograd_tensor(t: Any) -> Any:
    """The tensor that carries the autograd state of `t`.

    A tensor from outside a `vmap` carries its own. A view is brought up to date.
    """
    if mode.trace is not None:
        t = mode.trace.autograd_tensor(t)
    if t._view is not None:
        t._view.refresh(t)
    return t


class _Default:
    dtype: DType = float32


def get_default_dtype() -> DType:
    """The dtype that Python floats are converted to.

    >>> torch.get_default_dtype()
    tracegrad.float32
    """
    return _Default.dtype


def set_default_dtype(d: DType) -> None:
    """Set the dtype that Python floats are converted to, a floating point dtype.

    Applies to new tensors of any shape. Raises TypeError unless the dtype is floating point.

    >>> torch.set_default_dtype(torch.float64)
    >>> torch.tensor([1.0]).dtype
    tracegrad.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    if not isinstance(d, DType):
        raise TypeError(f"invalid dtype object: {d!r}")
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _Default.dtype = d
    changed()


def forward_mode() -> bool:
    """Whether the operations of a function that is differentiated forward run now."""
    return isinstance(mode.grad, Forward)


def recording_mode() -> bool | Forward:
    """Grad mode for what records its operations now, or later in place of now."""
    return Forward.ON if forward_mode() else True


def grad_mode(recorded: bool) -> bool | Forward:
    """Grad mode in which operations are `recorded`, or all of them if it is forward mode now."""
    return Forward(recorded) if forward_mode() else recorded


class GradMode(ContextDecorator):
    """A context manager and decorator that sets grad mode as a user wishes."""

    def __init__(self, grad: Any):
        self.enabled = grad
        self.before: list[tuple[bool | Forward, bool]] = []

    def wanted(self) -> bool | Forward:
        """Grad mode within it."""
        mode.stopped = mode.stopped or not self.enabled
        return grad_mode(self.enabled)

    def __enter__(self) -> None:
        self.before.append((mode.grad, mode.inference))
        mode.grad = self.wanted()

    def __exit__(self, *_: Any) -> None:
        mode.grad, mode.inference = self.before.pop()

    def _recreate_cm(self) -> GradMode:
        new = copy(self)  # a decorated function may run in several threads at once
        new.before = []
        return new

    def __call__(self, func: Any) -> Any:
        if not isgeneratorfunction(func):
            return super().__call__(func)

        @wraps(func)
        def steps(*args: Any, **kwargs: Any) -> Any:
            # the mode applies only while the generator itself runs
            generator, sent = func(*args, **kwargs), None
            while True:
                with self._recreate_cm():
                    try:
                        item = generator.send(sent)
                    except StopIteration as stop:
                        return stop.value
                sent = yield item

        return steps


class FixedGradMode(GradMode):
    """Sets this grad mode, whatever it was; for the library's own use."""

    def wanted(self) -> bool | Forward:
        return self.enabled


class no_grad(GradMode):
    """Within it, nothing is recorded for `backward`. Outputs do not require grad.

    A context manager and a decorator. Raises no error.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, func: Callable | None = None) -> Any:
        return super().__new__(cls) if func is None else cls()(func)  # `@no_grad` without brackets

    def __init__(self, func: Callable | None = None):
        super().__init__(False)


class enable_grad(no_grad):
    """Within it, operations are recorded, also inside a `no_grad`.

    A context manager and a decorator. Raises no error.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    def __init__(self, func: Callable | None = None):
        GradMode.__init__(self, True)


class set_grad_enabled(GradMode):
    """Turn recording on or off at once. As a context manager it restores the mode at the end.

    Raises TypeError for a value that is not a bool.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.set_grad_enabled(False):
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self._set_now()

    def _set_now(self) -> None:
        self.previous = (mode.grad, mode.inference)
        mode.grad = self.wanted()

    def __enter__(self) -> None:
        self.before.append(self.previous)
        mode.grad = self.wanted()

    def __call__(self, func: Any) -> Any:
        mode.grad, mode.inference = self.previous  # a decorator changes nothing outside
        return GradMode(self.enabled)(func)


class set_detect_anomaly:
    """Whether backward raises for NaN gradients, naming the operation. Also for `with`.

    Raises RuntimeError in `backward` for a NaN.

    >>> with torch.autograd.set_detect_anomaly(True):
    ...     pass
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = _anomaly(bool(mode and check_nan))

    def __enter__(self) -> None:
        """It is already set."""

    def __exit__(self, *_: Any) -> None:
        _anomaly(self.before)


class detect_anomaly(ContextDecorator):
    """Within it, backward raises for NaN gradients, naming the operation.

    Raises RuntimeError in `backward` for a NaN.

    >>> x = torch.tensor(0.0, requires_grad=True)
    >>> with torch.autograd.detect_anomaly():
    ...     (x.sqrt() * 0).backward()
    Traceback (most recent call last):
        ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    """

    def __init__(self, check_nan: bool = True):
        self.check = check_nan

    def __enter__(self) -> None:
        self.before = _anomaly(bool(self.check))

    def __exit__(self, *_: Any) -> None:
        _anomaly(self.before)


def _anomaly(on: bool) -> bool:
    before, mode.anomaly = mode.anomaly, on
    return before


class inference_mode(GradMode):
    """A `no_grad` for which `is_inference_mode_enabled()` is true.

    A context manager and a decorator. Raises no error.

    >>> with torch.inference_mode():
    ...     y = torch.ones(2, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, mode: Any = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True):
        self.inference = bool(mode)
        super().__init__(not mode)

    def wanted(self) -> bool | Forward:
        return super().wanted() and not self.inference  # which stops tangents too

    def __enter__(self) -> None:
        super().__enter__()
        mode.inference = self.inference


def is_grad_enabled() -> bool:
    """Whether operations are recorded for `backward` now.

    >>> torch.is_grad_enabled()
    True
    """
    return mode.grad not in (False, Forward.OFF)


def is_inference_mode_enabled() -> bool:
    """Whether an `inference_mode` is active.

    >>> torch.is_inference_mode_enabled()
    False
    """
    return mode.inference
