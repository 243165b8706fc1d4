"""Training without a schedule."""

from schedulefree import AdamWScheduleFree

from tests.packages.common import network, train


def run(compiled):
    model = network()
    optimizer = AdamWScheduleFree(model.parameters(), lr=1e-2, warmup_steps=5, foreach=True)
    optimizer.train()
    results = train(model, optimizer, compiled)
    optimizer.eval()
    return results + [p.detach().clone() for p in model.parameters()]
