"""torch.distributions beside torch's own: values, gradients, shapes, texts."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
from distribution_cases import CASES, NARROW, build, value_of

import tracegrad
import tracegrad.distributions

torch = pytest.importorskip("torch")

# ours are right there: torch's mode of Kumaraswamy is always NaN, its Bessel functions have 6
# digits, and its entropy of Multinomial has a logarithm of a factorial in float32
APART = {("Kumaraswamy", "mode"): None, ("VonMises", "log_prob"): 1e-5,
         ("VonMises", "variance"): 1e-5, ("VonMises", "stddev"): 1e-5,
         ("Multinomial", "entropy"): 1e-6,
         ("Multinomial", "perplexity"): 1e-6}


def outcome(f):
    """What f gives, or the class of what it raises."""
    try:
        return f()
    except Exception as error:
        return type(error)


def bound_of(name, what):
    kind = name.partition(" ")[0]
    return APART.get((kind, what), 1e-5 if kind in NARROW else 1e-9)


def same(ours, theirs, bound=1e-9):
    if isinstance(theirs, type):
        assert ours is theirs or (isinstance(ours, type) and issubclass(ours, theirs)), ours
        return
    assert not isinstance(ours, type), ours
    assert tuple(ours.shape) == tuple(theirs.shape)
    torch.testing.assert_close(
        torch.from_numpy(ours.detach().numpy().copy()), theirs.detach(), rtol=bound, atol=bound,
        equal_nan=True,
    )


ATTRIBUTES = ("mean", "mode", "variance", "stddev", "batch_shape", "event_shape", "has_rsample",
              "has_enumerate_support")


@pytest.mark.parametrize("name", CASES)
def test_a_distribution_is_torchs(name):
    ours, theirs = build(tracegrad, name)[0], build(torch, name)[0]
    assert repr(ours) == repr(theirs).replace("torch.", "tracegrad.")
    assert repr(ours.support).partition("(")[0] == repr(theirs.support).partition("(")[0]
    for attribute in ATTRIBUTES:
        bound = bound_of(name, attribute)
        a, b = (outcome(lambda d=d, k=attribute: getattr(d, k)) for d in (ours, theirs))
        if isinstance(b, (torch.Tensor, type)):
            if bound is not None:
                same(a, b, bound)
        else:
            assert tuple(a) == tuple(b) if isinstance(b, tuple) else a == b, attribute
    x, y = value_of(tracegrad, name), value_of(torch, name)
    bound = bound_of(name, "log_prob")
    same(ours.log_prob(x), theirs.log_prob(y), bound)
    bound_of_density = bound
    for method in ("entropy", "perplexity", "enumerate_support"):
        bound = bound_of(name, method)
        same(outcome(getattr(ours, method)), outcome(getattr(theirs, method)), bound)
    a, b = outcome(lambda: ours.cdf(x)), outcome(lambda: theirs.cdf(y))
    same(a, b, bound_of(name, "cdf"))
    if not isinstance(b, type):
        inverses = (outcome(lambda d=d, p=p: d.icdf(p)) for d, p in ((ours, a), (theirs, b)))
        same(*inverses, bound_of(name, "icdf"))
    shape = (4, *theirs.batch_shape)
    wide, wide_theirs = ours.expand(shape), theirs.expand(shape)
    assert tuple(wide.batch_shape) == shape and wide.event_shape == ours.event_shape
    same(wide.log_prob(x), wide_theirs.log_prob(y), bound_of_density)
    assert repr(wide) == repr(wide_theirs).replace("torch.", "tracegrad.")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_torchs(name):
    for method in ("log_prob", "entropy"):
        bound, grads = bound_of(name, method), []
        for T in (tracegrad, torch):
            d, params = build(T, name, grad=True)
            args = (value_of(T, name),) if method == "log_prob" else ()
            y = outcome(lambda d=d, args=args, method=method: getattr(d, method)(*args))
            if isinstance(y, type) or not y.requires_grad:
                break
            grads.append(T.autograd.grad(y.sum(), params, allow_unused=True))
        else:
            for a, b in zip(*grads, strict=True):
                assert (a is None) == (b is None)
                if b is not None:
                    same(a, b, bound)


@pytest.mark.parametrize("name", CASES)
def test_samples_have_torchs_shape_and_support(name):
    ours, theirs = build(tracegrad, name)[0], build(torch, name)[0]
    tracegrad.manual_seed(3)
    for shape in ((), (2, 3), (0,)):
        if shape == (0,) and name.split()[0] in (
            "Categorical", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Multinomial"
        ):
            continue  # multinomial wants at least one
        x, y = ours.sample(shape), theirs.sample(shape)
        assert tuple(x.shape) == tuple(y.shape)
        assert str(x.dtype).partition(".")[2] == str(y.dtype).partition(".")[2]
        assert not x.requires_grad
        assert bool(ours.support.check(x).all())
    if theirs.has_rsample:
        d, params = build(tracegrad, name, grad=True)
        assert not params or d.rsample((5,)).requires_grad


@pytest.mark.slow
def test_examples_run_and_every_name_of_torch_is_here():
    ours = tracegrad.distributions
    for module in pkgutil.iter_modules(ours.__path__):
        loaded = importlib.import_module(f"{ours.__name__}.{module.name}")
        for test in doctest.DocTestFinder().find(loaded, globs={"torch": tracegrad}):
            assert doctest.DocTestRunner().run(test).failed == 0
    for name in torch.distributions.__all__:
        assert getattr(ours, name).__doc__
    for module in pkgutil.iter_modules(torch.distributions.__path__):
        theirs = importlib.import_module(f"torch.distributions.{module.name}")
        here = importlib.import_module(f"{ours.__name__}.{module.name}")
        assert {*theirs.__all__} <= {*dir(here)}
