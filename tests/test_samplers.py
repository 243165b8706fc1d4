"""Samplers by rejection: their distributions, and the derivatives of samples."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
import tracegrad.distributions as D

stats = pytest.importorskip("scipy.stats")
F64 = tg.float64


def drawn(sampler, *params, count=20_000, seed=0):
    tg.manual_seed(seed)
    with tg.no_grad():
        return sampler(*(tg.full((count,), float(p), dtype=F64) for p in params)).numpy()


@pytest.mark.parametrize("a", [0.01, 0.6, 1.0, 7.5, 1e4])
def test_gamma_numbers_have_their_distribution(a):
    assert stats.kstest(drawn(tg._standard_gamma, a), stats.gamma(a).cdf).pvalue > 1e-3


@pytest.mark.parametrize("k", [1e-4, 0.8, 30.0, 1e5])
def test_angles_have_their_distribution(k):
    from tracegrad.functions.torch.samplers import von_mises

    assert stats.kstest(drawn(von_mises, k), stats.vonmises(k).cdf).pvalue > 1e-3


def fits(counts, law):
    """Whether counts have a discrete distribution, by a chi-squared test over some 20 classes."""
    edges = np.unique(law.ppf(np.linspace(0.02, 0.98, 20)))
    chance = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]]))
    seen = np.histogram(counts, np.concatenate([[-1.0], edges + 0.5, [np.inf]]))[0]
    kept = chance > 1e-9
    assert seen[~kept].sum() == 0
    return stats.chisquare(seen[kept], chance[kept] * counts.size).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.2, 9.99, 10.0, 12.5, 1e6])
def test_poisson_counts_have_their_distribution(rate):
    assert fits(drawn(tg.poisson, rate), stats.poisson(rate))


@pytest.mark.parametrize(("n", "p"), [(6, 0.3), (50, 0.9), (21, 0.5), (400, 0.2), (10**6, 0.7)])
def test_binomial_counts_have_their_distribution(n, p):
    assert fits(drawn(tg.binomial, n, p), stats.binom(n, p))


def test_dirichlet_vectors_have_their_distribution_and_sum_to_one():
    a = tg.tensor([0.02, 0.7, 3.0], dtype=F64)
    tg.manual_seed(1)
    x = tg._sample_dirichlet(a.expand((20_000, 3))).numpy()
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-12)
    for k in range(3):
        law = stats.beta(a[k].item(), a.sum().item() - a[k].item())
        assert stats.kstest(x[:, k], law.cdf).pvalue > 1e-3
    tiny = tg._sample_dirichlet(tg.full((1000, 2), 1e-5))
    assert bool(((tiny > 0.999).sum(-1) == 1).all())  # nearly all in a corner, none of them NaN


EDGES = {
    "gamma": (lambda: tg._standard_gamma(tg.tensor([0.0, -1.0, np.nan, np.inf])),
              [2.0**-126, 2.0**-126, np.nan, np.inf]),
    "poisson": (lambda: tg.poisson(tg.tensor([0.0, np.nan])), [0.0, np.nan]),
    "binomial": (lambda: tg.binomial(tg.tensor([-1.0, 3.0, 3.0, 3.0, np.nan, 1.0]),
                                     tg.tensor([0.2, 0.0, 1.0, 2.0, 0.5, np.nan])),
                 [0.0, 0.0, 3.0, 3.0, np.nan, np.nan]),
    "nothing": (lambda: tg._standard_gamma(tg.ones(0, 3)), np.zeros((0, 3))),
    "nothing, of vectors": (lambda: tg._sample_dirichlet(tg.ones(0, 3)), np.zeros((0, 3))),
}


@pytest.mark.parametrize("name", EDGES)
def test_parameters_at_the_edge_have_torchs_samples(name):
    f, expected = EDGES[name]
    with tg.no_grad():
        np.testing.assert_array_equal(f().numpy(), np.asarray(expected, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGES)
def test_parameters_at_the_edge_are_the_same_compiled(name):
    f, expected = EDGES[name]
    with tg.no_grad():
        np.testing.assert_array_equal(tg.compile(f)().numpy(), np.asarray(expected, np.float32))


def test_half_precision_samples_are_the_single_ones_rounded():
    a = tg.tensor([0.5, 2.0, 9.0])
    for draw in (tg._standard_gamma, tg.poisson):
        tg.manual_seed(4)
        x = draw(a)
        tg.manual_seed(4)
        assert tg.equal(draw(a.half()), x.half())


# ---- implicit derivatives: the quantile moves with the parameter
@pytest.mark.parametrize("a", [0.05, 0.7, 3.0, 9.9, 10.5, 80.0, 3e3])
def test_the_derivative_of_a_gamma_number_is_that_of_its_quantile(a):
    p = np.array([1e-4, 0.02, 0.3, 0.6, 0.9, 0.999])
    x, h = stats.gamma(a).ppf(p), 1e-4 * a
    rule = (8 * (stats.gamma(a + h).ppf(p) - stats.gamma(a - h).ppf(p))
            - stats.gamma(a + 2 * h).ppf(p) + stats.gamma(a - 2 * h).ppf(p)) / (12 * h)
    ours = tg._standard_gamma_grad(tg.tensor(a, dtype=F64), tg.tensor(x)).numpy()
    kept = x > 1e-250
    np.testing.assert_allclose(ours[kept], rule[kept], rtol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.4), (2.0, 0.7), (5.0, 40.0), (300.0, 200.0)])
def test_the_derivative_of_a_beta_number_is_that_of_its_quantile(a, b):
    p = np.array([1e-4, 0.02, 0.3, 0.6, 0.9, 0.999])
    x, h = stats.beta(a, b).ppf(p), 1e-4 * a
    rule = (8 * (stats.beta(a + h, b).ppf(p) - stats.beta(a - h, b).ppf(p))
            - stats.beta(a + 2 * h, b).ppf(p) + stats.beta(a - 2 * h, b).ppf(p)) / (12 * h)
    ours = tg._dirichlet_grad(*(tg.tensor(v, dtype=F64) for v in (x, a, a + b))).numpy()
    kept = x < 1 - 1e-5  # 1 - x has lost its digits
    np.testing.assert_allclose(ours[kept], (rule / (1 - x))[kept], rtol=1e-6)


def test_implicit_derivatives_are_near_torchs():
    torch = pytest.importorskip("torch")
    a = np.array([0.1, 0.9, 2.0, 7.0, 30.0])
    x = a * np.array([0.3, 1.2, 0.9, 1.5, 0.8])
    ours = tg._standard_gamma_grad(tg.tensor(a), tg.tensor(x)).numpy()
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)  # torch's are approximations
    x, total = x / x.sum(), a.sum()
    ours = tg._dirichlet_grad(tg.tensor(x), tg.tensor(a), tg.full((5,), total, dtype=F64)).numpy()
    theirs = torch._dirichlet_grad(
        torch.tensor(x), torch.tensor(a), torch.full((5,), total, dtype=torch.float64)
    ).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)


@pytest.mark.slow
def test_gradients_of_means_of_samples_are_those_of_means():
    a = tg.tensor([0.4, 2.0, 5.0], dtype=F64, requires_grad=True)
    tg.manual_seed(0)
    x = D.Dirichlet(a).rsample((20_000,))
    (g,) = tg.autograd.grad((x * x).mean(0).sum(), a)
    d = D.Dirichlet(a)
    (exact,) = tg.autograd.grad((d.variance + d.mean**2).sum(), a)
    tg.testing.assert_close(g, exact, rtol=0.05, atol=2e-3)


def test_the_incomplete_gamma_functions_have_a_derivative_in_their_first_operand():
    x = tg.tensor([0.2, 1.0, 30.0], dtype=F64)
    a = tg.tensor([0.5, 3.0, 25.0], dtype=F64, requires_grad=True)
    for f in (tg.special.gammainc, tg.special.gammaincc):
        (g,) = tg.autograd.grad(f(a, x).sum(), a)
        with tg.no_grad():
            rule = (f(a + 1e-5, x) - f(a - 1e-5, x)) / 2e-5
        tg.testing.assert_close(g, rule, rtol=1e-8, atol=1e-9)
    with pytest.raises(NotImplementedError, match="_standard_gamma_grad"):
        tg.autograd.functional.hessian(lambda a: tg.special.gammainc(a, x).sum(), a.detach())


# ---- compiled
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_samplers_draw_what_eager_ones_draw(threads):
    def draws(a):
        return (tg._standard_gamma(a), tg._sample_dirichlet(a), tg.poisson(a),
                tg.binomial(a.floor(), a * 0 + 0.3), D.VonMises(a * 0, a).sample(),
                tg.special.gammainc(a, a + 1), tg._standard_gamma_grad(a, a + 0.5))

    a = tg.linspace(0.05, 40, 3001)
    before = tg.get_num_threads()
    try:
        tg.set_num_threads(threads)
        compiled = tg.compile(draws)
        tg.manual_seed(7)
        ours = compiled(a)
    finally:
        tg.set_num_threads(before)
    tg.manual_seed(7)
    for x, y in zip(ours, draws(a), strict=True):
        tg.testing.assert_close(x, y, rtol=1e-5, atol=0)
