"""The printed table of a model's layers."""

import contextlib
import io
import re

import torch
from torch import nn
from torchsummary import summary


def run(compiled):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    model.forward = torch.compile(model.forward) if compiled else model.forward
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        summary(model, (1, 8, 8), device="cpu")
    return [int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", printed.getvalue())]
