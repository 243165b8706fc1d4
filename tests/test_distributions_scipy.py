"""Densities, distribution functions and moments beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
import tracegrad.distributions as D

stats = pytest.importorskip("scipy.stats")

# ours, SciPy's, values
CASES = {
    "Beta": (lambda f: D.Beta(f(0.7), f(3.0)), stats.beta(0.7, 3.0), [0.1, 0.5, 0.95]),
    "Binomial": (lambda f: D.Binomial(7, f(0.3)), stats.binom(7, 0.3), [0.0, 3.0, 7.0]),
    "Cauchy": (lambda f: D.Cauchy(f(1.0), f(2.0)), stats.cauchy(1.0, 2.0), [-3.0, 0.0, 9.0]),
    "Chi2": (lambda f: D.Chi2(f(2.5)), stats.chi2(2.5), [0.1, 2.0, 9.0]),
    "Exponential": (lambda f: D.Exponential(f(2.0)), stats.expon(scale=0.5), [0.1, 1.0, 4.0]),
    "F": (lambda f: D.FisherSnedecor(f(3.0), f(9.0)), stats.f(3.0, 9.0), [0.1, 1.0, 4.0]),
    "Gamma": (lambda f: D.Gamma(f(0.4), f(3.0)), stats.gamma(0.4, scale=1 / 3), [0.01, 0.2, 2.0]),
    "GeneralizedPareto": (lambda f: D.GeneralizedPareto(f(1.0), f(2.0), f(0.3)),
                          stats.genpareto(0.3, 1.0, 2.0), [1.1, 3.0, 20.0]),
    "Geometric": (lambda f: D.Geometric(f(0.3)), stats.geom(0.3, loc=-1), [0.0, 2.0, 8.0]),
    "Gumbel": (lambda f: D.Gumbel(f(1.0), f(2.0)), stats.gumbel_r(1.0, 2.0), [-3.0, 1.0, 9.0]),
    "HalfCauchy": (lambda f: D.HalfCauchy(f(2.0)), stats.halfcauchy(0, 2.0), [0.1, 1.0, 9.0]),
    "HalfNormal": (lambda f: D.HalfNormal(f(2.0)), stats.halfnorm(0, 2.0), [0.1, 1.0, 5.0]),
    "InverseGamma": (lambda f: D.InverseGamma(f(4.0), f(2.0)), stats.invgamma(4.0, scale=2.0),
                     [0.2, 1.0, 5.0]),
    "Laplace": (lambda f: D.Laplace(f(1.0), f(2.0)), stats.laplace(1.0, 2.0), [-3.0, 1.5, 9.0]),
    "LogNormal": (lambda f: D.LogNormal(f(0.5), f(0.8)), stats.lognorm(0.8, scale=np.exp(0.5)),
                  [0.2, 1.0, 5.0]),
    "NegativeBinomial": (lambda f: D.NegativeBinomial(4, f(0.3)), stats.nbinom(4, 0.7),
                         [0.0, 2.0, 8.0]),
    "Normal": (lambda f: D.Normal(f(1.0), f(2.0)), stats.norm(1.0, 2.0), [-3.0, 1.5, 9.0]),
    "Pareto": (lambda f: D.Pareto(f(1.5), f(3.0)), stats.pareto(3.0, scale=1.5), [1.6, 2.0, 9.0]),
    "Poisson": (lambda f: D.Poisson(f(3.0)), stats.poisson(3.0), [0.0, 3.0, 12.0]),
    "StudentT": (lambda f: D.StudentT(f(5.0), f(1.0), f(2.0)), stats.t(5.0, 1.0, 2.0),
                 [-3.0, 1.5, 9.0]),
    "Uniform": (lambda f: D.Uniform(f(1.0), f(3.0)), stats.uniform(1.0, 2.0), [1.1, 2.0, 2.9]),
    "VonMises": (lambda f: D.VonMises(f(0.5), f(40.0)), stats.vonmises(40.0, 0.5),
                 [-1.0, 0.5, 2.0]),
    "Weibull": (lambda f: D.Weibull(f(2.0), f(1.5)), stats.weibull_min(1.5, scale=2.0),
                [0.1, 2.0, 5.0]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_distribution_is_scipys(name):
    make, law, values = CASES[name]
    d = make(lambda v: tg.tensor(v, dtype=tg.float64))
    x = np.array(values)
    ours = d.log_prob(tg.tensor(x)).numpy()
    theirs = law.logpmf(x) if hasattr(law.dist, "logpmf") else law.logpdf(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    if name not in ("Cauchy", "HalfCauchy", "VonMises"):  # of which there are none, or circular
        np.testing.assert_allclose(d.mean.item(), law.mean(), rtol=1e-9)
        np.testing.assert_allclose(d.variance.item(), law.var(), rtol=1e-9)
    try:
        below = d.cdf(tg.tensor(x)).numpy()
    except NotImplementedError:
        return
    np.testing.assert_allclose(below, law.cdf(x), rtol=1e-9, atol=1e-12)
    if name not in ("Gamma", "Chi2", "InverseGamma"):
        np.testing.assert_allclose(d.icdf(tg.tensor(below)).numpy(), x, rtol=1e-8, atol=1e-9)
