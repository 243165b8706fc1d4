"""Positions as rotations of queries and keys."""

import torch
from rotary_embedding_torch import RotaryEmbedding

from tests.packages.common import pattern


def run(compiled):
    rotary = RotaryEmbedding(dim=8)

    def step(q, k):
        return rotary.rotate_queries_or_keys(q), rotary.rotate_queries_or_keys(k)

    q, k = (pattern(1, 2, 6, 16, dtype=torch.float32).requires_grad_() for _ in "qk")
    outputs = (torch.compile(step) if compiled else step)(q, k * 2)
    (outputs[0] @ outputs[1].transpose(-1, -2)).softmax(-1).pow(2).sum().backward()
    return [o.detach() for o in outputs] + [q.grad]
