"""A classifier with the interface of scikit-learn."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn

from tests.packages.common import network, pattern


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = network(4, 3)

    def forward(self, x):
        return self.layers(x).softmax(-1)


def run(compiled):
    x = pattern(30, 4).numpy()
    y = np.arange(30) % 3
    net = NeuralNetClassifier(Net, max_epochs=4, lr=0.1, batch_size=10, train_split=None,
                              iterator_train__shuffle=False, verbose=0, compile=compiled)
    net.fit(x, y)
    return [torch.tensor(net.history[:, "train_loss"]), torch.tensor(net.predict_proba(x))]
