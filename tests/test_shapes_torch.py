"""Movement, joining, indexing and conversion against PyTorch: values, gradients of two orders, and
the same compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bodies import body

import tracegrad as tg

torch = pytest.importorskip("torch")

# expressions of T (torch or tracegrad), x (2, 3, 4), m (3, 3), v (5,), i (int64 of x's first axis)
PROGRAMS = [
    lambda T, x, m, v, i: x.squeeze((0, 1))[None].squeeze((0, 1)),
    lambda T, x, m, v, i: T.unflatten(x, 2, (2, -1)), lambda T, x, m, v, i: T.flatten(x, 1),
    lambda T, x, m, v, i: T.movedim(x, (0, 1), (2, 0)), lambda T, x, m, v, i: x.swapaxes(0, 2),
    lambda T, x, m, v, i: x.mT, lambda T, x, m, v, i: T.permute(x, dims=(2, 0, 1)),
    lambda T, x, m, v, i: x.reshape(shape=(6, 4)),
    lambda T, x, m, v, i: x.expand(size=(5, 2, 3, 4)), lambda T, x, m, v, i: x.repeat(2, 1, 1),
    lambda T, x, m, v, i: T.tile(v, (2, 2)), lambda T, x, m, v, i: T.repeat_interleave(x, 2, 1),
    lambda T, x, m, v, i: v.repeat_interleave(T.arange(5)),
    lambda T, x, m, v, i: T.roll(x, (1, 2), (0, 2)), lambda T, x, m, v, i: T.roll(x, 3),
    lambda T, x, m, v, i: x.flip(0, 2), lambda T, x, m, v, i: T.fliplr(x),
    lambda T, x, m, v, i: T.flipud(x), lambda T, x, m, v, i: T.rot90(x, 1, (0, 2)),
    lambda T, x, m, v, i: T.rot90(x, -2), lambda T, x, m, v, i: v.unfold(0, 3, 1),
    lambda T, x, m, v, i: x.unfold(2, 2, 2),
    lambda T, x, m, v, i: x.unfold(1, 2, 1).unfold(2, 3, 1), lambda T, x, m, v, i: T.tril(x, -1),
    lambda T, x, m, v, i: T.triu(m, 1), lambda T, x, m, v, i: T.diag(v, 1),
    lambda T, x, m, v, i: T.diag(m, -1), lambda T, x, m, v, i: T.diagonal(x, 1, 1, 2),
    lambda T, x, m, v, i: T.diag_embed(x, 1, 0, 2), lambda T, x, m, v, i: T.diagflat(m),
    lambda T, x, m, v, i: T.diagonal_scatter(m, v[:3] * 2),
    lambda T, x, m, v, i: T.select_scatter(x, m[:, :1].expand(3, 4), 0, 1),
    lambda T, x, m, v, i: T.slice_scatter(x, x[:, :, :2] * 3, 2, 1, None, 2),
    lambda T, x, m, v, i: T.as_strided(x, (3, 2), (2, 3), 1),
    lambda T, x, m, v, i: x.narrow(1, -2, 2), lambda T, x, m, v, i: T.select(x, 1, -1),
    lambda T, x, m, v, i: x.split([1, 3], 2), lambda T, x, m, v, i: T.chunk(x, 3, 2),
    lambda T, x, m, v, i: T.tensor_split(x, (1, 3), 2), lambda T, x, m, v, i: T.hsplit(x, 3),
    lambda T, x, m, v, i: T.vsplit(x, 2), lambda T, x, m, v, i: T.dsplit(x, [1]),
    lambda T, x, m, v, i: x.unbind(1), lambda T, x, m, v, i: T.cat([x, x * 2], 1),
    lambda T, x, m, v, i: T.stack((v, v), -1), lambda T, x, m, v, i: T.hstack([v, v]),
    lambda T, x, m, v, i: T.vstack([v, v]), lambda T, x, m, v, i: T.dstack([m, m]),
    lambda T, x, m, v, i: T.column_stack([v, v]), lambda T, x, m, v, i: T.block_diag(m, v, m[:1]),
    lambda T, x, m, v, i: T.meshgrid(v, m[0], indexing="xy"),
    lambda T, x, m, v, i: T.cartesian_prod(v, m[0]), lambda T, x, m, v, i: T.combinations(v, 3),
    lambda T, x, m, v, i: T.combinations(v, 2, with_replacement=True),
    lambda T, x, m, v, i: T.atleast_3d(v, m), lambda T, x, m, v, i: T.vander(v.detach(), 3) * v[0],
    lambda T, x, m, v, i: T.broadcast_tensors(m, v[:3]),
    lambda T, x, m, v, i: x.sum_to_size(1, 3, 1), lambda T, x, m, v, i: x[..., None, 1:3],
    lambda T, x, m, v, i: x[i], lambda T, x, m, v, i: x[:, [2, 0]],
    lambda T, x, m, v, i: x[i, :, T.tensor([1, 2, 0])],
    lambda T, x, m, v, i: x[:, None, T.tensor([[0], [2]])],
    lambda T, x, m, v, i: T.gather(x, 2, T.tensor([[[0, 3], [1, 1]]])),
    lambda T, x, m, v, i: T.take(x, T.tensor([[-1, 0], [5, 5]])),
    lambda T, x, m, v, i: T.take_along_dim(m, T.argsort(m, 1), 1),
    lambda T, x, m, v, i: x.index_select(0, i),
    lambda T, x, m, v, i: x.scatter(0, T.tensor([[[1, 0, 1, 1]]]), x[:1, :1] * 2),
    lambda T, x, m, v, i: m.scatter(1, T.tensor([[0], [2]]), 7.),
    lambda T, x, m, v, i: v.scatter_add(0, T.tensor([0, 0, 4]), v[:3] * v[1:4]),
    lambda T, x, m, v, i: v.scatter_reduce(0, T.tensor([0, 0, 4]), v[:3] * 2, "prod"),
    lambda T, x, m, v, i: v.scatter_reduce(
        0, T.tensor([0, 0, 4]), v[:3] * 2, "mean", include_self=False),
    lambda T, x, m, v, i: v.scatter_reduce(0, T.tensor([0, 0, 4, 1]), v[:4] * 1, "amax"),
    lambda T, x, m, v, i: v.scatter_reduce(
        0, T.tensor([0, 0, 4]), v[:3] * 2, "amin", include_self=False),
    lambda T, x, m, v, i: m.index_add(1, T.tensor([2, 2]), m[:, :2] ** 2, alpha=2),
    lambda T, x, m, v, i: m.index_fill(0, i[:1], 2.5),
    lambda T, x, m, v, i: m.index_copy(0, T.tensor([2, 0]), m[1:] ** 2),
    lambda T, x, m, v, i: m.index_reduce(0, T.tensor([2, 2]), m[1:] ** 2, "prod"),
    lambda T, x, m, v, i: m.index_put(
        (T.tensor([0, 0]), T.tensor([1, 1])), v[:2] ** 2, accumulate=True),
    lambda T, x, m, v, i: m.put(T.tensor([1, -1]), v[:2] ** 2),
    lambda T, x, m, v, i: m.masked_fill(m > 0, 3), lambda T, x, m, v, i: T.where(m > 0, m, v[:3]),
    lambda T, x, m, v, i: m.masked_scatter(m > 0, T.cat([v, v]) ** 2),
    lambda T, x, m, v, i: x.clone(memory_format=T.contiguous_format),
]
OTHER_DTYPES = {
    "int64": lambda T: (T.arange(24).reshape(2, 3, 4) - 12),
    "bool": lambda T: (T.arange(24).reshape(2, 3, 4) % 5 < 2),
    "float16": lambda T: T.arange(24.).reshape(2, 3, 4).half(),
    "int8": lambda T: T.arange(24).reshape(2, 3, 4).char(),
}
MOVES = [
    lambda T, x: x.unfold(2, 2, 1), lambda T, x: x.diagonal(0, 1, 2), lambda T, x: x.tril(),
    lambda T, x: T.diag_embed(x[0, 0]), lambda T, x: x.repeat(1, 2, 1), lambda T, x: x[:, [2, 0]],
    lambda T, x: x.masked_fill(x == 1, 1), lambda T, x: T.cat([x, x]),
    lambda T, x: x.index_fill(1, T.tensor([0]), 1), lambda T, x: T.rot90(x),
    lambda T, x: T.block_diag(x[0], x[1]),
]
WRITES = [
    "x[x > 0] = 0", "x[0, x[1] > 0] = -1", "x[:, x[0, :, 0] > 0] = T.arange(4.).double()",
    "x[..., x[0, 0] > 0] = 7", "x[T.tensor([0, 1]), :, T.tensor([1, 2])] = 5.", "x[0, 1:] = 3",
    "x[[1, 0]] += 1", "x[:, [0, 2]] *= 2", "x[1:, ..., None][:] = 1",
    "x[T.tensor(1)] = x[0].clone()",
    "x.diagonal(0, 1, 2).mul_(10)", "x.unfold(2, 2, 2)[..., 0].add_(1)", "x[:, ::2].zero_()",
    "x.as_strided((2, 3), (12, 1)).fill_(4)", "x.masked_fill_(x < 0, 9)",
    "x.scatter_(1, T.tensor([[[2]]]), 5.)",
    "x.index_add_(0, T.tensor([1]), x[:1].clone())", "x.index_fill_(2, T.tensor([3]), -2.)",
    "x.masked_scatter_(x > 0, x.detach().clone())", "x.transpose(0, 2)[1] = 2.",
    "x.select(1, 1).tanh_()",
]


def inputs(T, grad: bool = True) -> dict:
    rng = np.random.default_rng(3)
    made = {"i": T.tensor([1, 0, 1])}
    for name, shape in (("x", (2, 3, 4)), ("m", (3, 3)), ("v", (5,))):
        made[name] = T.tensor(rng.standard_normal(shape), dtype=T.float64, requires_grad=grad)
    return made


def listed(y) -> list:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def orders(T, program: Callable, made: dict) -> list:
    """The values, the gradients of a weighted sum of them, and the gradients of those."""
    outs = listed(program(T, **made))
    xs = [made[n] for n in "xmv"]

    def weighted(values, k):
        return sum((T.cos(T.arange(y.numel()).double() * k).reshape(y.shape) * y * y).sum()
                   for y in values)

    first = T.autograd.grad(weighted(outs, 1), xs, create_graph=True, allow_unused=True)
    used = [g for g in first if g is not None]
    second = T.autograd.grad(weighted(used, 2), xs, allow_unused=True)
    return [y.detach().numpy() for y in (*outs, *used, *(g for g in second if g is not None))]


def same(got: list, want: list) -> None:
    assert [a.shape for a in got] == [b.shape for b in want]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=body)
def test_values_and_two_gradients_are_torchs(program):
    same(orders(tg, program, inputs(tg)), orders(torch, program, inputs(torch)))


@pytest.mark.parametrize("program", PROGRAMS[1::4], ids=body)
def test_compiled_they_are_the_same(program):
    if "T.arange(5))" in body(program):
        program = lambda T, x, m, v, i: v  # its own shape depends on values
    made = inputs(tg)

    @tg.compile
    def both(x, m, v):
        outs = listed(program(tg, x, m, v, made["i"]))
        return outs, tg.autograd.grad(sum((y * y).sum() for y in outs), [x, m, v],
                                      materialize_grads=True)

    xs = [made[n] for n in "xmv"]
    outs = listed(program(tg, **made))
    grads = tg.autograd.grad(sum((y * y).sum() for y in outs), xs, materialize_grads=True)
    found, slopes = both(*xs)
    same([y.detach().numpy() for y in (*found, *slopes)],
         [y.detach().numpy() for y in (*outs, *grads)])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("program", WRITES)
def test_writing_is_torchs(program, compiled):
    def written(T, x):
        y = x * 1.0
        exec(program, {"T": T, "x": y})
        return y

    def whole(T, x):
        y = written(T, x)
        (y * y * T.cos(T.arange(24.0).double()).reshape(2, 3, 4)).sum().backward()
        return y

    want, got = inputs(torch)["x"], inputs(tg)["x"]
    outcome = whole(torch, want)
    ours = tg.compile(lambda x: whole(tg, x))(got) if compiled else whole(tg, got)
    same([ours.detach().numpy(), got.grad.numpy()], [outcome.detach().numpy(), want.grad.numpy()])


@pytest.mark.parametrize("kind", OTHER_DTYPES)
def test_every_dtype_moves(kind):
    def moved(T, x):
        return [program(T, x) for program in MOVES]

    ours, theirs = (OTHER_DTYPES[kind](T) for T in (tg, torch))
    want = moved(torch, theirs)
    for got in (moved(tg, ours), tg.compile(lambda x: moved(tg, x))(ours)):
        for a, b in zip(got, want, strict=True):
            assert a.dtype.name == str(b.dtype)[6:]
            np.testing.assert_array_equal(a.numpy(), b.numpy())


REFUSED = [
    lambda T: T.ones(2, 3)[2], lambda T: T.ones(3)[T.tensor([3])],
    lambda T: T.ones(3)[T.tensor([True, False])], lambda T: T.ones(2).unfold(0, 3, 1),
    lambda T: T.ones(2, 3).diagonal(0, 1, 1), lambda T: T.cat([]), lambda T: T.stack([]),
    lambda T: T.ones(3).narrow(0, 2, 2), lambda T: T.ones(3).split([1, 1]),
    lambda T: T.ones(3).tile(T.ones(2)),
    lambda T: T.ones(3).scatter_add(0, T.tensor([0]), T.ones(1).double()),
    lambda T: T.ones(3).index_add(0, T.tensor([[0]]), T.ones(1)),
    lambda T: T.ones(2, 2).expand(3, 2), lambda T: T.ones(3).masked_fill(T.ones(3), 1),
    lambda T: T.ones(3).masked_scatter(T.ones(3) > 0, T.ones(2)), lambda T: T.tril(T.ones(3)),
    lambda T: T.fliplr(T.ones(3)), lambda T: T.rot90(T.ones(2, 2), 1, (0, 0)),
    lambda T: T.ones(3).mT, lambda T: T.meshgrid(T.ones(2, 2)),
    lambda T: T.block_diag(T.ones(1, 1, 1)), lambda T: T.vsplit(T.ones(3), 1),
    lambda T: T.ones(3).reshape(2, 2), lambda T: T.ones(3).unsqueeze(3),
    lambda T: T.ones(2, 3).permute(0, 0), lambda T: T.ones(2).take(T.tensor([2])),
    lambda T: T.frombuffer(bytearray(3), dtype=T.int32),
    lambda T: T.ones(2, requires_grad=True).__dlpack__(), lambda T: T.combinations(T.ones(2, 2)),
    lambda T: T.ones(3).scatter_reduce(0, T.tensor([0]), T.ones(1), "median"),
]


@pytest.mark.parametrize("program", REFUSED, ids=body)
def test_what_torch_refuses_is_refused_with_its_class(program):
    with pytest.raises(Exception) as theirs:
        program(torch)
    with pytest.raises(theirs.type):
        program(tg)


OUT_OF_RANGE = [
    lambda T, i: T.ones(3).gather(0, i), lambda T, i: T.ones(3).index_select(0, i),
    lambda T, i: T.ones(3).scatter(0, i, 1.), lambda T, i: T.ones(3)[i],
    lambda T, i: T.ones(3).put(i, T.ones(1)), lambda T, i: T.ones(3).index_fill(0, i, 2),
]


@pytest.mark.parametrize("program", OUT_OF_RANGE, ids=body)
def test_a_position_out_of_range_names_itself_the_axis_and_the_size(program):
    for f in (run := lambda i: program(tg, i)), tg.compile(run):
        with pytest.raises(IndexError, match="index 5 is out of .* dimension 0 with size 3"):
            f(tg.tensor([5]))


def test_a_compiled_write_out_of_range_leaves_memory_alone():
    x = tg.ones(4)

    @tg.compile
    def step(x, i):
        x.mul_(3)
        x.scatter_reduce_(0, i, tg.ones(2), "amax")

    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 4"):
        step(x, tg.tensor([0, 7]))
    assert x.tolist() == [1, 1, 1, 1]


def test_memory_is_shared_both_ways():
    x = torch.arange(4.0)
    t = tg.from_dlpack(x)
    t.mul_(2)
    torch.from_dlpack(t).add_(1)
    assert x.tolist() == [1, 3, 5, 7] and t.tolist() == x.tolist()
    a = np.arange(3.0)
    tg.asarray(a).add_(1)
    tg.as_tensor(a).add_(1)
    assert a.tolist() == [2, 3, 4]
    tg.asarray(a, copy=True).zero_()
    tg.from_dlpack(tg.to_dlpack(tg.from_numpy(a))).mul_(2)
    assert a.tolist() == [4, 6, 8]
    memory = bytearray(8)
    tg.frombuffer(memory, dtype=tg.int32).fill_(1)
    assert bytes(memory) == b"\1\0\0\0" * 2
    with pytest.raises(ValueError, match="alias"):
        tg.asarray([1, 2], copy=False)


def test_windows_that_overlap_are_not_written_through():
    x = tg.zeros(5)
    with pytest.raises(RuntimeError, match="more than one element"):
        x.unfold(0, 3, 1).add_(1)
    assert x.tolist() == [0] * 5
    assert x.unfold(0, 3, 1).stride() == (1, 1) and x.diagonal is not None
    x.reshape(5, 1).expand(5, 5)
    m = tg.zeros(3, 3)
    m.diagonal(1).add_(tg.ones(2))
    assert m.sum().item() == 2 and m.diagonal().data_ptr() == m.data_ptr()


@pytest.mark.parametrize("call", [
    lambda T, x: T.roll(x, 1, 0), lambda T, x: T.unbind(x), lambda T, x: T.unbind(x, 0),
    lambda T, x: T.trapezoid(x), lambda T, x: T.roll(x, (1, 2), (0, -1)),
])
def test_a_number_has_no_dimension_of_its_own(call):
    for T in (tg, torch):
        with pytest.raises(IndexError, match="Dimension specified as -?[01] but tensor has no dim"):
            call(T, T.tensor(1.5))
