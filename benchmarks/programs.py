"""Training steps whose first call is measured: networks, and simulations written as Python loops.

Each is a function of the library, torch or tracegrad, that gives a step and its arguments. The step
is the same for both, and so are the random numbers that it starts from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import runge_kutta

Made = tuple[Callable[..., Any], tuple[Any, ...]]


def numbers(T: Any, *shape: int, scale: float = 1.0, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return T.from_numpy(values.astype(np.float32))


def places(T: Any, most: int, *shape: int) -> Any:
    return T.from_numpy(np.random.default_rng(1).integers(0, most, shape))


def training(loss: Callable[..., Any], optimizer: Any, *batch: Any) -> Made:
    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        value = loss(*batch)
        value.backward()
        optimizer.step()
        return value

    return step, batch


def classifier(T: Any, model: Any, x: Any, classes: int) -> Made:
    y = places(T, classes, x.shape[0])
    optimizer = T.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return training(lambda x, y: T.nn.functional.cross_entropy(model(x), y), optimizer, x, y)


# ---- networks
def mlp(T: Any, batch: int, *sizes: int) -> Made:
    layers: list[Any] = []
    for wide, narrow in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [T.nn.Linear(wide, narrow), T.nn.ReLU()]
    model = T.nn.Sequential(*layers[:-1])
    return classifier(T, model, numbers(T, batch, sizes[0]), sizes[-1])


def lenet(T: Any) -> Made:
    nn = T.nn
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )
    return classifier(T, model, numbers(T, 16, 1, 28, 28), 10)


def residual_block(T: Any, wide: int, narrow: int, stride: int) -> Any:
    nn: Any = T.nn
    Module: Any = nn.Module

    class Block(Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(wide, narrow, 3, stride, 1, bias=False), nn.BatchNorm2d(narrow),
                nn.ReLU(), nn.Conv2d(narrow, narrow, 3, 1, 1, bias=False), nn.BatchNorm2d(narrow),
            )
            straight = wide == narrow and stride == 1
            self.skip = nn.Identity() if straight else nn.Sequential(
                nn.Conv2d(wide, narrow, 1, stride, bias=False), nn.BatchNorm2d(narrow))

        def forward(self, x: Any) -> Any:
            return T.nn.functional.relu(self.body(x) + self.skip(x))

    return Block()


def one_residual_block(T: Any) -> Made:
    nn = T.nn
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), residual_block(T, 16, 16, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )
    return classifier(T, model, numbers(T, 8, 3, 16, 16), 10)


def resnet18(T: Any) -> Made:
    nn = T.nn
    layers, wide = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for narrow, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [residual_block(T, wide, narrow, stride), residual_block(T, narrow, narrow, 1)]
        wide = narrow
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    return classifier(T, model, numbers(T, 4, 3, 32, 32), 10)


def gpt(T: Any, layers: int = 4, width: int = 128, heads: int = 4, length: int = 64) -> Made:
    nn, F, letters = T.nn, T.nn.functional, 65
    Module: Any = nn.Module

    class Layer(Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            parts = self.qkv(self.norms[0](x)).chunk(3, dim=-1)
            q, k, v = (p.reshape(n, t, heads, width // heads).transpose(1, 2) for p in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(n, t, width))
            return x + self.down(F.gelu(self.up(self.norms[1](x))))

    class GPT(Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(length, width)
            self.layers = nn.Sequential(*(Layer() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters)

        def forward(self, x: Any) -> Any:
            y = self.letters(x) + self.places(T.arange(length))
            return self.head(self.norm(self.layers(y)))

    model = GPT()
    optimizer = T.optim.AdamW(model.parameters(), lr=1e-3)
    text = places(T, letters, 8, length + 1)

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x).reshape(-1, letters), y.reshape(-1))

    x, y = (T.from_numpy(np.ascontiguousarray(a)) for a in
            (text.numpy()[:, :-1], text.numpy()[:, 1:]))
    return training(loss, optimizer, x, y)


def pinn(T: Any) -> Made:
    """The heat equation: second derivatives of the network inside the loss."""
    nn = T.nn
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(),
                          nn.Linear(32, 1))
    optimizer = T.optim.Adam(model.parameters(), lr=1e-3)

    def loss(x: Any) -> Any:
        x = x.detach().requires_grad_(True)
        u = model(x)
        (du,) = T.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = T.autograd.grad(du[:, 1].sum(), x, create_graph=True)
        return ((du[:, 0] - second[:, 1]) ** 2).mean() + (u**2).mean()

    return training(loss, optimizer, numbers(T, 64, 2))


# ---- loops
def recurrent(T: Any, steps: int, width: int = 16) -> Made:
    """h = tanh(x[t] @ w + h @ u + b)"""
    w, u = (numbers(T, width, width, scale=0.2, seed=s).requires_grad_() for s in (2, 3))
    b = T.zeros(width, requires_grad=True)
    optimizer = T.optim.SGD([w, u, b], lr=0.01)

    def loss(x: Any, y: Any) -> Any:
        h, total = T.zeros(x.shape[1], width), 0.0
        for t in range(steps):
            h = T.tanh(x[t] @ w + h @ u + b)
            total = total + ((h - y[t]) ** 2).mean()
        return total / steps

    return training(loss, optimizer, numbers(T, steps, 8, width),
                    numbers(T, steps, 8, width, seed=4))


def lstm(T: Any, steps: int, width: int = 32, letters: int = 32) -> Made:
    """A language model of characters, its cell written by hand."""
    F = T.nn.functional
    embedding, readout = T.nn.Embedding(letters, width), T.nn.Linear(width, letters)
    cell = T.nn.Linear(2 * width, 4 * width)
    every = [p for m in (embedding, cell, readout) for p in m.parameters()]
    optimizer = T.optim.Adam(every, lr=1e-3)

    def loss(text: Any) -> Any:
        h = c = T.zeros(text.shape[1], width)
        total = 0.0
        for t in range(steps):
            gates = cell(T.cat([embedding(text[t]), h], dim=1))
            i, f, g, o = gates.chunk(4, dim=1)
            c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
            h = T.sigmoid(o) * T.tanh(c)
            total = total + F.cross_entropy(readout(h), text[t + 1])
        return total / steps

    return training(loss, optimizer, places(T, letters, steps + 1, 8))


def neural_ode(T: Any, steps: int) -> Made:
    """A network as the right side of an equation, and `steps` of Runge and Kutta's method."""
    nn = T.nn
    field = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = T.optim.Adam(field.parameters(), lr=1e-3)

    def loss(x: Any, y: Any) -> Any:
        state = (x,)
        for _ in range(steps):
            state = runge_kutta.step(lambda x: (field(x),), state, 1.0 / steps)
        return ((state[0] - y) ** 2).mean()

    return training(loss, optimizer, numbers(T, 64, 2), numbers(T, 64, 2, seed=5))


def growth(rates: Any, hares: Any, lynxes: Any) -> tuple[Any, Any]:
    a, b, c, d = rates
    return a * hares - b * hares * lynxes, d * hares * lynxes - c * lynxes


def lotka_volterra(T: Any, steps: int) -> Made:
    """Hares and lynxes: the four rates of their equations are fitted to a series of counts."""
    rates = T.tensor([0.6, 0.03, 0.8, 0.03], requires_grad=True)
    optimizer = T.optim.Adam([rates], lr=1e-2)

    slope = partial(growth, rates)

    def loss(counts: Any) -> Any:
        state, total = (counts[0, 0], counts[0, 1]), 0.0
        for t in range(1, steps + 1):
            state = x, y = runge_kutta.step(slope, state, 0.1)
            total = total + (x - counts[t, 0]) ** 2 + (y - counts[t, 1]) ** 2
        return total / steps

    return training(loss, optimizer, numbers(T, steps + 1, 2).abs() * 20 + 5)


NETWORKS: dict[str, Callable[[Any], Made]] = {  # the first axis of their arguments is the batch
    "MLP 20-32-3": lambda T: mlp(T, 32, 20, 32, 3),
    "MLP 784-256-256-10": lambda T: mlp(T, 64, 784, 256, 256, 10),
    "LeNet": lenet,
    "residual block": one_residual_block,
    "ResNet-18": resnet18,
    "GPT 4x128": gpt,
    "PINN": pinn,
}
LOOPS: dict[str, tuple[Callable[..., Made], tuple[int, ...]]] = {
    "recurrent loop": (recurrent, (10, 100, 1000)),
    "LSTM loop": (lstm, (10, 64, 100, 1000, 1024)),
    "neural ODE": (neural_ode, (10, 30, 100, 1000)),
    "Lotka-Volterra": (lotka_volterra, (10, 100, 1000)),
}
PROGRAMS = NETWORKS | {
    f"{kind} of {steps} steps": partial(loop, steps=steps)
    for kind, (loop, every) in LOOPS.items() for steps in every
}
