"""Training by some optimizers of this collection."""

from pytorch_optimizer import load_optimizer

from tests.packages.common import network, train


def run(compiled):
    results = []
    for name in ("adabelief", "adan", "lamb", "tiger", "adopt"):
        model = network()
        optimizer = load_optimizer(name)(model.parameters(), lr=1e-3)
        results += train(model, optimizer, compiled, steps=8)
    return results
