"""One layer of a recurrent network in one direction, over all times, with its derivative.

Takes the gates' part of the input, which is one product for all times, and the state before.
Forward keeps the values of the gates. Backward walks the times in the other order for the gradients
of the gates; those of the weights are then one product over all times. What was kept is an output
too, so backward can itself be differentiated. It must know nothing of layers, packing and the names
of parameters.

T times, N examples, H hidden units, R numbers of a state (H, or fewer with a projection).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...ir.ops.elementwise import relu, sigmoid, tanh, where
from ...ir.quiet import quietly
from ...tracer.autograd.function import Function
from ...tracer.mode import mode
from ...tracer.tensor.tensor import Tensor, wrap
from ..torch.blas import matmul
from ..torch.control_flow import scan
from ..torch.creation import tensor, zeros_like
from ..torch.reduction import sum as sum_
from ..torch.shape import reshape, t as transposed, unsqueeze
from ..torch.slicing_joining import cat, stack

Maybe = Tensor | None


# ---- the walk over the times
# Steps are written for tensors and for arrays: operators, methods, and the functions of `of`. An
# operation on arrays is three to five times as fast, for the small operands of a step.
_OF_TENSORS = SimpleNamespace(sigmoid=sigmoid, tanh=tanh, relu=relu, where=where)
_OF_ARRAYS = SimpleNamespace(
    sigmoid=lambda x: 1 / (1 + np.exp(-x)),  # a tenth of the time of sigmoid.ref; 0 below -88
    tanh=tanh.ref, relu=relu.ref, where=np.where,
)


def _walk(step: Callable, constants: tuple[Maybe, ...], carry: tuple[Tensor, ...],
          slices: tuple[Maybe, ...], reverse: bool) -> tuple:
    """The last carry, and what the steps gave, each stacked in the order of the times.

    A step gets (of, constants, carry, one slice of each): it gives the next carry and its results.
    """
    every = [x for x in (*constants, *carry, *slices) if x is not None]
    if mode.trace is None and not mode.grad and all(map(_like_an_array, every)):
        parts = [[None if x is None else x._array for x in xs] for xs in (constants, carry, slices)]
        results = quietly(_walk_arrays, step, *parts, reverse)
        return tuple(wrap(y, carry[0].dtype) for y in results)
    present = [k for k, x in enumerate(slices) if x is not None]

    def combine(carry: tuple, parts: tuple) -> tuple:
        row = dict(zip(present, parts, strict=True))
        return step(_OF_TENSORS, constants, carry, [row.get(k) for k in range(len(slices))])

    last, stacked = scan(combine, carry, tuple(slices[k] for k in present), reverse=reverse)
    return (*last, *stacked)


def _like_an_array(x: Tensor) -> bool:
    return type(x._array) is np.ndarray and not x.dtype.is_half


def _walk_arrays(step: Callable, constants: list, carry: list, slices: list,
                 reverse: bool) -> tuple:
    times = len(next(x for x in slices if x is not None))
    rows = list(zip(*([None] * times if x is None else x for x in slices), strict=True))
    results: list[Any] = [None] * times
    for k in reversed(range(times)) if reverse else range(times):
        carry, results[k] = step(_OF_ARRAYS, constants, carry, rows[k])
    return (*carry, *map(np.stack, zip(*results, strict=True)))


def _gate(x: Any, k: int, gates: int) -> Any:
    """The part (N, H) of one gate, of all gates (N, gates * H)."""
    n = x.shape[1] // gates
    return x[:, k * n : (k + 1) * n]


def _before(states: Tensor, first: Tensor, reverse: bool) -> Tensor:
    """The state that each time began with."""
    first = unsqueeze(first, 0)
    return cat([states[1:], first]) if reverse else cat([first, states[:-1]])


def _sum(*terms: Any) -> Any:
    """The sum of the terms that are there."""
    total = None
    for x in terms:
        if x is not None:
            total = x if total is None else total + x
    return total


def _held(of: Any, real: Any, new: Any, old: Any) -> Any:
    """`new` where the sequence goes on, else `old`."""
    return new if real is None else of.where(real, new, old)


def _given(g: Maybe, like: Tensor) -> Tensor:
    return zeros_like(like) if g is None else g


def _scaled(g: Maybe, slope: Tensor) -> Maybe:
    return None if g is None else g * slope


def _side_by_side(parts: list[Maybe], like: Tensor) -> Maybe:
    """(T, N, gates, H) of gates (T, N, H), None being zeros; None if all are."""
    if all(p is None for p in parts):
        return None
    return stack([zeros_like(like) if p is None else p for p in parts], 2)


def _product(gates: Tensor, states: Tensor) -> Tensor:
    """The gradient of a weight: the sum over times and examples of gate times state."""
    rows = gates.shape[0] * gates.shape[1]
    left, right = (reshape(x, rows, x.shape[2]) for x in (gates, states))
    return matmul(transposed(left), right)


class _Recurrence(Function):
    """What the kinds share: `forward` without context, and outputs that are kept."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        *tensors, ctx.reverse = inputs[1:]
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)


class RNNTanh(_Recurrence):
    """h = tanh(gates + h @ w.T): gates (T, N, H), h (N, H) -> the last h, all h (T, N, H)."""

    @staticmethod
    def activation(of: Any, x: Any) -> Any:
        return of.tanh(x)

    @staticmethod
    def slope(of: Any, g: Any, h: Any) -> Any:
        """The gradient of what the activation was given, from that of its result h."""
        return g * (1 - h * h)

    @classmethod
    def step(cls, of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        (wt,), (h,), (gates, real) = constants, carry, slices
        h = _held(of, real, cls.activation(of, gates + h @ wt), h)
        return (h,), (h,)

    @classmethod
    def forward(cls, gates: Tensor, h: Tensor, w: Tensor, real: Maybe, reverse: bool) -> tuple:
        return _walk(cls.step, (transposed(w),), (h,), (gates, real), reverse)

    @classmethod
    def step_back(cls, of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        (w,), (g_next,), (g, h, real) = constants, carry, slices
        g = _sum(g_next, g)
        gates = _held(of, real, cls.slope(of, g, h), 0)
        before = gates @ w
        return (before if real is None else before + of.where(real, 0, g),), (gates,)

    @classmethod
    def backward(cls, ctx: Any, last: Maybe, every: Maybe) -> tuple:
        h, w, real, _, hs = ctx.saved_tensors
        carry, slices = (_given(last, h),), (every, hs, real)
        dh, gates = _walk(cls.step_back, (w,), carry, slices, not ctx.reverse)
        return gates, dh, _product(gates, _before(hs, h, ctx.reverse)), None, None


class RNNRelu(RNNTanh):
    """h = relu(gates + h @ w.T), with the same shapes."""

    @staticmethod
    def activation(of: Any, x: Any) -> Any:
        return of.relu(x)

    @staticmethod
    def slope(of: Any, g: Any, h: Any) -> Any:
        return of.where(h <= 0, 0, g)


class LSTM(_Recurrence):
    """i, f, g, o = gates + h @ w.T; c = f * c + i * g; h = o * tanh(c), or that times `projection`.

    i, f and o go through sigmoid, g through tanh. gates (T, N, 4H), h (N, R), c (N, H), w (4H, R),
    projection (R, H) -> the last h and c, all h and c, i, f, g and o (T, N, H).
    """

    @staticmethod
    def step(of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        (wt, down), (h, c), (gates, real) = constants, carry, slices
        gates = gates + h @ wt
        i, f, o = (of.sigmoid(_gate(gates, k, 4)) for k in (0, 1, 3))
        g = of.tanh(_gate(gates, 2, 4))
        new_c = f * c + i * g
        new_h = o * of.tanh(new_c)
        if down is not None:
            new_h = new_h @ down
        h, c = _held(of, real, new_h, h), _held(of, real, new_c, c)
        return (h, c), (h, c, i, f, g, o)

    @classmethod
    def forward(cls, gates: Tensor, h: Tensor, c: Tensor, w: Tensor, projection: Maybe,
                real: Maybe, reverse: bool) -> tuple:
        down = None if projection is None else transposed(projection)
        return _walk(cls.step, (transposed(w), down), (h, c), (gates, real), reverse)

    @staticmethod
    def step_back(of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        w, projection, of_c = constants
        dh, dc, to_gates, to_c, through, more, real = slices
        dh, dc = _sum(carry[0], dh), _sum(carry[1], dc)
        up = dh if projection is None else dh @ projection
        dc = dc + up * to_c
        gates = _sum(to_gates * of.where(of_c, dc[:, None], up[:, None]), more)
        gates = gates.reshape(dc.shape[0], w.shape[0])
        before = gates @ w
        if real is not None:
            before = before + of.where(real, 0, dh)
        return (before, dc * through), (gates, dh)

    @classmethod
    def backward(cls, ctx: Any, *grads: Any) -> tuple:
        last_h, last_c, every_h, every_c, *kept = grads
        h, c, w, projection, real, _, _, hs, cs, i, f, g, o = ctx.saved_tensors
        of, bent = _OF_TENSORS, tanh(cs)
        slopes = [i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)]
        factors = [g * slopes[0], _before(cs, c, ctx.reverse) * slopes[1], i * slopes[2],
                   bent * slopes[3]]
        more = _side_by_side([_scaled(x, s) for x, s in zip(kept, slopes, strict=True)], i)
        four = None if real is None else unsqueeze(real, 3)
        to_gates = _held(of, four, stack(factors, 2), 0)
        to_c, through = _held(of, real, o * (1 - bent * bent), 0), _held(of, real, f, 1)
        constants = w, projection, tensor([[True], [True], [True], [False]])
        slices = (every_h, every_c, to_gates, to_c, through, more, real)
        carry = (_given(last_h, h), _given(last_c, c))
        dh, dc, gates, all_dh = _walk(cls.step_back, constants, carry, slices, not ctx.reverse)
        dw = _product(gates, _before(hs, h, ctx.reverse))
        down = None
        if projection is not None:
            down = _product(_held(of, real, all_dh, 0), o * bent)
        return gates, dh, dc, dw, down, None, None


class GRU(_Recurrence):
    """r, z, n = gates + (h @ w.T + b), where n's second term counts r times; h = (h - n) * z + n.

    r and z go through sigmoid, n through tanh. gates (T, N, 3H), h (N, H), w (3H, H), b (3H,) ->
    the last h, all h, r, z, n and n's second term (T, N, H).
    """

    @staticmethod
    def step(of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        (wt, b), (h,), (gates, real) = constants, carry, slices
        state = h @ wt if b is None else h @ wt + b
        r, z = (of.sigmoid(_gate(gates, k, 3) + _gate(state, k, 3)) for k in (0, 1))
        hn = _gate(state, 2, 3)
        n = of.tanh(_gate(gates, 2, 3) + r * hn)
        h = _held(of, real, (h - n) * z + n, h)
        return (h,), (h, r, z, n, hn)

    @classmethod
    def forward(cls, gates: Tensor, h: Tensor, w: Tensor, b: Maybe, real: Maybe,
                reverse: bool) -> tuple:
        return _walk(cls.step, (transposed(w), b), (h,), (gates, real), reverse)

    @staticmethod
    def step_back(of: Any, constants: tuple, carry: tuple, slices: tuple) -> tuple:
        (w,), (dh_next,), (dh, of_state, through, more) = constants, carry, slices
        dh = _sum(dh_next, dh)
        gates = _sum(of_state * dh[:, None], more)
        gates = gates.reshape(dh.shape[0], w.shape[0])
        return (dh * through + gates @ w,), (gates, dh)

    @classmethod
    def backward(cls, ctx: Any, last: Maybe, every: Maybe, *kept: Any) -> tuple:
        h, w, b, real, _, hs, r, z, n, hn = ctx.saved_tensors
        of, before = _OF_TENSORS, _before(hs, h, ctx.reverse)
        # from the gradient of n to those of what n, and then r, were given; from that of z
        to_n, to_r, to_z = 1 - n * n, hn * r * (1 - r), z * (1 - z)
        of_n = _held(of, real, (1 - z) * to_n, 0)
        of_z = _held(of, real, (before - n) * to_z, 0)
        dr, dz, dn, dhn = kept
        dn = _scaled(dn, to_n)
        dr = _sum(_scaled(dr, r * (1 - r)), _scaled(dn, to_r))
        more = _side_by_side([dr, _scaled(dz, to_z), _sum(_scaled(dn, r), dhn)], r)
        of_state = stack([of_n * to_r, of_z, of_n * r], 2)
        slices = (every, of_state, _held(of, real, z, 1), more)
        dh, gates, all_dh = _walk(cls.step_back, (w,), (_given(last, h),), slices, not ctx.reverse)
        # the input has the same part in r and z
        of_input = cat([gates[:, :, : 2 * n.shape[2]], _sum(of_n * all_dh, dn)], 2)
        db = None if b is None else sum_(gates, (0, 1))
        return of_input, dh, _product(gates, before), db, None, None
