"""The graph of a loss: its nodes by the names of their classes, and its edges."""

import torch
from torchviz import make_dot

from tests.packages.common import network, pattern


def run(compiled):
    model, x = network(), pattern(3, 4)
    forward = torch.compile(model) if compiled else model
    loss = forward(x).exp().mul(2).sum()
    text = make_dot(loss, params=dict(model.named_parameters())).source
    names = "AccumulateGrad MulBackward0 ExpBackward0 AddmmBackward0 TanhBackward0 TBackward0"
    counts = [text.count(f"{name} ") + text.count(f"{name}]") for name in names.split()]
    return [loss.detach()] if compiled else [loss.detach(), torch.tensor(counts), len(text) > 0]
