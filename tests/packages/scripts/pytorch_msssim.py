"""The structural similarity of images, and its gradient."""

import torch
from pytorch_msssim import MS_SSIM, ssim

from tests.packages.common import pattern


def run(compiled):
    x, y = pattern(2, 3, 180, 180) * 0.5 + 0.5, pattern(2, 3, 180, 180, scale=0.3) + 0.5
    x = x.float().requires_grad_()
    several = MS_SSIM(data_range=1.0, channel=3)

    def step(x, y):
        return ssim(x, y, data_range=1.0), several(x, y)

    values = (torch.compile(step) if compiled else step)(x, y.float())
    sum(values).backward()
    return [v.detach() for v in values] + [x.grad[0, 0, 90], x.grad.abs().sum()]
