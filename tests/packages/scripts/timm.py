"""Three models for images: their outputs, and the norms of their gradients."""

import timm
import torch

from tests.packages.common import pattern, settled

SMALL = {"img_size": 32}
MODELS = {"resnet10t": {}, "vit_tiny_patch16_224": SMALL, "mixer_s32_224": SMALL}


def run(compiled):
    results = []
    for name, options in MODELS.items():
        model = settled(timm.create_model(name, num_classes=5, **options), scale=0.05).eval()
        forward = torch.compile(model) if compiled else model
        output = forward(pattern(1, 3, 32, 32))
        output.pow(2).sum().backward()
        norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        results += [output.detach(), torch.stack(norms)]
    return results
