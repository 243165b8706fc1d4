"""Training by Prodigy, which finds its learning rate."""

from prodigyopt import Prodigy

from tests.packages.common import network, train


def run(compiled):
    model = network()
    optimizer = Prodigy(model.parameters(), lr=1.0, weight_decay=1e-2)
    return train(model, optimizer, compiled) + [optimizer.param_groups[0]["d"]]
