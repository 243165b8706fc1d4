"""A neural spline flow: the likelihood of points, and its gradients."""

import torch
import zuko

from tests.packages.common import pattern, settled


def run(compiled):
    flow = settled(zuko.flows.NSF(features=3, transforms=2, hidden_features=(16,)), scale=0.2)

    def step(x):
        flow.zero_grad()
        loss = -flow().log_prob(x).mean()
        loss.backward()
        return loss.detach()

    loss = (torch.compile(step) if compiled else step)(pattern(8, 3))
    return [loss] + [p.grad for p in flow.parameters() if p.grad is not None]
