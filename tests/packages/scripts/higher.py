"""A step of an inner optimizer, differentiated."""

import higher
import torch
from torch.nn.functional import mse_loss

from tests.packages.common import network, pattern


def run(compiled):
    model, x, y = network(), pattern(6, 4), pattern(6, 2)
    inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)

    def step(x, y):
        model.zero_grad()
        with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (net, optimizer):
            for _ in range(3):
                optimizer.step(mse_loss(net(x), y))
            loss = mse_loss(net(x * 0.5), y)
            loss.backward()
        return loss.detach()

    loss = (torch.compile(step) if compiled else step)(x, y)
    return [loss] + [p.grad for p in model.parameters()]
