"""A differential equation solved by a network: y' = -y, y(0) = 1."""

import os

os.environ["DDE_BACKEND"] = "pytorch"
import deepxde as dde  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.packages.common import pattern  # noqa: E402


def run(compiled):
    dde.config.set_default_float("float64")
    domain = dde.geometry.TimeDomain(0, 1)
    start = dde.icbc.IC(domain, lambda x: np.ones((len(x), 1)), lambda _, first: first)

    def equation(x, y):
        return dde.grad.jacobian(y, x) + y

    data = dde.data.PDE(domain, equation, [start], num_domain=8, num_boundary=2,
                        train_distribution="uniform")
    net = dde.nn.FNN([1, 8, 1], "tanh", "Glorot normal")
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(pattern(p.numel() + k, scale=0.7)[k:].reshape(p.shape))
    model = dde.Model(data, net)
    model.compile("adam", lr=1e-2)
    if compiled:
        model.train_step = torch.compile(model.train_step)
    losses, _ = model.train(iterations=20, display_every=10, verbose=0)
    return [np.array(losses.loss_train), model.predict(np.linspace(0, 1, 5)[:, None])]
