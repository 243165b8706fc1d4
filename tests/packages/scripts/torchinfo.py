"""The table of a model's layers, shapes and counts."""

import torch
from torch import nn
from torchinfo import summary


def run(compiled):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    model = torch.compile(model) if compiled else model
    table = summary(model, input_size=(2, 1, 8, 8), verbose=0)
    return [table.total_params, table.trainable_params, table.total_mult_adds,
            table.total_output_bytes]
