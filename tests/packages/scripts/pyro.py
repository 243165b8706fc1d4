"""A regression by variational inference, with the noise given: its loss and gradients."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO

from tests.packages.common import pattern


def run(compiled):
    x, y = pattern(20, 2), pattern(20)
    noise = pattern(3)

    def model(x, y):
        w = pyro.sample("w", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(torch.tensor(0.0).double(), 0.5))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(x @ w, scale), obs=y)

    def guide(x, y):
        mean = pyro.param("mean", noise[:2].clone())
        spread = pyro.param("spread", lambda: noise[2].exp())
        pyro.sample("w", dist.Delta(mean + 0.1 * spread).to_event(1))
        pyro.sample("scale", dist.Delta(spread))

    pyro.clear_param_store()
    elbo = Trace_ELBO()

    def step():
        loss = elbo.differentiable_loss(model, guide, x, y)
        loss.backward()
        with torch.no_grad():
            for p in (pyro.param(n).unconstrained() for n in ("mean", "spread")):
                p -= 0.01 * p.grad
                p.grad = None
        return loss.detach()

    first = step().clone()  # makes the parameters
    step = torch.compile(step) if compiled else step
    losses = [first] + [step().clone() for _ in range(3)]
    return [*losses, pyro.param("mean").detach(), pyro.param("spread").detach()]
