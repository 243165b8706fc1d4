"""One layer of a recurrent network in one direction, over all times, with its derivative.

Takes the gates' part of the input, which is one product for all times, and the state before. Forward
keeps the values of the gates. Backward walks the times in the other order for the gradients of the
gates; those of the weights are then one product over all times. What was kept is an output too, so
backward can itself be differentiated. It must know nothing of layers, packing and parameters' names.

T times, N examples, H hidden units, R numbers of a state (H, or fewer with a projection).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.ops.elementwise import relu, sigmoid, tanh, where
from ...tracer.autograd.function import Function
from ...tracer.tensor.tensor import Tensor
from ..torch.blas import matmul
from ..torch.creation import tensor, zeros_like
from ..torch.reduction import sum as sum_
from ..torch.shape import reshape, t as transposed, unsqueeze
from ..torch.slicing_joining import cat, chunk, stack, unbind
from .linear import linear

Maybe = Tensor | None


def _walk(step: Callable, carry: tuple, slices: tuple[Maybe, ...], reverse: bool) -> tuple:
    """The last carry, and what the steps gave, each stacked in the order of the times."""
    times = len(next(x for x in slices if x is not None))
    rows = list(zip(*([None] * times if x is None else unbind(x) for x in slices), strict=True))
    results: list[Any] = [None] * times
    for k in reversed(range(times)) if reverse else range(times):
        carry, results[k] = step(carry, *rows[k])
    return (*carry, *map(stack, zip(*results, strict=True)))


def _before(states: Tensor, first: Tensor, reverse: bool) -> Tensor:
    """The state that each time began with."""
    first = unsqueeze(first, 0)
    return cat([states[1:], first]) if reverse else cat([first, states[:-1]])


def _sum(*terms: Maybe) -> Maybe:
    """The sum of the terms that are there."""
    total = None
    for x in terms:
        if x is not None:
            total = x if total is None else total + x
    return total


def _held(real: Maybe, new: Tensor, old: Tensor | float) -> Tensor:
    """`new` where the sequence goes on, else `old`."""
    return new if real is None else where(real, new, old)


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
    return matmul(transposed(reshape(gates, rows, -1)), reshape(states, rows, -1))


class _Recurrence(Function):
    """What the kinds share: `forward` without context, and outputs that are kept."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        *tensors, ctx.reverse = inputs[1:]
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)


class RNNTanh(_Recurrence):
    """h = tanh(gates + h @ w.T): gates (T, N, H), h (N, H) -> the last h, all h (T, N, H)."""

    activation = staticmethod(tanh)

    @classmethod
    def forward(cls, gates: Tensor, h: Tensor, w: Tensor, real: Maybe, reverse: bool) -> tuple:
        wt = transposed(w)

        def step(carry: tuple, gates: Tensor, real: Maybe) -> tuple:
            (h,) = carry
            h = _held(real, cls.activation(gates + matmul(h, wt)), h)
            return (h,), (h,)

        return _walk(step, (h,), (gates, real), reverse)

    @staticmethod
    def slope(g: Tensor, h: Tensor) -> Tensor:
        """The gradient of what the activation was given, from that of its result h."""
        return g * (1 - h * h)

    @classmethod
    def backward(cls, ctx: Any, last: Maybe, every: Maybe) -> tuple:
        first, w, real, _, states = ctx.saved_tensors

        def step(carry: tuple, g: Maybe, h: Tensor, real: Maybe) -> tuple:
            g = _sum(*carry, g)
            gates = _held(real, cls.slope(g, h), 0)
            g_before = matmul(gates, w)
            return (g_before if real is None else g_before + where(real, 0, g),), (gates,)

        carry = (_given(last, first),)
        dh, gates = _walk(step, carry, (every, states, real), not ctx.reverse)
        return gates, dh, _product(gates, _before(states, first, ctx.reverse)), None, None


class RNNRelu(RNNTanh):
    """h = relu(gates + h @ w.T), with the same shapes."""

    activation = staticmethod(relu)

    @staticmethod
    def slope(g: Tensor, h: Tensor) -> Tensor:
        return where(h <= 0, 0, g)


class LSTM(_Recurrence):
    """i, f, g, o = gates + h @ w.T; c = f * c + i * g; h = o * tanh(c), or that times `projection`.

    i, f and o go through sigmoid, g through tanh. gates (T, N, 4H), h (N, R), c (N, H), w (4H, R),
    projection (R, H) -> the last h and c, all h and c, i, f, g and o (T, N, H).
    """

    @staticmethod
    def forward(gates: Tensor, h: Tensor, c: Tensor, w: Tensor, projection: Maybe, real: Maybe,
                reverse: bool) -> tuple:
        wt = transposed(w)
        down = None if projection is None else transposed(projection)

        def step(carry: tuple, gates: Tensor, real: Maybe) -> tuple:
            h, c = carry
            i, f, g, o = chunk(gates + matmul(h, wt), 4, 1)
            i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
            new_c = f * c + i * g
            new_h = o * tanh(new_c)
            if down is not None:
                new_h = matmul(new_h, down)
            h, c = _held(real, new_h, h), _held(real, new_c, c)
            return (h, c), (h, c, i, f, g, o)

        return _walk(step, (h, c), (gates, real), reverse)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        last_h, last_c, every_h, every_c, *kept = grads
        h, c, w, projection, real, _, _, hs, cs, i, f, g, o = ctx.saved_tensors
        bent = tanh(cs)
        slopes = [i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)]
        factors = [g * slopes[0], _before(cs, c, ctx.reverse) * slopes[1], i * slopes[2],
                   bent * slopes[3]]
        more = _side_by_side([_scaled(x, s) for x, s in zip(kept, slopes, strict=True)], i)
        four = None if real is None else unsqueeze(real, 3)
        to_gates = _held(four, stack(factors, 2), 0)
        to_c, through = _held(real, o * (1 - bent * bent), 0), _held(real, f, 1)
        of_c = tensor([[True], [True], [True], [False]])

        def step(carry: tuple, dh: Maybe, dc: Maybe, to_gates: Tensor, to_c: Tensor,
                 through: Tensor, more: Maybe, real: Maybe) -> tuple:
            dh, dc = _sum(carry[0], dh), _sum(carry[1], dc)
            up = dh if projection is None else matmul(dh, projection)
            dc = dc + up * to_c
            gates = to_gates * where(of_c, unsqueeze(dc, 1), unsqueeze(up, 1))
            gates = reshape(_sum(gates, more), gates.shape[0], -1)
            before = matmul(gates, w)
            if real is not None:
                before = before + where(real, 0, dh)
            return (before, dc * through), (gates, dh)

        carry = (_given(last_h, h), _given(last_c, c))
        slices = (every_h, every_c, to_gates, to_c, through, more, real)
        dh, dc, gates, all_dh = _walk(step, carry, slices, not ctx.reverse)
        dw = _product(gates, _before(hs, h, ctx.reverse))
        down = None if projection is None else _product(_held(real, all_dh, 0), o * bent)
        return gates, dh, dc, dw, down, None, None


class GRU(_Recurrence):
    """r, z, n = gates + (h @ w.T + b), where n's second term counts r times; h = (h - n) * z + n.

    r and z go through sigmoid, n through tanh. gates (T, N, 3H), h (N, H), w (3H, H), b (3H,) ->
    the last h, all h, r, z, n and n's second term (T, N, H).
    """

    @staticmethod
    def forward(gates: Tensor, h: Tensor, w: Tensor, b: Maybe, real: Maybe,
                reverse: bool) -> tuple:
        def step(carry: tuple, gates: Tensor, real: Maybe) -> tuple:
            (h,) = carry
            r, z, n = chunk(gates, 3, 1)
            hr, hz, hn = chunk(linear(h, w, b), 3, 1)
            r, z = sigmoid(r + hr), sigmoid(z + hz)
            n = tanh(n + r * hn)
            h = _held(real, (h - n) * z + n, h)
            return (h,), (h, r, z, n, hn)

        return _walk(step, (h,), (gates, real), reverse)

    @staticmethod
    def backward(ctx: Any, last: Maybe, every: Maybe, *kept: Any) -> tuple:
        h, w, b, real, _, hs, r, z, n, hn = ctx.saved_tensors
        before = _before(hs, h, ctx.reverse)
        to_n, to_r = 1 - n * n, hn * r * (1 - r)  # of what n and r were given
        first, second = (1 - z) * to_n, z * (1 - z)
        three = None if real is None else unsqueeze(real, 3)
        of_input, of_state = (
            _held(three, stack([first * to_r, (before - n) * second, first * x], 2), 0)
            for x in (1, r)
        )
        dr, dz, dn, dhn = kept
        dn = _scaled(dn, to_n)
        dr = _sum(_scaled(dr, r * (1 - r)), _scaled(dn, to_r))
        more = [dr, _scaled(dz, second), _sum(_scaled(dn, r), dhn)]
        through = _held(real, z, 1)

        def step(carry: tuple, dh: Maybe, of_state: Tensor, through: Tensor,
                 more: Maybe) -> tuple:
            dh = _sum(*carry, dh)
            gates = _sum(of_state * unsqueeze(dh, 1), more)
            gates = reshape(gates, dh.shape[0], -1)
            return (dh * through + matmul(gates, w),), (gates, dh)

        carry = (_given(last, h),)
        slices = (every, of_state, through, _side_by_side(more, r))
        dh, from_state, all_dh = _walk(step, carry, slices, not ctx.reverse)
        from_input = _sum(of_input * unsqueeze(all_dh, 2), _side_by_side([*more[:2], dn], r))
        db = None if b is None else sum_(from_state, (0, 1))
        gates = reshape(from_input, from_state.shape)
        return gates, dh, _product(from_state, before), db, None, None
