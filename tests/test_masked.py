"""torch.masked against torch, where the mask leaves at least two elements everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from witness import agree, refusal, torch

import tracegrad as tg

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 6, 5))
MASK = RNG.random((6, 5)) < 0.6
MASK[:2], MASK[:, :2] = True, True

REDUCTIONS = ("sum", "prod", "amax", "amin", "argmax", "mean", "var", "std", "norm", "logsumexp")
SCANS = ("cumsum", "cumprod", "softmax", "log_softmax", "softmin")
CASES = {
    **{name: (lambda m, x, mask, name=name: getattr(m, name)(x, 1, mask=mask))
       for name in (*REDUCTIONS, *SCANS, "median")},
    **{f"{name}-all": (lambda m, x, mask, name=name: getattr(m, name)(x, mask=mask))
       for name in REDUCTIONS},
    **{f"{name}-unmasked": (lambda m, x, mask, name=name: getattr(m, name)(x, 2, keepdim=True))
       for name in (*REDUCTIONS, "median")},
    "prod-dims": lambda m, x, mask: m.prod(x, (0, 2), mask=mask),
    "var-correction": lambda m, x, mask: m.var(x, 1, unbiased=False, mask=mask[:, :1]),
    "norm--inf": lambda m, x, mask: m.norm(x, -np.inf, 1, mask=mask),
    "normalize": lambda m, x, mask: m.normalize(x, 3.0, 1, mask=mask),
    "logaddexp": lambda m, x, mask: m.logaddexp(x, x.flip(0), other_mask=mask | True),
}


@pytest.mark.parametrize("name", CASES)
def test_masked_functions_are_torchs(name):
    compiled = name in ("amax", "softmax", "var-correction", "median", "logsumexp-all")
    agree(lambda t, x, mask: CASES[name](t.masked, x, mask), X, MASK, compiled=compiled)


def test_a_mask_of_more_dimensions_is_refused():
    def function(t):
        return t.masked.sum(t.ones(2), mask=t.ones(2, 2) > 0)

    assert refusal(tg, function)[0] is refusal(torch, function)[0] is IndexError


OF_ONE_BOOL = {
    "elements": lambda x, m: x[m], "a sum": lambda x, m: x[m].sum(0),
    "a change": lambda x, m: x[..., m] * 2, "a mean": lambda x, m: x[None][:, m].mean(),
    "a length": lambda x, m: tg.tensor(x[m].shape[0]),
}


@pytest.mark.parametrize("shape", [(), (3,), (2, 0)], ids=str)
@pytest.mark.parametrize("f", OF_ONE_BOOL.values(), ids=OF_ONE_BOOL)
def test_a_mask_of_one_bool_in_a_compiled_function(f, shape):
    x, compiled = tg.full(shape, 2.0), tg.compile(f)
    for m in (tg.tensor(True), tg.tensor(False)):
        tg.testing.assert_close(compiled(x, m), f(x, m), equal_nan=True)
