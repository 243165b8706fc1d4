"""What a compiled call hands out is never overwritten by a later one, however it is held; nor is
what a loop still reads by the loop.
"""

from sysconfig import get_config_var

import numpy as np
import pytest
from processes import run
from reference_counts import WRONG, nothing_is_recycled

import tracegrad as T
from tracegrad.driver import buffers

HOLDS = {
    "the tensor": lambda t: t,
    "a view": lambda t: t[1:],
    "its NumPy array": lambda t: t.numpy(),
    "a view of its NumPy array": lambda t: t.numpy()[1:],
    "a detached alias": lambda t: t.detach(),
}


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_gradients_and_answers_stay_as_they_were(hold):
    w = T.tensor([1.0, 2.0, 3.0]).requires_grad_()

    @T.compile
    def f(x):
        w.grad = None
        y = w * x
        y.sum().backward()
        return y.detach()

    held = []
    for i in range(40):  # more than are kept for recycling
        y = f(T.full((3,), float(i)))
        if i % 3:
            held.append((i, hold(w.grad), hold(y)))
    for i, g, y in held:
        assert (g == float(i)).all()
        assert (y[-1] == 3.0 * i).all()


@pytest.mark.skipif(bool(get_config_var("Py_GIL_DISABLED")), reason="nothing is recycled there")
def test_this_python_counts_references_as_recycling_expects():
    assert buffers.counts_hold()


@pytest.mark.parametrize("how", WRONG)
def test_nothing_is_recycled_where_references_are_counted_otherwise(how, monkeypatch):
    monkeypatch.setattr(buffers, "getrefcount", WRONG[how])
    assert not buffers.counts_hold()


@pytest.mark.parametrize("how", ["one too few", "all that are asked for"])
def test_programs_are_right_where_references_are_counted_otherwise(how):
    run(nothing_is_recycled, how)


# each writes inputs in loops that read them
WRITES = {
    "a sum": lambda x, y, z: ((y.mul_(0.5).add_(x), z.copy_(y), y.copy_(x)), (x * x).sum())[1],
    "sums of rows": lambda x, y, z: ((x * y).sum(1), x.copy_(y * 2), y.mul_(0.5).add_(x))[0],
    "sums of columns": lambda x, y, z: (y.sum(0), y.mul_(0.5).add_(x), x.copy_(z))[0],
    "a difference": lambda x, y, z: (x - z, x.amax(1), z.copy_(x - z))[:2],
    "copies": lambda x, y, z: (x.copy_(y), z.copy_(x), T.softmax(z, 0))[2],
    "copies of copies": lambda x, y, z: (z.copy_(y), y.copy_(z), x.copy_(y), x.sum(0))[3],
    "picked terms": lambda x, y, z: (
        T.where(T.arange(x.shape[1]) == 1, x * z, 0.0).sum(1), (x * z).exp().sum(1),
        x.copy_(z * 2))[:2],
}


@pytest.mark.parametrize("columns_first", [False, True])
@pytest.mark.parametrize("shape", [(40, 33), (300, 4)])
@pytest.mark.parametrize("f", WRITES.values(), ids=WRITES)
def test_a_loop_reads_a_point_before_it_writes_there(f, shape, columns_first):
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(shape[::-1] if columns_first else shape) for _ in range(3)]
    results = []
    for fn in (f, T.compile(f)):
        tensors = [T.from_numpy(a.copy()) for a in arrays]
        tensors = [t.T for t in tensors] if columns_first else tensors
        values = fn(*tensors)
        results.append([*(values if isinstance(values, tuple) else [values]), *tensors])
    for eager, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=1e-9, atol=1e-12)
