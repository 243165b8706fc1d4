"""A normalising flow: the likelihood of points, and its gradients."""

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
from nflows.transforms.base import CompositeTransform
from nflows.transforms.permutations import ReversePermutation

from tests.packages.common import pattern, settled


def run(compiled):
    layers = [ReversePermutation(3), MaskedAffineAutoregressiveTransform(3, hidden_features=8)]
    flow = settled(Flow(CompositeTransform(layers * 2), StandardNormal([3])), scale=0.2)

    def step(x):
        flow.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        return loss.detach()

    loss = (torch.compile(step) if compiled else step)(pattern(8, 3))
    return [loss] + [p.grad for p in flow.parameters() if p.grad is not None]
