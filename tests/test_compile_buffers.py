"""What a compiled call hands out is never overwritten by a later one, however it is held."""

import subprocess
import sys
from sysconfig import get_config_var

import pytest

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


WRONG = {  # ways in which a Python may count references, given how this one does
    "one too few": "lambda real: lambda x: real(x) - 2",  # the wrapper holds one more
    "one too many": "lambda real: lambda x: real(x)",
    "all that are asked for": "lambda real: lambda x: 3",
    "as is expected of a tensor": "lambda real: lambda x: 4",
    "one for everything": "lambda real: lambda x: 1",
    "too many to be true": "lambda real: lambda x: 0xFFFFFFFF",
}
LOOP = """
import sys
sys.getrefcount = ({})(sys.getrefcount)
import tracegrad as T
w = T.tensor([1.0, 2.0, 3.0]).requires_grad_()
@T.compile
def f(x):
    w.grad = None
    y = w * x
    y.sum().backward()
    return y.detach()
held = []
for i in range(20):
    y = f(T.full((3,), float(i)))
    held.append((i, w.grad, y.numpy()))
for i, g, y in held:
    assert (g == float(i)).all() and y[-1] == 3.0 * i, (i, g, y)
assert len({{id(y) for _, _, y in held}}) == len({{id(g) for _, g, _ in held}}) == 20
"""


@pytest.mark.skipif(bool(get_config_var("Py_GIL_DISABLED")), reason="nothing is recycled there")
def test_this_python_counts_references_as_recycling_expects():
    assert buffers.counts_hold()


@pytest.mark.parametrize("how", WRONG)
def test_nothing_is_recycled_where_references_are_counted_otherwise(how, monkeypatch):
    monkeypatch.setattr(buffers, "getrefcount", eval(WRONG[how])(sys.getrefcount))
    assert not buffers.counts_hold()


@pytest.mark.parametrize("how", ["one too few", "all that are asked for"])
def test_programs_are_right_where_references_are_counted_otherwise(how):
    code = LOOP.format(WRONG[how])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
