"""What a compiled call hands out is never overwritten by a later one, however it is held."""

from sysconfig import get_config_var

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
