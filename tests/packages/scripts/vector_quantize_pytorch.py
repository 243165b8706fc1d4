"""Vectors replaced by the nearest of a finite set, and the gradients that pass."""

import torch
from vector_quantize_pytorch import FSQ, VectorQuantize

from tests.packages.common import pattern


def run(compiled):
    book = VectorQuantize(dim=6, codebook_size=16, decay=0.8, commitment_weight=1.0)
    levels = FSQ(levels=[5, 5, 3], dim=6)
    with torch.no_grad():
        book._codebook.embed.copy_(pattern(1, 16, 6))
        book._codebook.embed_avg.copy_(book._codebook.embed)
        for k, p in enumerate(levels.parameters()):
            p.copy_(pattern(p.numel() + k)[k:].reshape(p.shape))

    def step(x):
        quantized, indices, commitment = book(x)
        finite, codes = levels(x)
        return quantized, indices, commitment, finite, codes

    x = pattern(2, 10, 6, dtype=torch.float32).requires_grad_()
    results = (torch.compile(step) if compiled else step)(x)
    (results[0].pow(2).sum() + results[2].sum() + results[3].sum()).backward()
    return [r.detach() for r in results] + [x.grad, book._codebook.embed]
