"""Networks written once for all libraries: a loss is a function of these layers and of its batch.

`Torch(T, parameters)` is for torch and tracegrad, `Jax(jax, parameters)` for JAX; each layer takes
its parameters from the list in the order of use. `Shapes()` computes nothing and draws the
parameters that the layers ask for. Only what the workloads use is here.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np


class Layers:
    """Layers with parameters, made of the functions of a library."""

    convolved: Any  # what each library does in its own way
    normalized: Any

    def parameter(self, *shape: int, start: float | None = None) -> Any:
        """The next parameter. It starts as `start`, or at random, smaller where more are added."""
        raise NotImplementedError

    def linear(self, x: Any, fan_in: int, fan_out: int, bias: bool = True) -> Any:
        y = x @ self.parameter(fan_out, fan_in).T
        return y + self.parameter(fan_out, start=0.0) if bias else y

    def conv(
        self, x: Any, fan_in: int, fan_out: int, kernel: int, stride: int = 1, groups: int = 1,
        bias: bool = False, padding: int | None = None,
    ) -> Any:
        weight = self.parameter(fan_out, fan_in // groups, kernel, kernel)
        shift = self.parameter(fan_out, start=0.0) if bias else None
        return self.convolved(x, weight, shift, stride, kernel // 2 if padding is None else padding,
                              groups)

    def batch_norm(self, x: Any, channels: int) -> Any:
        return self.normalized(x, self.parameter(channels, start=1.0),
                               self.parameter(channels, start=0.0), over_batch=True)

    def layer_norm(self, x: Any, width: int) -> Any:
        return self.normalized(x, self.parameter(width, start=1.0),
                               self.parameter(width, start=0.0), over_batch=False)

    def embedding(self, x: Any, many: int, width: int) -> Any:
        return self.parameter(many, width)[x]


class Anything:
    """The result of every operation on itself."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __call__
    __rtruediv__ = __pow__ = __neg__ = __matmul__ = __getitem__ = __abs__ = __call__


class Shapes(Layers):
    """Draws the parameters that a loss asks for."""

    def __init__(self) -> None:
        self.drawn: list[np.ndarray] = []
        self.rng = np.random.default_rng(0)

    def parameter(self, *shape: int, start: float | None = None) -> Any:
        if start is None:
            bound = prod(shape[1:]) ** -0.5
            values = self.rng.uniform(-bound, bound, shape)
        else:
            values = np.full(shape, start)
        self.drawn.append(values.astype(np.float32))
        return Anything()

    def split(self, x: Any, parts: int) -> Any:
        return [x] * parts

    def __getattr__(self, name: str) -> Any:
        return Anything()


class WithParameters(Layers):
    def __init__(self, parameters: list[Any]) -> None:
        self.parameters, self.used = parameters, 0

    def parameter(self, *shape: int, start: float | None = None) -> Any:
        self.used += 1
        return self.parameters[self.used - 1]


class Torch(WithParameters):
    def __init__(self, T: Any, parameters: list[Any]) -> None:
        super().__init__(parameters)
        self.library, self.F = T, T.nn.functional  # exp, log, stack and others of the same names

    def linear(self, x: Any, fan_in: int, fan_out: int, bias: bool = True) -> Any:
        weight = self.parameter(fan_out, fan_in)
        return self.F.linear(x, weight, self.parameter(fan_out, start=0.0) if bias else None)

    def embedding(self, x: Any, many: int, width: int) -> Any:
        return self.F.embedding(x, self.parameter(many, width))

    def convolved(self, x: Any, w: Any, b: Any, stride: int, padding: int, groups: int) -> Any:
        return self.F.conv2d(x, w, b, stride, padding, 1, groups)

    def normalized(self, x: Any, w: Any, b: Any, over_batch: bool) -> Any:
        if over_batch:
            return self.F.batch_norm(x, None, None, w, b, training=True)
        return self.F.layer_norm(x, w.shape, w, b)

    def max_pool(self, x: Any) -> Any:
        return self.F.max_pool2d(x, 2)

    def upsampled(self, x: Any) -> Any:
        return self.F.interpolate(x, scale_factor=2)

    def attention(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        return self.F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def permuted(self, x: Any, *axes: int) -> Any:
        return x.permute(axes)

    def split(self, x: Any, parts: int) -> Any:
        return x.chunk(parts, -1)

    def concatenated(self, x: list[Any], axis: int) -> Any:
        return self.library.cat(x, axis)

    def chosen(self, x: Any, places: Any) -> Any:
        return x.gather(1, places[:, None])[:, 0]

    def constant(self, x: Any) -> Any:
        return x.detach()

    def loop(self, step: Any, state: Any, rows: Any) -> Any:
        """The state after `state = step(state, row)` for each row."""
        for row in rows:
            state = step(state, row)
        return state

    def relu(self, x: Any) -> Any:
        return self.F.relu(x)

    def gelu(self, x: Any) -> Any:
        return self.F.gelu(x)

    def sigmoid(self, x: Any) -> Any:
        return self.library.sigmoid(x)

    def binary_cross_entropy(self, x: Any, y: Any) -> Any:
        return self.F.binary_cross_entropy_with_logits(x, y)

    def erf(self, x: Any) -> Any:
        return self.library.erf(x)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return self.library.logsumexp(x, axis)

    def cross_entropy(self, x: Any, y: Any) -> Any:
        return self.F.cross_entropy(x, y)

    def huber(self, x: Any, y: Any) -> Any:
        return self.F.smooth_l1_loss(x, y)


class Jax(WithParameters):
    def __init__(self, jax: Any, parameters: list[Any]) -> None:
        super().__init__(parameters)
        self.jax, self.library = jax, jax.numpy

    def convolved(self, x: Any, w: Any, b: Any, stride: int, padding: int, groups: int) -> Any:
        y = self.jax.lax.conv_general_dilated(
            x, w, (stride, stride), [(padding, padding)] * 2, feature_group_count=groups,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )
        return y if b is None else y + b[:, None, None]

    def normalized(self, x: Any, w: Any, b: Any, over_batch: bool) -> Any:
        axes = (0, 2, 3) if over_batch else -1
        mean = x.mean(axes, keepdims=True)
        square = ((x - mean) ** 2).mean(axes, keepdims=True)
        if over_batch:
            w, b = w[:, None, None], b[:, None, None]
        return (x - mean) * self.jax.lax.rsqrt(square + 1e-5) * w + b

    def max_pool(self, x: Any) -> Any:
        window = (1, 1, 2, 2)
        return self.jax.lax.reduce_window(
            x, -self.library.inf, self.jax.lax.max, window, window, "VALID")

    def upsampled(self, x: Any) -> Any:
        return self.library.repeat(self.library.repeat(x, 2, 2), 2, 3)

    def attention(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
        return self.jax.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(1, 2)

    def permuted(self, x: Any, *axes: int) -> Any:
        return x.transpose(axes)

    def split(self, x: Any, parts: int) -> Any:
        return self.library.split(x, parts, -1)

    def concatenated(self, x: list[Any], axis: int) -> Any:
        return self.library.concatenate(x, axis)

    def chosen(self, x: Any, places: Any) -> Any:
        return self.library.take_along_axis(x, places[:, None], 1)[:, 0]

    def constant(self, x: Any) -> Any:
        return self.jax.lax.stop_gradient(x)

    def loop(self, step: Any, state: Any, rows: Any) -> Any:
        return self.jax.lax.scan(lambda state, row: (step(state, row), None), state, rows)[0]

    def relu(self, x: Any) -> Any:
        return self.jax.nn.relu(x)

    def gelu(self, x: Any) -> Any:
        return self.jax.nn.gelu(x, approximate=False)

    def sigmoid(self, x: Any) -> Any:
        return self.jax.nn.sigmoid(x)

    def binary_cross_entropy(self, x: Any, y: Any) -> Any:
        return (self.jax.nn.softplus(x) - x * y).mean()

    def erf(self, x: Any) -> Any:
        return self.jax.lax.erf(x)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return self.jax.scipy.special.logsumexp(x, axis)

    def cross_entropy(self, x: Any, y: Any) -> Any:
        return -self.chosen(self.jax.nn.log_softmax(x), y).mean()

    def huber(self, x: Any, y: Any) -> Any:
        distance = abs(x - y)
        near = distance < 1
        return self.library.where(near, distance**2 / 2, distance - 0.5).mean()
