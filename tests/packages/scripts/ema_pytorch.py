"""A moving average of a model's parameters."""

import torch
from ema_pytorch import EMA

from tests.packages.common import network, pattern, train


def run(compiled):
    model = network()
    ema = EMA(model, beta=0.9, update_after_step=2, update_every=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    results = []
    for _ in range(6):
        results += train(model, optimizer, compiled, steps=1)[:1]
        ema.update()
    return results + [ema(pattern(3, 4)).detach()]
