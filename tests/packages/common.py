"""What the scripts share: numbers that do not come from a random generator, and a training loop."""

from __future__ import annotations

import torch
from torch import nn


def pattern(*shape, scale=1.0, dtype=torch.float64):
    """Numbers between -scale and scale that look irregular, the same ones everywhere."""
    count = 1
    for n in shape:
        count *= n
    k = torch.arange(count, dtype=torch.float64)
    return ((k * 12.9898).sin() * 43.758).sin().mul(scale).reshape(shape).to(dtype)


def settled(model, scale=0.5):
    """The model in float64, with parameters of such numbers."""
    model = model.double()
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(pattern(p.numel() + k, scale=scale)[k:].reshape(p.shape))
    return model


def network(inputs=4, outputs=2):
    """A small network."""
    return settled(nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs)))


def train(model, optimizer, compiled, steps=20, loss=None):
    """The losses of so many steps, and all parameters after them."""
    inputs, outputs = model[0].in_features, model[-1].out_features
    x, y = pattern(16, inputs), pattern(16, outputs, scale=0.3)
    loss = loss or nn.functional.mse_loss

    def step():
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value.detach()

    step = torch.compile(step) if compiled else step
    losses = [step().clone() for _ in range(steps)]
    return [torch.stack(losses), *(p.detach() for p in model.parameters())]
