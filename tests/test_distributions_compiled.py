"""Distributions in compiled functions, beside the same run eagerly."""

from __future__ import annotations

import pytest
from distribution_cases import CASES, build, value_of

import tracegrad as tg
import tracegrad.distributions as D
from tracegrad import nn


def vae():
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    optimizer = tg.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
    x = tg.bernoulli(tg.full((8, 6), 0.4))

    def step():
        optimizer.zero_grad()
        mean, log_scale = encoder(x).chunk(2, -1)
        q = D.Normal(mean, log_scale.exp())
        p = D.Bernoulli(logits=decoder(q.rsample()))
        loss = (D.kl_divergence(q, D.Normal(0.0, 1.0)).sum(-1) - p.log_prob(x).sum(-1)).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def reinforce():
    policy = nn.Linear(3, 4)
    optimizer = tg.optim.SGD(policy.parameters(), lr=0.1)
    states, gain = tg.randn(16, 3), tg.tensor([0.0, 1.0, -1.0, 0.5])

    def step():
        optimizer.zero_grad()
        d = D.Categorical(logits=policy(states))
        action = d.sample()
        loss = -(d.log_prob(action) * gain[action] + 0.01 * d.entropy()).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def flow():
    loc, scale = (tg.zeros(2, requires_grad=True) for _ in range(2))
    optimizer = tg.optim.Adam([loc, scale], lr=0.05)
    x = D.LogNormal(tg.tensor([0.5, -0.2]), 0.3).sample((32,))

    def step():
        optimizer.zero_grad()
        base = D.Independent(D.Normal(tg.zeros(2), 1.0), 1)
        affine = D.AffineTransform(loc, scale.exp(), event_dim=1)
        d = D.TransformedDistribution(base, [affine, D.ExpTransform()])
        loss = -d.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def gamma_fit():
    raw = tg.zeros(2, requires_grad=True)
    optimizer = tg.optim.SGD([raw], lr=0.05)

    def step():
        optimizer.zero_grad()
        q = D.Gamma(*D.transform_to(D.constraints.positive)(raw + 1.0))
        loss = D.kl_divergence(q, D.Gamma(2.0, 1.0)) + q.rsample((5,)).log().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("program", [
    vae, *(pytest.param(f, marks=pytest.mark.slow) for f in (reinforce, flow, gamma_fit))
])
def test_a_compiled_step_is_the_eager_one(program):
    runs = []
    for wrap in (tg.compile, lambda f: f):
        tg.manual_seed(0)
        step = wrap(program())
        tg.manual_seed(1)
        runs.append([step().item() for _ in range(4)])
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_a_bad_value_in_a_compiled_function_is_the_same_error():
    @tg.compile
    def f(scale):
        return D.Normal(0.0, scale).log_prob(tg.tensor(0.5))

    assert f(tg.tensor(1.0)).item() == pytest.approx(-1.0439385)
    assert f(tg.tensor(2.0)).isfinite()
    with pytest.raises(ValueError, match=r"parameter scale .* satisfy the constraint GreaterThan"):
        f(tg.tensor(-1.0))
    assert f(tg.tensor(3.0)).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_distribution_is_compiled(name):
    def f(seed):
        d, params = build(tg, name, grad=True)
        x = d.sample((3,))
        y = d.log_prob(value_of(tg, name))
        grads = tg.autograd.grad(y.sum(), params)
        return (x, y, *grads)

    tg.manual_seed(2)
    ours = tg.compile(f)(0)
    tg.manual_seed(2)
    for a, b in zip(ours, f(0), strict=True):
        tg.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
