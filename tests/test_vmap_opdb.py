"""vmap of every operator in torch's database equals a loop over the examples."""

from __future__ import annotations

import pytest

import tracegrad as tg
from tracegrad.tracer.pytree import flatten, unflatten

# Their answers, or the shapes of them, depend on values that differ between the examples; resize_
# wants memory of its own.
DATA_DEPENDENT = {
    "allclose", "argwhere", "bincount", "equal", "histogram", "histogramdd", "item",
    "linspace/tensor_overload", "logspace/tensor_overload", "masked_select",
    "nn.functional.one_hot", "nonzero", "resize_", "tensor_split", "unique", "unique_consecutive",
}


def examples(op, sample, f):
    """The operator as a function of tensors alone, and the tensors for two examples."""
    leaves, structure = flatten(sample.made(tg))
    places = [k for k, x in enumerate(leaves) if isinstance(x, tg.Tensor)]

    def call(*tensors):
        full = list(leaves)
        for k, t in zip(places, tensors, strict=True):
            full[k] = t
        args, kwargs = unflatten(full, structure)
        return tuple(t for t in flatten(f(*args, **kwargs))[0] if isinstance(t, tg.Tensor))

    first = [leaves[k].detach() for k in places]
    second = [x * 0.9 if x.dtype.is_floating_point else x for x in first]
    return call, first, second


def difference(op):
    """What is wrong with the operator under vmap, in words; '' if nothing is, None where there is
    nothing to compare.
    """
    from tests.opdb import entries

    f = entries.ours(op)
    try:
        (sample,) = entries.samples(op, 1, entries.differentiable(op))
        call, *two = examples(op, sample, f)
        each = [call(*(x.clone() for x in xs)) for xs in two]
        assert f is not None and two[0]
    except Exception:
        return None  # absent, or failing without vmap, which test_opdb.py knows of
    try:
        found = tg.vmap(call)(*(tg.stack(pair) for pair in zip(*two, strict=True)))
        for y, *expected in zip(found, *each, strict=True):
            tg.testing.assert_close(y, tg.stack(expected), rtol=1e-6, atol=1e-7, equal_nan=True)
    except Exception as error:
        return "" if "randomness" in str(error) else f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.slow
def test_every_operator_is_mapped():
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    from tests.opdb.entries import entries, identity

    found = {identity(op): difference(op) for op in entries()}
    wrong = {name: words for name, words in found.items() if words}
    assert set(wrong) <= DATA_DEPENDENT, {k: wrong[k] for k in wrong.keys() - DATA_DEPENDENT}
    assert sum(words == "" for words in found.values()) > 450
