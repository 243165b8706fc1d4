"""What distributions, transforms and constraints refuse, in torch's classes and words."""

from __future__ import annotations

import re

import pytest

import tracegrad
import tracegrad.distributions

torch = pytest.importorskip("torch")

CASES = """
D.Normal(0, -1)
D.Normal(T.tensor([0.0, float("nan")]), 1)
D.Normal("a", 1)
D.Normal(T.zeros(3), T.ones(2))
D.Normal(0, 1).log_prob(3)
D.Normal(0, 1).log_prob(T.tensor(float("nan")))
D.Normal(T.zeros(3), 1).log_prob(T.zeros(2))
D.Normal(0, 1).expand(3)
D.Normal(0, 1).sample(2)
D.Normal(0, 1).enumerate_support()
D.Normal(T.zeros(2), 1).expand((3,))
D.MultivariateNormal(T.zeros(3), T.eye(3)).log_prob(T.zeros(2))
D.MultivariateNormal(T.zeros(3), T.eye(3)).log_prob(T.tensor(0.0))
D.MultivariateNormal(T.zeros(3))
D.MultivariateNormal(T.tensor(1.0), T.eye(3))
D.MultivariateNormal(T.zeros(3), T.zeros(3))
D.MultivariateNormal(T.zeros(3), precision_matrix=T.zeros(3))
D.MultivariateNormal(T.zeros(3), scale_tril=T.zeros(3))
D.MultivariateNormal(T.zeros(3), -T.eye(3))
D.MultivariateNormal(T.zeros(3), T.ones(3, 3).triu())
D.LowRankMultivariateNormal(T.tensor(1.0), T.eye(3), T.ones(3))
D.LowRankMultivariateNormal(T.zeros(3), T.ones(3), T.ones(3))
D.LowRankMultivariateNormal(T.zeros(3), T.ones(2, 1), T.ones(3))
D.LowRankMultivariateNormal(T.zeros(3), T.ones(3, 1), T.ones(2))
D.LowRankMultivariateNormal(T.zeros(4, 3), T.ones(5, 3, 1), T.ones(3))
D.Bernoulli()
D.Bernoulli(0.3, 0.4)
D.Bernoulli(1.3)
D.Bernoulli(0.3).log_prob(T.tensor(0.5))
D.Binomial(3)
D.Binomial(T.tensor(-3), T.tensor(0.5))
D.Binomial(T.tensor([3.0, 2.0]), T.tensor(0.5)).enumerate_support()
D.Binomial(3, T.tensor(0.5)).log_prob(T.tensor(4.0))
D.Categorical()
D.Categorical(T.tensor(1.0))
D.Categorical(logits=T.tensor(1.0))
D.Categorical(T.tensor([-1.0, 2]))
D.Categorical(T.tensor([1.0, 2])).log_prob(T.tensor(2))
D.Categorical(T.tensor([1.0, 2])).rsample()
D.Categorical(T.tensor([1.0, 2])).cdf(T.tensor(1))
D.Dirichlet(T.tensor(1.0))
D.Dirichlet(T.tensor([1.0, -1]))
D.Dirichlet(T.tensor([1.0, 1])).log_prob(T.tensor([0.5, 0.6]))
D.Uniform(1, 0)
D.Uniform(1, 1)
D.Uniform(0, 1).log_prob(T.tensor(2.0))
D.Geometric(0.0)
D.Geometric()
D.Poisson(-1.0)
D.Poisson(1.0).rsample()
D.Poisson(1.0).entropy()
D.NegativeBinomial(3)
D.NegativeBinomial(-3.0, T.tensor(0.5))
D.Multinomial(T.tensor(3), T.ones(3))
D.Multinomial(3, T.ones(3)).log_prob(T.tensor([1.0, 1.0, 2.0]))
D.OneHotCategorical(T.ones(3)).log_prob(T.tensor([1.0, 1.0, 0.0]))
D.RelaxedBernoulli(T.tensor(1.0))
D.Independent(D.Normal(T.zeros(2), 1), 2)
D.Independent(D.Bernoulli(T.ones(2) / 2), 1).enumerate_support()
D.MixtureSameFamily(D.Categorical(T.ones(3)), D.Normal(T.zeros(2), 1))
D.MixtureSameFamily(D.Normal(0, 1), D.Normal(T.zeros(2), 1))
D.MixtureSameFamily(D.Categorical(T.ones(3)), 3)
D.MixtureSameFamily(D.Categorical(T.ones(4, 3)), D.Normal(T.zeros(2, 3), 1))
D.MixtureSameFamily(D.Categorical(T.ones(3)), D.Uniform(T.zeros(3), 1)).log_prob(T.tensor(2.0))
D.LKJCholesky(1, 1.0)
D.LKJCholesky(3, -1.0)
D.LKJCholesky(3, 1.0).log_prob(2 * T.eye(3))
D.StudentT(0.0)
D.Weibull(1.0, 1.0).log_prob(T.tensor(0.0))
D.Wishart(T.tensor(2.0), T.eye(3))
D.Wishart(T.tensor(4.0))
D.Wishart(T.tensor(4.0), T.ones(3))
D.TransformedDistribution(D.Normal(0, 1), 3)
D.TransformedDistribution(D.Normal(0, 1), [3])
D.TransformedDistribution(D.Normal(0, 1), [D.StickBreakingTransform()])
D.HalfNormal(-1.0)
D.HalfNormal(1.0).log_prob(T.tensor(-1.0))
D.InverseGamma(1.0, -2.0)
D.Chi2(-1.0)
D.ContinuousBernoulli()
D.kl_divergence(D.Normal(0, 1), D.Bernoulli(0.5))
D.kl_divergence(D.Normal(0, 1), D.Cauchy(0, 1))
D.kl_divergence(D.Binomial(3, T.tensor(0.5)), D.Binomial(4, T.tensor(0.5)))
D.kl_divergence(D.LogNormal(0.0, 1.0), D.TransformedDistribution(D.Normal(0.0, 1.0), []))
D.kl_divergence(*(D.MultivariateNormal(T.zeros(n), T.eye(n)) for n in (3, 2)))
D.Distribution().mode
D.Distribution.set_default_validate_args(3)
D.biject_to(3)
D.biject_to(D.constraints.boolean)
D.transform_to(D.constraints.dependent)
D.biject_to.register(3, 4)
D.constraints.dependent.check(1)
D.constraints.dependent.event_dim
D.constraints.independent(D.constraints.real, 1).check(T.tensor(1.0))
D.constraints.MixtureSameFamilyConstraint(3)
D.ExpTransform(3)
D.ReshapeTransform((2, 3), (5,))
D.ReshapeTransform((2, 3), (6,)).inverse_shape((3,))
D.ReshapeTransform((2, 3), (6,)).forward_shape((3,))
D.ReshapeTransform((2, 3), (6,)).forward_shape((3, 4))
D.IndependentTransform(D.ExpTransform(), 1)(T.tensor(1.0))
D.CatTransform([D.ExpTransform(), 3])
D.StackTransform([D.ExpTransform()])(T.zeros(3))
D.CatTransform([D.ExpTransform()], 0, [2])(T.zeros(3))
D.AbsTransform().log_abs_det_jacobian(1, 1)
D.SoftmaxTransform().sign
D.StickBreakingTransform().forward_shape(())
D.CorrCholeskyTransform().forward_shape((4,))
D.CorrCholeskyTransform().inverse_shape((3, 4))
D.Transform()(1)
D.utils.tril_matrix_to_vec(T.arange(9).view(3, 3), 4)
D.utils.vec_to_tril_matrix(T.ones(5))
D.utils.broadcast_all(1, "a")
T._standard_gamma(T.tensor([1]))
T._sample_dirichlet(T.tensor([1]))
T.poisson(T.tensor([1]))
T.poisson(T.tensor([-1.0]))
T.binomial(T.tensor([1]), T.tensor([0.2]))
T.binomial(T.tensor([1.0]), T.tensor([0.2], dtype=T.double))
""".strip().splitlines()


def raised(T, text):
    with pytest.raises(Exception) as info:  # noqa: PT011 -- its class and words are compared
        eval(text, {"T": T, "D": T.distributions})
    words = str(info.value).replace("tracegrad", "torch").replace("torch.Size", "")
    return type(info.value), re.sub(r"\s+", " ", words)


@pytest.mark.filterwarnings("ignore:.*does not define")
@pytest.mark.parametrize("text", CASES)
def test_an_error_is_torchs(text):
    (ours, our_words), (theirs, their_words) = raised(tracegrad, text), raised(torch, text)
    assert issubclass(ours, theirs)
    assert their_words in our_words or our_words.endswith(their_words)


def test_a_subclass_with_its_own_init_must_expand_itself():
    class Mine(tracegrad.distributions.Normal):
        def __init__(self):
            super().__init__(0.0, 1.0)

    with pytest.raises(NotImplementedError, match="Subclass Mine of Normal that defines a custom"):
        Mine().expand((2,))


def test_checks_are_left_out_where_it_is_asked_for():
    D = tracegrad.distributions
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1.0
    try:
        D.Distribution.set_default_validate_args(False)
        assert D.Normal(0.0, -1.0).scale.item() == -1.0
    finally:
        D.Distribution.set_default_validate_args(__debug__)
    with pytest.raises(ValueError, match="parameter scale"):
        D.Normal(0.0, -1.0)
