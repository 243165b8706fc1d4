"""A neural differential equation, by a solver with adaptive steps, and its gradients."""

import torch
from torchdiffeq import odeint

from tests.packages.common import network, pattern


def run(compiled):
    field, y, t = network(2, 2), pattern(3, 2), torch.linspace(0, 1, 4, dtype=torch.float64)

    def step(y, method):
        field.zero_grad()
        path = odeint(lambda t, y: field(y), y, t, method=method)
        loss = (path[-1] ** 2).sum()
        loss.backward()
        return path.detach(), loss.detach()

    step = torch.compile(step) if compiled else step
    results = [x.clone() for method in ("rk4", "dopri5") for x in step(y, method)]
    return results + [p.grad for p in field.parameters()]
