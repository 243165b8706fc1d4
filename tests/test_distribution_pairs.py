"""kl_divergence beside torch's, for all pairs that torch has, and the words of errors."""

from __future__ import annotations

import warnings

import pytest
from distribution_cases import CASES, build
from test_distributions import same

import tracegrad
import tracegrad.distributions

torch = pytest.importorskip("torch")
PAIRS = sorted(
    (p.__name__, q.__name__) for p, q in torch.distributions.kl._KL_REGISTRY
)


def test_all_pairs_of_torch_are_here():
    ours = {(p.__name__, q.__name__) for p, q in tracegrad.distributions.kl._KL_REGISTRY}
    assert set(PAIRS) <= ours


# torch's is infinite where a bound of both is the same
EDGES = {("ContinuousBernoulli", "Uniform"): 0, ("Uniform", "ContinuousBernoulli"): 1}


def cases_of(kind):
    return [name for name in CASES if name.partition(" ")[0] == kind]


@pytest.mark.parametrize(("p", "q"), [
    pytest.param(*pair, marks=[pytest.mark.slow] if k % 5 else [])
    for k, pair in enumerate(PAIRS) if pair[0] in CASES
])
def test_a_divergence_is_torchs(p, q):
    for a in cases_of(p):
        for b in cases_of(q):
            values, grads = [], []
            for T in (tracegrad, torch):
                (one, params), (two, others) = build(T, a, True), build(T, b, True)
                if p == q:  # of other parameters: turned round, or another scale
                    two = _turned(T, two)
                try:
                    value = T.distributions.kl_divergence(one, two)
                except (NotImplementedError, ValueError) as error:
                    value = type(error)
                values.append(value)
                if not isinstance(value, type) and value.requires_grad:
                    finite = T.where(value.isfinite(), value, T.zeros_like(value))
                    grads.append(T.autograd.grad(finite.sum(), params + others,
                                                 allow_unused=True))
            if (p, q) in EDGES:
                edge = EDGES[p, q]
                assert values[0][edge].isfinite() and values[1][edge].isinf()
                values = [torch.from_numpy(v.detach().numpy().copy()) for v in values]
                values[0][edge] = torch.inf
                grads = []
            same(*values)
            if len(grads) == 2 and p != "Wishart":
                for x, y in zip(*grads, strict=True):
                    if y is not None and y.isfinite().all():
                        same(x, y, 1e-8)


def _turned(T, d):
    """A distribution with the batch in the other order, if its parameters allow it."""
    kind = type(d).__name__
    if kind in ("Binomial", "Pareto", "MultivariateNormal", "LowRankMultivariateNormal", "Wishart"):
        return d
    if "probs" in d.arg_constraints:
        return type(d)(probs=d.probs.flip((0,)))
    return type(d)(**{k: getattr(d, k).flip((0,)) for k in d.arg_constraints})


def test_a_divergence_of_an_exponential_family_has_a_gradient_in_both():
    """torch's cuts p off."""
    D = tracegrad.distributions
    scale = tracegrad.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=tracegrad.float64)
    df = tracegrad.tensor([3.0, 4.5], dtype=tracegrad.float64, requires_grad=True)
    p, q = D.Wishart(df, scale), D.Wishart(df.detach() + 1, scale)
    (g,) = tracegrad.autograd.grad(D.kl_divergence(p, q).sum(), df)
    h = 1e-6
    far, near = (
        D.kl_divergence(D.Wishart(df.detach() + s, scale), q).detach() for s in (h, -h)
    )
    tracegrad.testing.assert_close(g, (far - near) / (2 * h), rtol=1e-6, atol=1e-8)


def test_independent_and_transformed_distributions_have_divergences():
    results = []
    for T in (tracegrad, torch):
        D = T.distributions
        x = T.tensor([[0.3, -1.0, 2.0], [0.1, 0.2, 0.5]], dtype=T.float64)
        p, q = D.Normal(x, 1.0), D.Normal(x * 0.5, 2.0)
        results.append([
            D.kl_divergence(D.Independent(p, 1), D.Independent(q, 1)),
            D.kl_divergence(D.LogNormal(x, 1.0), D.LogNormal(x * 0.5, 2.0)),
            D.kl_divergence(D.LogisticNormal(x, x.exp()), D.LogisticNormal(x * 0.5, x.exp())),
        ])
    for a, b in zip(*results, strict=True):
        same(a, b)


def test_ambiguous_pairs_are_warned_of_and_the_most_special_is_taken():
    D = tracegrad.distributions

    class A(D.Normal):
        pass

    class B(D.Normal):
        pass

    registry, made = dict(D.kl._KL_REGISTRY), []
    try:
        D.register_kl(A, D.Normal)(lambda p, q: made.append("left"))
        D.register_kl(D.Normal, B)(lambda p, q: made.append("right"))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            D.kl_divergence(A(0.0, 1.0), B(0.0, 1.0))
        assert "Ambiguous kl_divergence(A, B). Please register_kl(A, B)" in str(seen[0].message)
        D.kl_divergence(A(0.0, 1.0), A(0.0, 1.0))
        assert made == ["left", "left"]
    finally:
        D.kl._KL_REGISTRY.clear()
        D.kl._KL_REGISTRY.update(registry)
        D.kl._KL_MEMOIZE.clear()
