"""The memory of a tensor seen as another dtype or resized, against PyTorch; and factors of low
rank.
"""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body

import tracegrad as tg

torch = pytest.importorskip("torch")

BITS = [
    lambda T: T.tensor([1., 2.]).view(T.int32),
    lambda T: T.arange(6).reshape(2, 3).view(dtype=T.int8),
    lambda T: T.arange(6, dtype=T.int32).reshape(3, 2).view(T.int64),
    lambda T: T.tensor(1).view(T.float64), lambda T: T.zeros(0, 4, dtype=T.int32).view(T.int64),
    lambda T: T.arange(6.).reshape(2, 3).t().view(T.int32),
    lambda T: T.ones(2).bfloat16().view(T.int16),
    lambda T: T.ones(2, requires_grad=True).view(T.int16),
    lambda T: T.arange(8, dtype=T.int32).reshape(4, 2)[::2].view(T.int64),
    lambda T: T.arange(3).view(float), lambda T: T.arange(6.).resize_(2, 2),
    lambda T: T.ones(2, 3).t().resize_(6), lambda T: T.arange(6.)[2:].resize_(2),
    lambda T: T.ones(2).resize_as_(T.ones(1, 2)),
    lambda T: T.arange(4.).reshape(2, 2).t().resize_(2),
]
REFUSED = [
    lambda T: T.arange(6, dtype=T.int32).reshape(2, 3).view(T.int64),
    lambda T: T.tensor(1).view(T.int32),
    lambda T: T.arange(6, dtype=T.int32).reshape(2, 3).t().view(T.int16),
    lambda T: T.arange(4).view("abc"), lambda T: T.arange(12, dtype=T.int32)[1:5].view(T.int64),
    lambda T: T.arange(3).view(),
    lambda T: T.arange(12, dtype=T.int32).reshape(4, 3)[:, :2].view(T.int64),
    lambda T: T.ones(2, requires_grad=True).resize_(1), lambda T: T.ones(2).resize_(-1),
]


ANEW = [
    lambda T, F, x, s: T.round(T.arange(3)), lambda T, F, x, s: T.arange(3).round(),
    lambda T, F, x, s: F.pixel_shuffle(x, 1), lambda T, F, x, s: F.pixel_unshuffle(x, 1),
    lambda T, F, x, s: F.channel_shuffle(x, 1), lambda T, F, x, s: F.channel_shuffle(x, 2),
    lambda T, F, x, s: F.interpolate(x, size=(3, 3)),
    lambda T, F, x, s: F.interpolate(x, scale_factor=1, mode="nearest-exact"),
    lambda T, F, x, s: F.interpolate(x, size=(3, 3), mode="bilinear"),
    lambda T, F, x, s: F.pad(x[0], (-1, -1), mode="replicate"),
    lambda T, F, x, s: F.pad(x[0], (-1, 0), mode="circular"), lambda T, F, x, s: F.pad(x, (0, 0)),
    lambda T, F, x, s: T.linalg.det(s.reshape(1, 1)), lambda T, F, x, s: T.repeat_interleave(s, 2),
    lambda T, F, x, s: T.repeat_interleave(x, 1, dim=1), lambda T, F, x, s: s.sum_to_size(()),
    lambda T, F, x, s: F.unfold(x, (3, 3)), lambda T, F, x, s: T.view_copy(x, (2, 18)),
    lambda T, F, x, s: T.view_copy(x.mT, (2, 18)), lambda T, F, x, s: x.clone(),
]


@pytest.mark.parametrize("program", ANEW, ids=body)
def test_what_torch_makes_anew_shares_no_memory(program):
    for T in (tg, torch):
        F = T.nn.functional
        x, s = T.arange(36.0).reshape(1, 4, 3, 3), T.tensor(2.0)
        y = program(T, F, x, s)
        y.fill_(99)
        assert x.max() == 35 and s == 2 and (y == 99).all()


@pytest.mark.parametrize("program", BITS, ids=body)
def test_the_same_bits_mean_the_same(program):
    mine, theirs = (program(T) for T in (tg, torch))
    assert mine.dtype.name == str(theirs.dtype)[6:]
    assert mine.stride() == theirs.stride() and mine.requires_grad == theirs.requires_grad
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("program", REFUSED, ids=body)
def test_what_does_not_fit_is_refused(program):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        program(torch)
    with pytest.raises(theirs.type):
        program(tg)


PLACES = [  # of an alias in the memory that it lies in
    "x[2:].detach()", "x[2:].data", "x[1:].detach()[2:].data[1:]", "x[2:].detach().unsqueeze_(0)",
    "x[6:]", "x[6:].detach()", "x.view(2, 3)[1:, 3:]", "x.view(2, 3).t()[2:, 1:1].detach()",
    "x[1:].expand(2, 5)[1:, 4:].detach()", "x.view(2, 3)[:, 1:].diagonal().detach()",
    "x.unfold(0, 2, 2)[2].data", "x.double()[3:].view(T.int32)", "x[3:].detach().view(T.int32)",
    "x.double()[3:].detach().view(T.int32)[1:]", "T.nn.Parameter(x[4:])", "x.chunk(3)[2].detach()",
    "without_grad(lambda: y[2:])", "without_grad(lambda: y[2:].view(2, 2)[:, 1:])",
    "without_grad(lambda: x[2:])[1:]", "x[2:].resize_(3)", "T.zeros(0, 4)[:, 3]",
    "given(x[1:])", "given(x[1:])[2:]", "x[2:].clone()",
]


@pytest.mark.parametrize("program", PLACES)
def test_an_alias_knows_where_it_lies_in_its_memory(program):
    def run(lib, compiled=False):
        def without_grad(function):
            with lib.no_grad():
                return function()

        def given(data):
            new = lib.zeros(3)
            new.data = data
            return new

        def place(x, y):
            names = {"T": lib, "x": x, "y": y, "without_grad": without_grad, "given": given}
            return eval(program, names).storage_offset()

        x = lib.arange(6.0)
        y = lib.arange(6.0, requires_grad=True) * 1
        return (tg.compile(place) if compiled else place)(x, y)

    assert run(tg) == run(torch)
    if not any(word in program for word in ("given", "Parameter", "resize_", "int32")):
        assert run(tg, compiled=True) == run(torch)


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_as_strided_of_an_alias_looks_at_the_whole_memory(place):
    def write(lib):
        x = lib.arange(12.0).reshape(3, 4)
        part = x.t()[2:].detach()
        seen = part.as_strided((2, 3), (3, 1), place)
        seen.mul_(-1)
        return [*x.flatten().tolist(), *part.flatten().tolist()], part._version

    (mine, version), (theirs, changes) = write(tg), write(torch)
    assert mine == theirs and version == [changes]


def test_a_compiled_as_strided_sees_no_other_elements_than_its_argument_has():
    seen = tg.compile(lambda x, start: x.as_strided((2,), (1,), start))
    x = tg.arange(6.0)
    assert seen(x, 1).tolist() == [1.0, 2.0]
    assert seen(x[2:], 3).tolist() == [3.0, 4.0]
    for part in (x[2:], x[2:].detach()):
        with pytest.raises(NotImplementedError, match=r"as_strided.*make this view"):
            seen(part, 0)
    with pytest.raises(NotImplementedError, match="requires grad"):
        x[2:].detach().requires_grad_().as_strided((2,), (1,), 0)


def test_another_dtype_shares_memory_and_versions():
    x = tg.ones(2, requires_grad=True)
    y = x.exp()
    y.detach().view(tg.int32).zero_()
    assert y.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_another_dtype_within_a_compiled_function():
    def program(T, x):
        y = x.double() * 1.5
        b, f = y.view(T.int64), x.view(T.int32)
        y.mul_(-1)
        b[0] = b[0].bitwise_and(2**63 - 1)
        c = f + 1
        d = (f[1:].view(T.float32) * 2).view(1, -1)
        e = x.to(T.int8).view(T.uint8)
        return y, b * 1, c, d, e, (x > 1).view(T.uint8), e.view(T.int8)[1:], x.view(T.float32)

    values = [1.0, -2.0, 3.5, -0.0, float("inf")]
    want = [y.tolist() for y in program(torch, torch.tensor(values))]
    compiled = tg.compile(lambda x: program(tg, x))
    for run in (lambda x: program(tg, x), compiled, compiled):
        assert [y.tolist() for y in run(tg.tensor(values))] == want

    @tg.compile
    def written(x):
        b = x.view(tg.int32)
        b[0] = 0
        return b, x

    x = tg.tensor(values)
    b, same = written(x)
    assert same is x and x[0].item() == 0
    b[1] = 0
    assert x[1].item() == 0
    for dtype in (tg.int64, tg.uint8, tg.int16):
        with pytest.raises(NotImplementedError, match=r"line test_memory_torch\.py"):
            tg.compile(lambda x: x.view(dtype))(tg.ones(4))  # noqa: B023
    with pytest.raises(NotImplementedError, match="outside of it"):
        tg.compile(lambda x: x.view(tg.int16))(tg.ones(4).half())


@pytest.mark.parametrize("shape", [(2, 7, 4), (4, 7)])
def test_factors_of_low_rank_make_the_matrix_and_have_its_gradient(shape):
    def values(f):
        x = tg.tensor(np.random.default_rng(0).normal(size=shape), requires_grad=True)
        u, s, v = f(x)
        (s * s * tg.arange(1.0, 5.0)).sum().backward()
        return (u * s[..., None, :] @ v.mT).detach().numpy(), x.detach().numpy(), x.grad.numpy()

    tg.manual_seed(0)
    want = values(lambda x: (lambda u, s, vh: (u, s, vh.mT))(*tg.linalg.svd(x, False)))
    for f in (lambda x: tg.svd_lowrank(x, 4), tg.compile(lambda x: tg.svd_lowrank(x, q=4))):
        made, x, gradient = values(f)
        np.testing.assert_allclose(made, x, atol=1e-9)
        np.testing.assert_allclose(gradient, want[2], atol=1e-7)
    u, s, v = tg.pca_lowrank(tg.tensor(x), 3)
    assert [t.shape[-1] for t in (u, s, v)] == [3, 3, 3]
    centred = torch.tensor(x - x.mean(-2, keepdims=True))
    np.testing.assert_allclose(s.numpy(), torch.linalg.svdvals(centred)[..., :3], rtol=0.05)
    with pytest.raises(ValueError, match="not greater than min"):
        tg.pca_lowrank(tg.tensor(x), 5)


def test_a_matrix_with_no_numbers_has_norm_zero():
    for order in (1, 2, float("inf")):
        assert tg.linalg.matrix_norm(tg.zeros(2, 3, 0), order).tolist() == [0, 0]
    assert tg.linalg.norm(tg.zeros(0, 3), 2).item() == 0


def test_what_has_no_derivative_says_so_in_backward():
    q, _ = tg.linalg.qr(tg.ones(3, 2, requires_grad=True) + tg.eye(3, 2), mode="complete")
    with pytest.raises(RuntimeError, match="not differentiable"):
        q.sum().backward()
