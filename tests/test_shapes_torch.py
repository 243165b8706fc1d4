"""Movement, joining, indexing and conversion against PyTorch: values, gradients of two orders, and
the same compiled.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

# expressions of T (torch or tracegrad), x (2, 3, 4), m (3, 3), v (5,), i (int64 of x's first axis)
PROGRAMS = [
    "x.squeeze((0, 1))[None].squeeze((0, 1))", "T.unflatten(x, 2, (2, -1))", "T.flatten(x, 1)",
    "T.movedim(x, (0, 1), (2, 0))", "x.swapaxes(0, 2)", "x.mT", "T.permute(x, dims=(2, 0, 1))",
    "x.reshape(shape=(6, 4))", "x.expand(size=(5, 2, 3, 4))", "x.repeat(2, 1, 1)",
    "T.tile(v, (2, 2))", "T.repeat_interleave(x, 2, 1)", "v.repeat_interleave(T.arange(5))",
    "T.roll(x, (1, 2), (0, 2))", "T.roll(x, 3)", "x.flip(0, 2)", "T.fliplr(x)", "T.flipud(x)",
    "T.rot90(x, 1, (0, 2))", "T.rot90(x, -2)", "v.unfold(0, 3, 1)", "x.unfold(2, 2, 2)",
    "x.unfold(1, 2, 1).unfold(2, 3, 1)", "T.tril(x, -1)", "T.triu(m, 1)", "T.diag(v, 1)",
    "T.diag(m, -1)", "T.diagonal(x, 1, 1, 2)", "T.diag_embed(x, 1, 0, 2)", "T.diagflat(m)",
    "T.diagonal_scatter(m, v[:3] * 2)", "T.select_scatter(x, m[:, :1].expand(3, 4), 0, 1)",
    "T.slice_scatter(x, x[:, :, :2] * 3, 2, 1, None, 2)", "T.as_strided(x, (3, 2), (2, 3), 1)",
    "x.narrow(1, -2, 2)", "T.select(x, 1, -1)", "x.split([1, 3], 2)", "T.chunk(x, 3, 2)",
    "T.tensor_split(x, (1, 3), 2)", "T.hsplit(x, 3)", "T.vsplit(x, 2)", "T.dsplit(x, [1])",
    "x.unbind(1)", "T.cat([x, x * 2], 1)", "T.stack((v, v), -1)", "T.hstack([v, v])",
    "T.vstack([v, v])", "T.dstack([m, m])", "T.column_stack([v, v])", "T.block_diag(m, v, m[:1])",
    "T.meshgrid(v, m[0], indexing='xy')", "T.cartesian_prod(v, m[0])", "T.combinations(v, 3)",
    "T.combinations(v, 2, with_replacement=True)", "T.atleast_3d(v, m)",
    "T.vander(v.detach(), 3) * v[0]",
    "T.broadcast_tensors(m, v[:3])", "x.sum_to_size(1, 3, 1)", "x[..., None, 1:3]",
    "x[i]", "x[:, [2, 0]]", "x[i, :, T.tensor([1, 2, 0])]", "x[:, None, T.tensor([[0], [2]])]",
    "T.gather(x, 2, T.tensor([[[0, 3], [1, 1]]]))", "T.take(x, T.tensor([[-1, 0], [5, 5]]))",
    "T.take_along_dim(m, T.argsort(m, 1), 1)", "x.index_select(0, i)",
    "x.scatter(0, T.tensor([[[1, 0, 1, 1]]]), x[:1, :1] * 2)",
    "m.scatter(1, T.tensor([[0], [2]]), 7.)",
    "v.scatter_add(0, T.tensor([0, 0, 4]), v[:3] * v[1:4])",
    "v.scatter_reduce(0, T.tensor([0, 0, 4]), v[:3] * 2, 'prod')",
    "v.scatter_reduce(0, T.tensor([0, 0, 4]), v[:3] * 2, 'mean', include_self=False)",
    "v.scatter_reduce(0, T.tensor([0, 0, 4, 1]), v[:4] * 1, 'amax')",
    "v.scatter_reduce(0, T.tensor([0, 0, 4]), v[:3] * 2, 'amin', include_self=False)",
    "m.index_add(1, T.tensor([2, 2]), m[:, :2] ** 2, alpha=2)", "m.index_fill(0, i[:1], 2.5)",
    "m.index_copy(0, T.tensor([2, 0]), m[1:] ** 2)",
    "m.index_reduce(0, T.tensor([2, 2]), m[1:] ** 2, 'prod')",
    "m.index_put((T.tensor([0, 0]), T.tensor([1, 1])), v[:2] ** 2, accumulate=True)",
    "m.put(T.tensor([1, -1]), v[:2] ** 2)", "m.masked_fill(m > 0, 3)", "T.where(m > 0, m, v[:3])",
    "m.masked_scatter(m > 0, T.cat([v, v]) ** 2)", "x.clone(memory_format=T.contiguous_format)",
]
OTHER_DTYPES = {
    "int64": "(T.arange(24).reshape(2, 3, 4) - 12)",
    "bool": "(T.arange(24).reshape(2, 3, 4) % 5 < 2)",
    "float16": "T.arange(24.).reshape(2, 3, 4).half()",
    "int8": "T.arange(24).reshape(2, 3, 4).char()",
}
MOVES = [
    "x.unfold(2, 2, 1)", "x.diagonal(0, 1, 2)", "x.tril()", "T.diag_embed(x[0, 0])",
    "x.repeat(1, 2, 1)", "x[:, [2, 0]]", "x.masked_fill(x == 1, 1)", "T.cat([x, x])",
    "x.index_fill(1, T.tensor([0]), 1)", "T.rot90(x)", "T.block_diag(x[0], x[1])",
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
    made = {"T": T, "i": T.tensor([1, 0, 1])}
    for name, shape in (("x", (2, 3, 4)), ("m", (3, 3)), ("v", (5,))):
        made[name] = T.tensor(rng.standard_normal(shape), dtype=T.float64, requires_grad=grad)
    return made


def listed(y) -> list:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def orders(T, program: str, made: dict) -> list:
    """The values, the gradients of a weighted sum of them, and the gradients of those."""
    outs = listed(eval(program, dict(made)))
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_values_and_two_gradients_are_torchs(program):
    same(orders(tg, program, inputs(tg)), orders(torch, program, inputs(torch)))


@pytest.mark.parametrize("program", PROGRAMS[1::4])
def test_compiled_they_are_the_same(program):
    if "T.arange(5))" in program:
        program = "v"  # its shape depends on values
    made = inputs(tg)

    @tg.compile
    def both(x, m, v):
        outs = listed(eval(program, {**made, "x": x, "m": m, "v": v}))
        return outs, tg.autograd.grad(sum((y * y).sum() for y in outs), [x, m, v],
                                      materialize_grads=True)

    xs = [made[n] for n in "xmv"]
    outs = listed(eval(program, dict(made)))
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
        return [eval(program, {"T": T, "x": x}) for program in MOVES]

    ours, theirs = (eval(OTHER_DTYPES[kind], {"T": T}) for T in (tg, torch))
    want = moved(torch, theirs)
    for got in (moved(tg, ours), tg.compile(lambda x: moved(tg, x))(ours)):
        for a, b in zip(got, want, strict=True):
            assert a.dtype.name == str(b.dtype)[6:]
            np.testing.assert_array_equal(a.numpy(), b.numpy())


REFUSED = [
    "T.ones(2, 3)[2]", "T.ones(3)[T.tensor([3])]",
    "T.ones(3)[T.tensor([True, False])]",
    "T.ones(2).unfold(0, 3, 1)", "T.ones(2, 3).diagonal(0, 1, 1)", "T.cat([])", "T.stack([])",
    "T.ones(3).narrow(0, 2, 2)", "T.ones(3).split([1, 1])", "T.ones(3).tile(T.ones(2))",
    "T.ones(3).scatter_add(0, T.tensor([0]), T.ones(1).double())",
    "T.ones(3).index_add(0, T.tensor([[0]]), T.ones(1))", "T.ones(2, 2).expand(3, 2)",
    "T.ones(3).masked_fill(T.ones(3), 1)", "T.ones(3).masked_scatter(T.ones(3) > 0, T.ones(2))",
    "T.tril(T.ones(3))", "T.fliplr(T.ones(3))", "T.rot90(T.ones(2, 2), 1, (0, 0))", "T.ones(3).mT",
    "T.meshgrid(T.ones(2, 2))", "T.block_diag(T.ones(1, 1, 1))", "T.vsplit(T.ones(3), 1)",
    "T.ones(3).reshape(2, 2)", "T.ones(3).unsqueeze(3)", "T.ones(2, 3).permute(0, 0)",
    "T.ones(2).take(T.tensor([2]))",
    "T.frombuffer(bytearray(3), dtype=T.int32)", "T.ones(2, requires_grad=True).__dlpack__()",
    "T.combinations(T.ones(2, 2))",
    "T.ones(3).scatter_reduce(0, T.tensor([0]), T.ones(1), 'median')",
]


@pytest.mark.parametrize("program", REFUSED)
def test_what_torch_refuses_is_refused_with_its_class(program):
    with pytest.raises(Exception) as theirs:
        eval(program, {"T": torch})
    with pytest.raises(theirs.type):
        eval(program, {"T": tg})


OUT_OF_RANGE = [
    "T.ones(3).gather(0, i)", "T.ones(3).index_select(0, i)", "T.ones(3).scatter(0, i, 1.)",
    "T.ones(3)[i]", "T.ones(3).put(i, T.ones(1))", "T.ones(3).index_fill(0, i, 2)",
]


@pytest.mark.parametrize("program", OUT_OF_RANGE)
def test_a_position_out_of_range_names_itself_the_axis_and_the_size(program):
    for f in (run := lambda i: eval(program, {"T": tg, "i": i})), tg.compile(run):
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


def test_a_mask_that_decides_a_shape_names_the_line_and_the_way_out():
    with pytest.raises(RuntimeError, match=r"test_shapes_torch.py:\d+.*masked_fill"):
        tg.compile(lambda x: x[x > 0])(tg.ones(3))


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
