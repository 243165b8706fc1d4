"""Compare gradients with finite differences: `gradcheck`, and `gradgradcheck` for second
derivatives.

Differences are central. Their error is of the order eps**2 plus rounding over eps, so inputs should
be float64. Fast mode compares one random projection of the Jacobian instead of all of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..functions.torch.creation import tensor, zeros_like
from ..tracer.autograd.backward import grad
from ..tracer.autograd.transform import Pullback
from ..tracer.mode import enable_grad, no_grad
from ..tracer.tensor.device_memory import copyto, host
from ..tracer.tensor.tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A failed gradcheck: the element that differs, and both values.

    Raises: `gradcheck` and `gradgradcheck` raise this class.

    >>> try:
    ...     x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ...     torch.autograd.gradcheck(lambda x: (x * 2).detach() + x, x)
    ... except torch.autograd.GradcheckError as error:
    ...     print(str(error).splitlines()[0])
    Jacobian mismatch for output 0 with respect to input 0,
    """


Arrays = list[np.ndarray]


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _array(t: Tensor) -> np.ndarray:
    return np.asarray(t.detach().numpy(force=True), np.float64)


class _Check:
    """One function at its inputs, with several ways to compute its derivatives."""

    def __init__(self, func: Callable, inputs: Any, eps: float):
        self.inputs, self.eps = _tuple(inputs), eps
        self.random = np.random.default_rng(0)
        self.positions = [
            k for k, x in enumerate(self.inputs) if isinstance(x, Tensor) and x.requires_grad
        ]
        if not self.positions:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of the "
                "them have requires_grad=True."
            )
        self.func = func
        self.xs: list[Tensor] = [self.inputs[k] for k in self.positions]
        for k, x in zip(self.positions, self.xs, strict=True):
            if x.dtype.name != "float64":
                warnings.warn(
                    f"Input #{k} requires gradient and is not a double precision floating point. "
                    "This check will likely fail if all the inputs are not of double precision "
                    "floating point.",
                    stacklevel=4,
                )
            strides = zip(x.shape, x.stride(), strict=True)
            if x.numel() and any(n > 1 and s == 0 for n, s in strides):
                raise RuntimeError(
                    f"The {k}th input has a dimension with stride 0. gradcheck only supports "
                    "inputs that are non-overlapping to be able to compute the numerical gradients "
                    "correctly. You should call .contiguous on the input before passing it to "
                    "gradcheck."
                )
        with enable_grad():
            outputs = self.outputs()
        self.differentiable = [
            k for k, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad
        ]
        self.ys: list[Tensor] = [outputs[k] for k in self.differentiable]

    def outputs(self) -> tuple:
        return _tuple(self.func(*self.inputs))

    def values(self) -> Arrays:
        """The values of the differentiable outputs; without any, of all floating point outputs."""
        with no_grad():
            outputs = self.outputs()
        tensors = [outputs[k] for k in self.differentiable] or [
            y for y in outputs if isinstance(y, Tensor) and y.dtype.is_floating_point
        ]
        return [_array(y).copy() for y in tensors]

    @contextmanager
    def moved(self, x: Tensor, by: np.ndarray) -> Iterator[None]:
        """Within it, `by` is added to the values of `x`."""
        memory = x._array  # a backward does not notice that this was changed, and back
        before = host(memory).copy()
        copyto(memory, (before + by).astype(before.dtype))
        try:
            yield
        finally:
            copyto(memory, before)

    def difference(self, x: Tensor, direction: np.ndarray) -> Arrays:
        """The derivative of the outputs along a direction of `x`, by central differences."""
        with self.moved(x, self.eps * direction):
            after = self.values()
        with self.moved(x, -self.eps * direction):
            before = self.values()
        return [(a - b) / (2 * self.eps) for a, b in zip(after, before, strict=True)]

    def numerical(self, x: Tensor) -> Arrays:
        """For each output, the Jacobian with one row per element of `x`."""
        rows = []
        for k in range(x.numel()):
            unit = np.zeros(x.numel())
            unit[k] = 1
            rows.append([d.reshape(-1) for d in self.difference(x, unit.reshape(x.shape))])
        return [np.stack(column) for column in zip(*rows, strict=True)] if rows else []

    def pulled(self, y: Tensor, g: np.ndarray) -> list[np.ndarray]:
        """The gradients of all inputs for the cotangent `g` of `y`."""
        grads = grad(
            [y], self.xs, [tensor(g, dtype=y.dtype, device=y.device)], retain_graph=True,
            allow_unused=True,
        )
        return [
            np.zeros(tuple(x.shape)) if t is None else _array(t)
            for t, x in zip(grads, self.xs, strict=True)
        ]

    def analytical(self, y: Tensor) -> Arrays:
        """For each input, the Jacobian of `y` with one row per element of the input."""
        n = y.numel()
        rows = []
        for k in range(n):
            unit = np.zeros(n)
            unit[k] = 1
            rows.append([g.reshape(-1) for g in self.pulled(y, unit.reshape(y.shape))])
        return [
            np.stack([r[i] for r in rows], 1) if n else np.zeros((x.numel(), 0))
            for i, x in enumerate(self.xs)
        ]

    def pushed(self, x: Tensor, direction: np.ndarray) -> Arrays:
        """The derivative of the outputs along a direction of `x`, by forward mode."""

        def call(moved: Sequence[Tensor]) -> tuple:
            full = list(self.inputs)
            for k, t in zip(self.positions, moved, strict=True):
                full[k] = t
            return _tuple(self.func(*full))

        back = Pullback(call, self.xs)
        back.set_outputs([back.result[k] for k in self.differentiable])
        along = tensor(direction, dtype=x.dtype, device=x.device)
        tangents = back.pushforward()([along if t is x else None for t in self.xs])
        return [_array(t) for t in tangents]


def _compare(
    analytical: np.ndarray, expected: np.ndarray, words: str, rtol: float, atol: float
) -> None:
    if np.allclose(analytical, expected, rtol, atol, equal_nan=True):
        return
    apart = np.abs(analytical - expected)
    at = np.unravel_index(int(np.argmax(np.where(np.isnan(apart), np.inf, apart))), apart.shape)
    place = tuple(int(k) for k in at)
    raise GradcheckError(
        f"{words}\nnumerical:{expected}\nanalytical:{analytical}\n"
        f"greatest difference: {apart[at]:.3g} at {place}: numerical {expected[at]:.8g}, "
        f"analytical {analytical[at]:.8g} (up to rtol={rtol}, atol={atol} allowed)"
    )


def _slow(check: _Check, rtol: float, atol: float) -> None:
    analytical = [check.analytical(y) for y in check.ys]
    for i, x in enumerate(check.xs):
        for j, expected in enumerate(check.numerical(x)):
            words = f"Jacobian mismatch for output {j} with respect to input {i},"
            _compare(analytical[j][i], expected, words, rtol, atol)


def _fast(check: _Check, rtol: float, atol: float) -> None:
    weights = [check.random.standard_normal(tuple(y.shape)) for y in check.ys]
    pulled = [check.pulled(y, v) for y, v in zip(check.ys, weights, strict=True)]
    for i, x in enumerate(check.xs):
        u = check.random.standard_normal(tuple(x.shape))
        u /= max(float(np.linalg.norm(u)), 1e-30)
        for j, d in enumerate(check.difference(x, u)):
            words = (
                f"Jacobian computed with fast mode mismatch for output {j} with respect to input "
                f"{i}: run with fast_mode=False to see which elements differ,"
            )
            analytical, expected = (pulled[j][i] * u).sum(), (d * weights[j]).sum()
            _compare(np.asarray(analytical), np.asarray(expected), words, rtol, atol)


def _reentrant(check: _Check, tolerance: float) -> None:
    for j, y in enumerate(check.ys):
        g = check.random.standard_normal(tuple(y.shape))
        for i, (a, b) in enumerate(zip(check.pulled(y, g), check.pulled(y, g), strict=True)):
            if a.size and not np.abs(a - b).max() <= tolerance and not np.isnan(a).any():
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    f"grad_output multiple times gives different values: for output {j} with "
                    f"respect to input {i}. The tolerance for nondeterminism was {tolerance}."
                )


def _batched(check: _Check) -> None:
    for j, y in enumerate(check.ys):
        gs = [check.random.standard_normal(tuple(y.shape)) for _ in range(2)]
        stacked = tensor(np.stack(gs), dtype=y.dtype, device=y.device)
        together = grad(
            [y], check.xs, [stacked], retain_graph=True,
            allow_unused=True, is_grads_batched=True,
        )
        each = [check.pulled(y, g) for g in gs]
        for i, batch_grad in enumerate(together):
            expected = np.stack([e[i] for e in each])
            a = np.zeros_like(expected) if batch_grad is None else _array(batch_grad)
            words = f"Batched gradient mismatch for output {j} with respect to input {i},"
            _compare(a, expected, words, 1e-5, 1e-8)


def _forward(check: _Check, rtol: float, atol: float) -> None:
    for i, x in enumerate(check.xs):
        u = check.random.standard_normal(tuple(x.shape))
        for j, (a, e) in enumerate(
            zip(check.pushed(x, u), check.difference(x, u), strict=True)
        ):
            words = f"Forward mode mismatch for output {j} with respect to input {i},"
            _compare(a, e, words, rtol, atol)


def gradcheck(
    func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
    check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:
    """Compare the gradients of `func` with finite differences, for the inputs that require grad.

    `func` takes the inputs, a tensor or a tuple, and returns one or several tensors. The result is
    True, or with `raise_exception=False` False for a failure. The error shows both Jacobians and
    where they differ most. `check_undefined_grad`, `check_grad_dtypes` and `masked` are accepted
    for compatibility and have no effect.

    Shape: any. Dtype: float64 inputs, or the differences are too coarse. Raises GradcheckError.

    >>> x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    try:
        check = _Check(func, inputs, eps)
        if not check.ys:
            for i, x in enumerate(check.xs):
                if any((np.abs(d) > atol).any() for d in check.numerical(x)):
                    raise GradcheckError(
                        f"Numerical gradient for function expected to be zero for input {i}: no "
                        "output requires grad"
                    )
            return True
        if check_backward_ad:
            (_fast if fast_mode else _slow)(check, rtol, atol)
            _reentrant(check, nondet_tol)
        if check_forward_ad:
            _forward(check, rtol, atol)
        if check_batched_grad:
            _batched(check)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6,
    atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Compare the second derivatives of `func` with finite differences.

    `grad_outputs` are the weights of the outputs. By default they are random, and are inputs of the
    gradient, too. The other options are those of `gradcheck`.

    Shape: any. Dtype: float64 inputs, or the differences are too coarse. Raises GradcheckError.

    >>> x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradgradcheck(torch.sin, (x,))
    True
    """
    primals = _tuple(inputs)
    if grad_outputs is None:
        random = np.random.default_rng(1)
        ys = [y for y in _tuple(func(*primals)) if isinstance(y, Tensor) and y.requires_grad]
        weights = [zeros_like(y).detach() for y in ys]
        for k, (w, y) in enumerate(zip(weights, ys, strict=True)):
            numbers = random.standard_normal((*y.shape, 2) if gen_non_contig_grad_outputs
                                             else tuple(y.shape))
            full = tensor(numbers, dtype=w.dtype, device=w.device)
            weights[k] = full[..., 0] if gen_non_contig_grad_outputs else full
            weights[k].requires_grad_()
    else:
        weights = list(_tuple(grad_outputs))

    def gradients(*args: Any) -> tuple:
        xs, gs = args[: len(primals)], args[len(primals) :]
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        with enable_grad():
            outputs = _tuple(func(*xs))
            ys = [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
            first = grad(ys, wanted, list(gs), create_graph=True, allow_unused=True)
        return tuple(g for g in first if g is not None)

    return gradcheck(
        gradients, (*primals, *weights), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )
