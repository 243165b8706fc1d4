"""Training by Lion."""

from lion_pytorch import Lion

from tests.packages.common import network, train


def run(compiled):
    model = network()
    return train(model, Lion(model.parameters(), lr=1e-2, weight_decay=1e-2), compiled)
