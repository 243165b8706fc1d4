"""Transforms and constraints beside torch's."""

from __future__ import annotations

import pickle

import pytest
from test_distributions import same

import tracegrad
import tracegrad.distributions

torch = pytest.importorskip("torch")

X = [[0.3, -1.0, 2.0], [0.1, 0.2, 0.5]]
P = [[0.3, 1.0, 2.0], [0.1, 0.2, 0.5]]
CUBE = [[[0.3, -1.0, 2.0], [0.1, 0.2, 0.5], [1.0, 2.0, -0.7]]] * 2


def _affine(D, T):
    return D.AffineTransform(T.tensor([1.0, 2.0, 3.0], dtype=T.float64), -2.0)


TRANSFORMS = {
    "Abs": (lambda D, T: D.AbsTransform(), X),
    "Affine": (_affine, X),
    "Affine of events": (lambda D, T: D.AffineTransform(1.0, -2.0, event_dim=1), X),
    "Cat": (lambda D, T: D.CatTransform([D.ExpTransform(), D.TanhTransform()], -1, [1, 2]), X),
    "Compose": (lambda D, T: D.ComposeTransform(
        [_affine(D, T), D.StickBreakingTransform(), D.ExpTransform()]), X),
    "CorrCholesky": (lambda D, T: D.CorrCholeskyTransform(), X),
    "CumulativeDistribution": (lambda D, T: D.CumulativeDistributionTransform(
        D.Normal(T.tensor(0.2, dtype=T.float64), T.tensor(2.0, dtype=T.float64))), X),
    "Exp": (lambda D, T: D.ExpTransform(), X),
    "Exp, inverse": (lambda D, T: D.ExpTransform().inv, P),
    "Independent": (lambda D, T: D.IndependentTransform(D.ExpTransform(), 1), X),
    "LowerCholesky": (lambda D, T: D.LowerCholeskyTransform(), CUBE),
    "PositiveDefinite": (lambda D, T: D.PositiveDefiniteTransform(), CUBE),
    "Power": (lambda D, T: D.PowerTransform(T.tensor(2.5, dtype=T.float64)), P),
    "Reshape": (lambda D, T: D.ReshapeTransform((3,), (3, 1)), X),
    "Sigmoid": (lambda D, T: D.SigmoidTransform(), X),
    "Softmax": (lambda D, T: D.SoftmaxTransform(), X),
    "Softplus": (lambda D, T: D.SoftplusTransform(), X),
    "Stack": (lambda D, T: D.StackTransform(
        [D.ExpTransform(), D.identity_transform, D.TanhTransform()], -1), X),
    "StickBreaking": (lambda D, T: D.StickBreakingTransform(), X),
    "Tanh": (lambda D, T: D.TanhTransform(), X),
    "identity": (lambda D, T: D.identity_transform, X),
}


def outcome(f):
    try:
        return f()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_torchs(name):
    make, values = TRANSFORMS[name]
    rows = []
    for T in (tracegrad, torch):
        t = make(T.distributions, T)
        x = T.tensor(values, dtype=T.float64, requires_grad=True)
        y = t(x)
        back = t.inv(y)
        jacobian = outcome(lambda t=t, x=x, y=y: t.log_abs_det_jacobian(x, y))
        grads = T.autograd.grad((y * y).sum(), x, retain_graph=True)
        if not isinstance(jacobian, type) and jacobian.requires_grad:
            grads += T.autograd.grad(jacobian.sum(), x)
        texts = (repr(t), repr(t.inv), repr(t.domain), repr(t.codomain), t.bijective,
                 t.domain.event_dim, t.codomain.event_dim, tuple(t.forward_shape(x.shape)),
                 tuple(t.inverse_shape(y.shape)), t.inv.inv is t)
        rows.append(((y, back, jacobian, *grads), texts))
    (ours, our_texts), (theirs, their_texts) = rows
    assert our_texts == their_texts
    for a, b in zip(ours, theirs, strict=True):
        same(a, b)


def test_a_scale_of_events_counts_for_each_number():
    """torch counts a scale without dimensions once."""
    t = tracegrad.distributions.AffineTransform(0.0, tracegrad.tensor(2.0), event_dim=1)
    x = tracegrad.ones(3)
    of_number = tracegrad.distributions.AffineTransform(0.0, 2.0, event_dim=1)
    assert t.log_abs_det_jacobian(x, x).item() == of_number.log_abs_det_jacobian(x, x).item()


def test_a_cache_gives_back_the_same_tensor():
    t = tracegrad.distributions.TanhTransform(cache_size=1)
    x = tracegrad.tensor([20.0])  # whose tanh is 1
    assert t.inv(t(x)) is x and t(x) is t(x)
    composed = tracegrad.distributions.ComposeTransform([t, t.inv], cache_size=1)
    assert composed(x) is x


def test_transforms_and_distributions_are_pickled():
    D = tracegrad.distributions
    t = D.ComposeTransform([D.ExpTransform(), D.AffineTransform(1.0, 2.0)])
    assert t.inv is not None and pickle.loads(pickle.dumps(t)) == t
    d = pickle.loads(pickle.dumps(D.LogNormal(0.0, tracegrad.tensor([1.0, 2.0]))))
    assert d.scale.tolist() == [1.0, 2.0]


CONSTRAINTS = """
real real_vector positive nonnegative unit_interval simplex greater_than(1.5) greater_than_eq(1.5)
less_than(0.5) interval(-1.0,2.0) half_open_interval(0.0,3.0) corr_cholesky lower_cholesky
positive_definite positive_semidefinite independent(positive,1) cat([positive,real],-1,[1,2])
stack([positive,real,unit_interval],-1) boolean one_hot dependent nonnegative_integer
integer_interval(0,3) lower_triangular square symmetric multinomial(3)
""".split()


@pytest.mark.parametrize("text", CONSTRAINTS)
def test_a_constraint_is_torchs_and_has_torchs_transforms(text):
    rows = []
    for T in (tracegrad, torch):
        D = T.distributions
        c = eval(text, vars(D.constraints))
        row = [repr(c), outcome(lambda c=c: c.is_discrete), outcome(lambda c=c: c.event_dim)]
        values = [T.tensor(v, dtype=T.float64) for v in (CUBE, [[[1.0, 0, 0]] * 3] * 2, [X, P])]
        checks = [outcome(lambda c=c, v=v: c.check(v)) for v in values]
        for registry in (D.biject_to, D.transform_to):
            t = outcome(lambda r=registry, c=c: r(c))
            row.append(repr(t))
            if not isinstance(t, type):
                x = T.tensor(CUBE, dtype=T.float64)
                y = outcome(lambda t=t, x=x: t(x))
                checks += [y] if isinstance(y, type) else [y, c.check(y)]
        rows.append((row, checks))
    (ours, our_checks), (theirs, their_checks) = rows
    assert ours == theirs
    for a, b in zip(our_checks, their_checks, strict=True):
        same(a, b)
