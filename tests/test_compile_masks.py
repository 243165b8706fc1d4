"""`x[mask]` within a compiled function, where it is written back under its mask, or summed."""

import pytest

import tracegrad

torch = pytest.importorskip("torch")
pytest.importorskip("torch.utils.checkpoint")


def put(y, key, value):
    y[key] = value
    return y


def grown(y, key, by):
    y[key] += by
    return y


def scaled(y, key, by):
    y[key] *= by
    return y


def chained(T, y):
    m = y > 0
    z = y[m]
    z = z * z.sum() + z.mean()
    z -= 1
    z.mul_(2)
    return put(y, m, z)


def doubling(y):
    if y.requires_grad:
        y.register_hook(lambda g: g * 2)
    return y * len(y)


PROGRAMS = {
    "+=": lambda T, y: grown(y, y > 1, 2.0),
    "*= a tensor": lambda T, y: scaled(y, y > 1, y.sum()),
    "-= of rows": lambda T, y: grown(y, y[:, 0] > 0, -y[0]),
    "itself": lambda T, y: put(y, y > 0, y[y > 0] * 2),
    "a function": lambda T, y: put(y, m := y > 1, T.sin(y[m]) + y[m] ** 2 / 3),
    "logarithms of what is positive": lambda T, y: put(y, m := y > 0, y[m].log()),
    "a root at zero": lambda T, y: put(z := y * (y > 0), m := y > 0, z[m].sqrt()),
    "another tensor": lambda T, y: put(T.zeros(2, 3), m := y > 0, (y * 3)[m] / y[m]),
    "clamped": lambda T, y: put(y, m := y > 1, y[m].clamp(max=2.0)),
    "between bounds": lambda T, y: put(y, m := y > 1, y[m].clamp(y.sum() / 10, y.sum())),
    "cut, with steps": lambda T, y: put(y, m := y > 1, y[m].trunc() + T.lerp(y[m], y[0, 0], 0.3)),
    "logarithms of sums": lambda T, y: put(y, m := y > 1, T.logaddexp(y[m], y[m] * 2)),
    "x log y": lambda T, y: put(y, m := y > 1, T.xlogy(y[m], y[m] * 2)),
    "a choice": lambda T, y: put(y, m := y > 0, T.where(y[m] > 2, y[m], -y[m])),
    "columns": lambda T, y: put(y, (slice(None), m := y[0] > 1), y[:, m] * y[:, :1].clone()),
    "columns of a row": lambda T, y: put(y, (1, m := y[1] > 1), y[1, m] + y[0, m]),
    "rows, by an ellipsis": lambda T, y: put(y, (m := y[:, 0] > 0, ...), y[m, ...].exp()),
    "rows, one column": lambda T, y: put(y, (m := y[:, 0] > 0, 1), y[m, 1] * 4),
    "rows beside a row": lambda T, y: put(y, m := y[:, 1] > 0, y[m] * y[0].exp() + y.sum(0)),
    "no rows": lambda T, y: put(y, m := y[:, 0] > 100, y[m] * 2),
    "all": lambda T, y: put(y, m := y == y, 1 / y[m]),
    "one number": lambda T, y: put(s := y.sum() * 1, s > 0, 0.5),
    "not that number": lambda T, y: grown(s := y.sum() * 1, s < 0, 0.5),
    "a row under one": lambda T, y: scaled(y[0] * 1, y[0, 0] > 0, y[1]),
    "the sum": lambda T, y: y[y > 1].sum(),
    "the mean": lambda T, y: (y[y > 1] ** 2).mean(),
    "the mean of none": lambda T, y: y[y > 100].mean() + y.sum(),
    "the product": lambda T, y: y[y > 1].prod(),
    "sums of rows": lambda T, y: put(y[:, 0] * 1, m := y[:, 0] > 0, y[m].sum(1)),
    "sums over rows": lambda T, y: y[y[:, 0] > 0].sum(0),
    "means over rows": lambda T, y: y[y[:, 1] > -10].mean(0),
    "counted": lambda T, y: (y[y > 1] > 2).sum() * y,
    "any, all": lambda T, y: T.where((y[y > 1] > 2).any(), y, -y) + (y[y > 1] > 1).all(),
    "whole numbers": lambda T, y: put(n := y.long(), m := n > 1, n[m] // 2 % 3),
    "whole numbers, divided": lambda T, y: put(n := y.long(), m := n != 0, 12 // n[m] % (n[m] * 2)),
    "cut off": lambda T, y: put(n := y.long(), m := n > 1, (y[m] * 2).long()),
    "half": lambda T, y: scaled(y.half(), y > 1, 0.5),
    "a chain in place": chained,
    "an operand with a gradient that is not selected": lambda T, y: put(
        z := y.detach(), m := z > 100, z[m] * (y.sum() - y.sum()).sqrt()
    ),
    "in the original": lambda T, y: scaled(y.detach(), y > 1, 3.0) + y,
}
COUNTED = {
    "returned": lambda T, y: y[y > 1],
    "returned within": lambda T, y: {"a": [y[y > 1] * 2]}["a"][0],
    "its shape": lambda T, y: y * y[y > 1].shape[0],
    "its length": lambda T, y: y * len(y[y > 1]),
    "sorted": lambda T, y: y[y > 1].sort().values,
    "the largest": lambda T, y: y[y > 1].max(),
    "another mask": lambda T, y: put(y, y > 1, y[y > 2]),
    "two masks": lambda T, y: y[y > 1] + y[y > 2],
    "the mask as it was": lambda T, y: put(y, y > 1, put(y, y > 1, 2.0)[y > 1] * 2),
    "other elements": lambda T, y: put(y, m := y[:, 0] > 0, y.t()[:, m].sum(1) * y[m].numel()),
    "as many numbers": lambda T, y: put(y, m := y > 1, y[m] * T.tensor([1.0, 2.0, 3.0])),
    "random numbers": lambda T, y: put(y, m := y > 1, T.rand_like(y[m]).ceil()),
    "a matrix": lambda T, y: y[y[:, 0] > 0] @ y.t(),
    "a hook": lambda T, y: doubling(y[y > 1]),
    "a truth": lambda T, y: y if y[y > 5] else -y,
    "masked_select": lambda T, y: T.masked_select(y, y > 1).exp(),
    "selected twice": lambda T, y: y[y > 1][y[y > 1] > 3] * 2,
    "a Python loop": lambda T, y: sum(v * k for k, v in enumerate(y[y > 1])),
    "reshaped": lambda T, y: y[y > 1].reshape(-1, 1) * y[y > 1],
    "without a gradient": lambda T, y: y.sum() * y.detach()[y > 1].max(),
    "in place, other elements": lambda T, y: (z := y[y > 1], z.mul_(y[y > 2] - 1), z)[0].exp(),
    "a gradient of it": lambda T, y: T.autograd.grad(
        (w := y.detach().requires_grad_())[w > 1] ** 3, w, T.tensor([1.0, 2.0, 3.0]))[0] + y,
    "a backward from it": lambda T, y: (
        w := y.detach().requires_grad_(), (w[w > 1] ** 2).backward(T.tensor([1.0, 2.0, 3.0])),
        w.grad * y)[2],
    "checkpointed": lambda T, y: T.utils.checkpoint.checkpoint(
        lambda v: v.sin() * len(v), y[y > 1], use_reentrant=False),
    "stacked": lambda T, y: T.cat([y[y > 1], y[y > 2]]).sum(),
}


def outcome(T, program, compiled):
    x = T.tensor([[1.0, -2.0, 3.0], [4.0, 0.0, 6.0]], requires_grad=True)

    def run(x):
        return program(T, x * 1)

    y = (T.compile(run) if compiled else run)(x)
    found = [y.detach()]
    if y.requires_grad:
        (g,) = T.autograd.grad((y * y).sum(), x, create_graph=True)
        found.append(g.detach())
        if g.requires_grad:
            found += T.autograd.grad((g * g).sum(), x, allow_unused=True)
    return [None if v is None else v.numpy() for v in found]


def equal(a, b):
    return all(
        (p is None) == (q is None)
        and (p is None or p.dtype == q.dtype and p == pytest.approx(q, rel=1e-4, nan_ok=True))
        for p, q in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_selection_written_back_or_summed_is_torchs(program):
    want = outcome(torch, program, False)
    assert equal(outcome(tracegrad, program, False), want)
    assert equal(outcome(tracegrad, program, True), want)
    x, f = tracegrad.ones(2, 3), tracegrad.compile(lambda x: program(tracegrad, x * 1))
    f(x)
    assert not f.tracegrad_state.programs.last().stages  # nothing had to be counted


@pytest.mark.parametrize("program", COUNTED.values(), ids=COUNTED)
def test_what_needs_the_number_of_selected_elements_is_torchs(program):
    want = outcome(torch, program, False)
    assert equal(outcome(tracegrad, program, False), want)
    assert equal(outcome(tracegrad, program, True), want)


@pytest.mark.parametrize("program", COUNTED.values(), ids=COUNTED)
def test_what_needs_that_number_is_refused_as_a_whole_graph(program):
    x = tracegrad.tensor([[1.0, -2.0, 3.0], [4.0, 0.0, 6.0]])
    with pytest.raises(RuntimeError, match=r"fullgraph.*test_compile_masks\.py:"):
        tracegrad.compile(lambda x: program(tracegrad, x * 1), fullgraph=True)(x)


def test_a_selected_zero_is_not_divided_by():
    @tracegrad.compile
    def divided(n, m):
        n[m] = 12 // n[m]
        return n * 1

    n, m = tracegrad.tensor([0, 3, 4]), tracegrad.tensor([False, True, True])
    assert divided(n, m).tolist() == [0, 4, 3]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        divided(n, ~m)
    assert n.tolist() == [0, 4, 3]


def test_a_value_that_backward_needs_must_not_be_written_under_a_mask():
    for T in (torch, tracegrad):
        for compiled in (False, True)[: 1 + (T is tracegrad)]:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                outcome(T, lambda T, y: put(y, m := y[:, 0] > 0, y[m] * y[0]), compiled)


def test_a_step_that_writes_under_a_mask_trains_as_eagerly():
    def train(compiled):
        tracegrad.manual_seed(0)
        w = tracegrad.randn(4, 3, requires_grad=True)
        x = tracegrad.randn(16, 4)
        opt = tracegrad.optim.SGD([w], lr=0.05, momentum=0.9)

        def step(x):
            opt.zero_grad()
            y = x @ w
            y[y > 1] *= 0.5
            y[y < 0] = y[y < 0].exp() - 1
            loss = y.square().mean() + y[y > 0].sum() * 0.01
            loss.backward()
            opt.step()
            return loss

        run = tracegrad.compile(step) if compiled else step
        return [run(x).item() for _ in range(8)], w.detach().numpy()

    (a, u), (b, v) = train(False), train(True)
    assert a == pytest.approx(b, rel=1e-5)
    assert u == pytest.approx(v, rel=1e-4)
