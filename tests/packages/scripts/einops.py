"""Rearrangements of axes, as functions and as layers."""

import torch
from einops import einsum, pack, rearrange, reduce, repeat
from einops.layers.torch import Rearrange, Reduce
from torch import nn

from tests.packages.common import pattern, settled


def run(compiled):
    model = settled(nn.Sequential(
        Rearrange("b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2), nn.Linear(12, 5),
        Reduce("b n d -> b d", "mean"),
    ))

    def step(x):
        heads = rearrange(x, "b c h w -> b (h w) c")
        products = einsum(heads, heads, "b n c, b m c -> b n m")
        packed, _ = pack([reduce(x, "b c h w -> b c", "max"), model(x)], "b *")
        return products, repeat(packed, "b d -> b d k", k=2)

    x = pattern(2, 3, 4, 4).requires_grad_()
    outputs = (torch.compile(step) if compiled else step)(x)
    sum((o**2).sum() for o in outputs).backward()
    return [o.detach() for o in outputs] + [x.grad]
