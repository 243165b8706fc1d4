"""A Gaussian process: its marginal likelihood, training, and predictions."""

import gpytorch
import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import RBFKernel, ScaleKernel

from tests.packages.common import pattern


class Model(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood):
        super().__init__(x, y, likelihood)
        self.mean, self.kernel = gpytorch.means.ConstantMean(), ScaleKernel(RBFKernel())

    def forward(self, x):
        return MultivariateNormal(self.mean(x), self.kernel(x))


def run(compiled):
    x = torch.linspace(0, 1, 12, dtype=torch.float64)
    y = (x * 6).sin() + pattern(12, scale=0.1)
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    model = Model(x, y, likelihood).double()
    likelihood_of = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss = -likelihood_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = torch.compile(step) if compiled else step
    losses = [step().clone() for _ in range(5)]
    model.eval()
    predicted = model(torch.linspace(0, 1, 5, dtype=torch.float64))
    return [*losses, predicted.mean.detach(), predicted.variance.detach()]
