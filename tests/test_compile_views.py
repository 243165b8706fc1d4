"""Views and changes in place within a compiled function: the values, the gradients and the
refusals of eager execution, which are torch's.
"""

import pytest

import tracegrad

torch = pytest.importorskip("torch")


def _changed(change):
    """A program that changes a fresh tensor of six numbers and shows it."""

    def program(T, x):
        y = x * T.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        shown = change(T, y)
        return (y * 1, *(shown if isinstance(shown, tuple) else ()))

    return program


def _matrix(change):
    def program(T, x):
        y = x.reshape(2, 3).t() * 2
        shown = change(T, y)
        return (y * 1, *(shown if isinstance(shown, tuple) else ()))

    return program


def _set(y, key, value):
    y[key] = value


EXPANDED = {
    "one of many": lambda T, y: _set(y[:1].expand(4), -1, 3.0),
    "one of many, in steps": lambda T, y: y[:1].expand(4)[2:3].view(1, 1).t()[0].add_(5),
    "one at a tensor's position": lambda T, y: _set(y[:1].expand(4), T.tensor(2), 3.0),
    "a column of many": lambda T, y: y[:2].view(2, 1).expand(2, 3)[:, 1].mul_(2),
    "none of many": lambda T, y: y[:0].view(0, 1).expand(0, 3).fill_(2),
    "one window": lambda T, y: y.unfold(0, 3, 1)[1].add_(1),
    "one place of each window": lambda T, y: y.unfold(0, 3, 1)[:, 0].mul_(2),
    "a line of a matrix that overlaps": lambda T, y: y.as_strided((2, 2), (1, 1))[0].mul_(2),
    "a diagonal": lambda T, y: y[:4].view(2, 2).diagonal().add_(5),
    "many at once": lambda T, y: _set(y[:1].expand(4), slice(0, 2), 3.0),
    "all of a column": lambda T, y: y[:2].view(2, 1).expand(2, 3).mul_(2),
}
COMPUTED = {  # elementwise results keep the order of their operands in memory
    "reshape": lambda T, y: (y.reshape(-1).add_(1),),
    "flatten": lambda T, y: (y.flatten().add_(1),),
    "transposed first": lambda T, y: (y.t().reshape(-1).mul_(3),),
    "contiguous": lambda T, y: (y.contiguous().add_(1),),
    "as_strided": lambda T, y: (y.as_strided((6,), (1,)).clone(),),
    "beside another": lambda T, y: ((y + y.t().contiguous().t()).reshape(-1).add_(1),),
    "of broadcast": lambda T, y: ((y[:, :1] * y).t().reshape(-1),),
    "a clone": lambda T, y: (_set(z := y.clone(), 0, 7.0), z.reshape(-1).mul_(2), z)[2:],
    "a sum": lambda T, y: ((y[None] * 2).sum(0).reshape(-1).add_(1),),
    "refused": lambda T, y: (y.view(-1),),
}
TURNED = {
    "t_": lambda T, y: (y.t_().add_(1),),
    "transpose_": lambda T, y: (y.transpose_(0, 1),),
    "swapaxes_ of a view": lambda T, y: ((z := y[1:]).swapaxes_(0, 1), z.mul_(3))[:1],
    "swapdims_ twice": lambda T, y: (y.swapdims_(0, 1).swapdims_(1, 0),),
    "squeeze_": lambda T, y: ((z := y[None]).squeeze_(0), z.mul_(2))[:1],
    "unsqueeze_": lambda T, y: (y.unsqueeze_(1).mul_(2),),
    "a view made before": lambda T, y: (z := y[0:1], y.t_(), z.mul_(3))[:1],
    "views before, between and after": lambda T, y: (
        a := y[1], y.unsqueeze_(0), b := y[0, :, 1], y.transpose_(0, 2), c := y[0, 0],
        a.mul_(2), b.add_(1), c.mul_(3),
    )[:1] + (a, b, c),
    "a write, then a view made before": lambda T, y: (y[0:1], y.t_(), y.mul_(3))[:1],
    "a line at a position": lambda T, y: (z := y[T.tensor(1)], y.t_(), z.mul_(3))[:1],
    "of a detached one": lambda T, y: ((z := y.detach()).t_(), z.mul_(2)),
}
PROGRAMS = {
    **{f"expanded: {n}": _changed(c) for n, c in EXPANDED.items()},
    **{f"computed: {n}": _matrix(c) for n, c in COMPUTED.items()},
    **{f"turned: {n}": _matrix(c) for n, c in TURNED.items()},
}


def outcome(T, program, compiled):
    """Values and gradient of a program, or the class of what it raises."""
    x = T.tensor([1.0, -2.0, 3.0, 4.0, -5.0, 6.0], requires_grad=True)

    def run(x):
        return tuple(y for y in program(T, x) if y is not None)

    try:
        ys = (T.compile(run) if compiled else run)(x)
        sum((y * y).sum() for y in ys if y.requires_grad).backward()
    except RuntimeError as error:
        return str(error)[:60]
    return [y.tolist() for y in ys], None if x.grad is None else x.grad.tolist()


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_of_views_is_torchs(program):
    want = outcome(torch, program, False)
    assert outcome(tracegrad, program, False) == want
    assert outcome(tracegrad, program, True) == want


def test_strides_of_traced_results_are_those_of_eager_ones():
    def strides(x, y):
        found = [x + 1, x * y, x[0] * y, (x[:, None] + y).exp(), x.t() * y.t(), x.flip(0) * 2,
                 x.t()[None] + 1, tracegrad.where(x > 0, x, y), x.t().clone(), x.t().float() + 1,
                 (x * y).sum(0), x @ y.t(), x.t()[1:, ::2] * 2, x.expand(2, 3, 3) * 2]
        return [[s for n, s in zip(t.shape, t.stride(), strict=True) if n > 1] for t in found]

    x = tracegrad.arange(9.0).reshape(3, 3)
    for a in (x, x.t()):
        for b in (x * 2, x.t()):
            assert tracegrad.compile(strides)(a, b) == strides(a, b)


def test_the_shape_of_what_was_given_cannot_be_changed():
    x = tracegrad.ones(2, 3)
    for change in ("t_", "squeeze_", "resize_"):
        args = (6,) if change == "resize_" else ()
        with pytest.raises(RuntimeError, match=rf"{change}: .*test_compile_views\.py"):
            tracegrad.compile(lambda y: getattr(y, change)(*args) + 1)(x)  # noqa: B023
        with pytest.raises(RuntimeError, match="from outside"):
            tracegrad.compile(lambda: getattr(x, change)(*args) + 1)()  # noqa: B023
    assert x.shape == (2, 3)


def test_resizing_in_a_compiled_function():
    def program(x):
        y = x.t() * 2
        y.resize_(2, 2)
        z = x * 1
        z.resize_(7).add_(1)
        return y, z

    x = tracegrad.arange(6.0).reshape(2, 3)
    for a, b in zip(program(x), tracegrad.compile(program)(x), strict=True):
        assert a.tolist() == b.tolist()

    def stale(x):
        y = x * 2
        z = y[0]
        y.resize_(6)
        return z * 1

    with pytest.raises(RuntimeError, match="make the view after it"):
        tracegrad.compile(stale)(x)


def test_parts_of_one_tensor_share_memory_with_it():
    def program(x):
        y = x * 2
        return y.unbind(0)[0], y.chunk(2, 1)[1], y

    for run in (program, tracegrad.compile(program)):
        first, right, whole = run(tracegrad.ones(2, 4))
        first.fill_(0)
        right.add_(1)
        assert whole.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_requires_grad_of_arguments_results_and_views_is_as_eagerly():
    def program(x, w):
        before = w[1:]
        w.requires_grad_()
        y = (x * 2).detach().requires_grad_()
        z = y.view(-1).detach()
        return (x * w).sum(), before, y, z, w[0]

    found = []
    for run in (program, tracegrad.compile(program)):
        for _ in range(2):
            x, w = tracegrad.ones(2, 2), tracegrad.ones(2, 2)
            loss, before, y, z, after = run(x, w)
            (loss + (y * y).sum() + after.sum()).backward()
            with tracegrad.no_grad():
                z.add_(1)
            tensors = (before, y, z, after, w)
            found.append([[t.requires_grad, t.is_leaf, t.tolist()] for t in tensors])
            found[-1] += [w.grad.tolist(), y.grad.tolist()]
    assert found[0] == found[2] == found[1] == found[3]


def test_a_leaf_made_inside_is_not_returned_with_what_came_of_it():
    def program(x):
        w = (x * 2).detach().requires_grad_()
        return w, (w * w).sum()

    with pytest.raises(RuntimeError, match="Make it outside"):
        tracegrad.compile(program)(tracegrad.ones(2))

    @tracegrad.compile
    def done(x):
        w = (x * 2).detach().requires_grad_()
        (w * w).sum().backward()
        return w, w.grad

    w, g = done(tracegrad.ones(2))
    assert w.grad is g and g.tolist() == [4, 4]


def test_copies_lie_as_eagerly():
    def strides(x):
        gaps = x[..., ::2].t()
        found = [gaps.clone(), gaps * 1, x.t().contiguous(), x.t().clone(), gaps.contiguous()]
        y = x.t() * 2
        y.transpose_(0, 1).unsqueeze_(0).transpose_(0, 2)
        return [t.stride() for t in (*found, y.squeeze())]

    x = tracegrad.arange(12.0).reshape(3, 4)
    assert tracegrad.compile(strides)(x) == strides(x)


@pytest.mark.parametrize("lie", [
    lambda x: x.t(), lambda x: x.as_strided((4, 6), (1, 4)), lambda x: x,
    lambda x: x.reshape(2, 3, 4).permute(2, 0, 1),
])
def test_memory_of_a_view_begins_where_it_does_eagerly(lie):
    def looks(x):
        part = x[2, 1:]
        return part.as_strided((2,), (1,)), x[3].as_strided((2, 2), (1, 2)), part.storage_offset()

    x = lie(tracegrad.arange(24.0).reshape(4, 6))
    eager, done = looks(x), tracegrad.compile(looks)(x)
    assert [t.tolist() for t in done[:2]] == [t.tolist() for t in eager[:2]]
    assert done[2] == eager[2]


@pytest.mark.parametrize(
    ("shape", "strides"), [((1, 2), (1, 0)), ((2, 3), (0, 1)), ((4, 2), (1, 1))]
)
def test_writes_to_an_argument_that_overlaps_itself_are_refused(shape, strides):
    f = tracegrad.compile(lambda x: x.select(0, 0).mul_(3) if x.stride(1) else x[0, 0].mul_(3))
    memory = tracegrad.arange(1.0, 7.0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"at one place in memory; clone\(\) it"):
            f(memory.as_strided(shape, strides))
        assert memory.tolist() == [1, 2, 3, 4, 5, 6]
    f(memory.as_strided((2, 2), (3, 1)))  # one with holes does not
    assert memory.tolist() == [3, 6, 3, 4, 5, 6]


def heard(x, w):
    v = (x * w)[1:]
    v.register_hook(lambda g: g * 2)
    return v, v[:1]


def cut(x, w):
    v = x.detach()
    return v.mul_(w)


def cut_in_part(x, w):
    v = x.detach()
    return v, v[1:].copy_(w[1:])


@pytest.mark.parametrize("program", [cut, cut_in_part])
def test_a_result_in_the_memory_of_an_argument_with_its_own_history_is_refused(program):
    x = tracegrad.ones(3)
    w = tracegrad.full((3,), 2.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="history of its own by an in-place operation"):
        tracegrad.compile(program)(x, w)
    assert x.tolist() == [1, 1, 1]


def test_a_result_in_the_memory_of_another_with_a_hook_is_refused():
    x, w = tracegrad.ones(3), tracegrad.full((3,), 2.0, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"of shape \[2\], and has a hook: return a clone"):
        tracegrad.compile(heard)(x, w)


def test_a_result_in_the_memory_of_an_argument_that_no_longer_requires_grad_is_refused():
    def f(x):
        v = x.view(-1)
        x.requires_grad_(False)
        return v

    with pytest.raises(RuntimeError, match="and requires grad, which the other no longer does"):
        tracegrad.compile(f)(tracegrad.ones(2, 2, requires_grad=True))
