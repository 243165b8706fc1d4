"""Changes through `.data` between forward and backward: torch's meaning eagerly, an error where a
compiled call came before.
"""

from __future__ import annotations

import gc

import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

FUNCTIONS = {
    "square": lambda a, b: a * a,
    "mul": lambda a, b: a * b,
    "pow": lambda a, b: a**3,
    "div": lambda a, b: b / a,
    "outer": lambda a, b: a.view(2, 2) @ b.view(2, 2),
    "sin": lambda a, b: a.sin() + a.log(),
    "exp": lambda a, b: a.exp() * b.tanh(),
}
USES = {
    "leaf": lambda a: a,
    "computed": lambda a: a * 1.5,
    "view": lambda a: a[:4],
}
CHANGES = {
    "other": lambda lib, t: setattr(t, "data", lib.tensor([9.0, 8.0, 7.0, 6.0])),
    "strided": lambda lib, t: setattr(t, "data", lib.arange(1.0, 9.0)[::2]),
    "twice": lambda lib, t: [setattr(t, "data", t.data * k) for k in (2, 3)],
    "written": lambda lib, t: t.data.mul_(2),
    "one": lambda lib, t: t.data.__setitem__(1, 5.0),
}


def gradients(lib, function, use, change, made=lambda f: f):
    a = lib.tensor([1.0, 2.0, 3.0, 4.0, 5.0][: 5 if use == "view" else 4], requires_grad=True)
    b = lib.tensor([0.5, 0.25, 2.0, 1.0], requires_grad=True)
    t = USES[use](a)
    out = made(FUNCTIONS[function])(t, b)
    CHANGES[change](lib, t)
    out.sum().backward()
    return a.grad.tolist(), None if b.grad is None else b.grad.tolist()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_backward_reads_the_data_that_an_input_has(function, use):
    for change in CHANGES:
        want, got = (gradients(lib, function, use, change) for lib in (torch, tg))
        for x, y in zip(want, got, strict=True):
            assert x == y or x == pytest.approx(y, rel=1e-5), change


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", CHANGES)
def test_backward_of_a_compiled_call_refuses_changed_data(change, use):
    for function in ("square", "sin", "outer"):
        with pytest.raises(RuntimeError, match=r"through `\.data`: a tensor of shape \[4\]"):
            gradients(tg, function, use, change, tg.compile)


def trained(lib, made):
    p = lib.tensor([1.0, -2.0], requires_grad=True)
    f = made(lambda p: (p.exp() * p).sum())
    losses = []
    for k in range(6):
        loss = f(p)
        loss.backward()
        losses.append(loss.item())
        if k % 2:
            p.data = p.data - 0.1 * p.grad
        else:
            p.data.sub_(0.1 * p.grad)
        p.grad = None
    return losses, p


@pytest.mark.parametrize("made", [lambda f: f, tg.compile])
def test_steps_through_data_train_and_leave_one_note(made):
    (want, _), (got, p) = trained(torch, lambda f: f), trained(tg, made)
    assert got == pytest.approx(want, rel=1e-4)
    assert len(p._version) <= 3


def test_data_set_before_the_tensor_goes_counts():
    def run(lib):
        a = lib.tensor([2.0], requires_grad=True)
        t = a * 1
        out = t * t
        t.data = lib.tensor([5.0])
        del t
        gc.collect()
        out.backward()
        return a.grad.item()

    assert run(tg) == run(torch) == 10


def test_an_alias_with_other_data_is_another_tensor():
    for lib in (torch, tg):
        a = lib.tensor([2.0], requires_grad=True)
        out = a * a
        a.detach().data = lib.tensor([5.0])
        out.backward()
        assert a.grad.item() == 4


def test_an_output_that_was_saved_stays():
    def run(lib):
        class Cube(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x**3
                ctx.save_for_backward(x, y)
                return y

            @staticmethod
            def backward(ctx, g):
                x, y = ctx.saved_tensors
                return g * x + 100 * y

        a = lib.tensor([2.0], requires_grad=True)
        b, c = Cube.apply(a), a.exp()
        for t in (a, b, c):
            t.data = lib.tensor([7.0])
        (b + c).backward()
        return a.grad.item()

    assert run(tg) == pytest.approx(run(torch))


def test_data_of_another_shape_is_refused():
    a = tg.ones(3, requires_grad=True)
    out = a * a
    a.data = tg.ones(1)
    with pytest.raises(RuntimeError, match=r"of shape \[3\], was given data of shape \[1\] since"):
        out.sum().backward()


def test_data_set_within_a_compiled_step_is_what_its_backward_reads():
    def step(lib, a):
        loss = (a * a).sum()
        a.data = a.data * 3
        loss.backward()
        return a.grad

    for made in (lambda f: f, tg.compile):
        a = tg.ones(2, requires_grad=True)
        assert made(lambda a: step(tg, a))(a).tolist() == [6.0, 6.0]


COMPOSITES = {
    "prod": lambda lib, a: a.prod(),
    "norm": lambda lib, a: lib.linalg.vector_norm(a, 1.5),
    "largest": lambda lib, a: lib.linalg.vector_norm(a.view(2, 2), float("inf"), dim=1),
    "var": lambda lib, a: a.var(),
    "std_mean": lambda lib, a: lib.std_mean(a)[0],
    "softmax": lambda lib, a: lib.softmax(a, 0),
    "log_softmax": lambda lib, a: lib.log_softmax(a, 0),
    "logsumexp": lambda lib, a: lib.logsumexp(a.view(2, 2), 1),
    "cumprod": lambda lib, a: a.cumprod(0),
    "clamp": lambda lib, a: a.clamp(1.5, 3.5),
    "gelu": lambda lib, a: lib.nn.functional.gelu(a),
    "hardtanh": lambda lib, a: lib.nn.functional.hardtanh(a, -1, 2.5),
    "mse_loss": lambda lib, a: lib.nn.functional.mse_loss(a, lib.ones(4)),
    "layer_norm": lambda lib, a: lib.nn.functional.layer_norm(a, (4,)),
    "dist": lambda lib, a: lib.dist(a, lib.ones(4)),
    "logit": lambda lib, a: (a / 20).logit(),
    "logsigmoid": lambda lib, a: lib.nn.functional.logsigmoid(a),
    "softshrink": lambda lib, a: lib.nn.functional.softshrink(a, 4.0),
    "hardshrink": lambda lib, a: lib.nn.functional.hardshrink(a, 4.0),
    "pdist": lambda lib, a: lib.pdist(a.view(2, 2)),
    "smooth_l1_loss": lambda lib, a: lib.nn.functional.smooth_l1_loss(a, lib.ones(4)),
    "huber_loss": lambda lib, a: lib.nn.functional.huber_loss(a, lib.ones(4)),
    "nanmedian": lambda lib, a: a.nanmedian(),
    "ldexp": lambda lib, a: lib.ldexp(a, a.flip(0)),
    "index_reduce": lambda lib, a: a.index_reduce(0, lib.tensor([0, 0]), a[1:3], "prod"),
    "scatter_reduce": lambda lib, a: a.scatter_reduce(
        0, lib.tensor([0, 0, 1, 0]), a.flip(0), "prod"
    ),
    "attention": lambda lib, a: lib.nn.functional.scaled_dot_product_attention(
        *[a.view(1, 1, 2, 2)] * 3
    ),
    "erfinv": lambda lib, a: (a / 20).erfinv(),
    "det": lambda lib, a: lib.linalg.det(a.view(2, 2)),
    "linear": lambda lib, a: lib.nn.functional.linear(a, a.view(1, 4)),
    "mean": lambda lib, a: a.mean(),
    "embedding": lambda lib, a: lib.nn.functional.embedding(lib.tensor([0, 1]), a.view(2, 2)),
}
WRITES = {
    "set": lambda lib, t: setattr(t, "data", lib.full(tuple(t.shape), 6.0)),
    "written": lambda lib, t: t.data.mul_(2),
}


@pytest.mark.parametrize("of", ["input", "output"])
@pytest.mark.parametrize("name", COMPOSITES)
def test_backward_of_several_primitives_is_that_of_torch_or_refuses(name, of):
    def run(lib, change):
        a = lib.tensor([4.0, 3.0, 2.0, 5.0], requires_grad=True)
        t = a * 1.5
        y = COMPOSITES[name](lib, t)
        change(lib, t if of == "input" else y)
        (y * lib.arange(1.0, 1 + y.numel()).view(y.shape)).sum().backward()
        return a.grad.tolist()

    for kind, change in WRITES.items():
        want = run(torch, change)
        try:
            got = run(tg, change)
        except RuntimeError as error:
            assert f"through `.data`: an {of} of " in str(error)
            assert name not in ("linear", "mean", "embedding"), "torch reads nothing there"
            assert (of, kind) != ("output", "set")
        else:
            assert got == pytest.approx(want, rel=1e-4, nan_ok=True), kind


def test_what_changes_before_a_function_or_in_another_tensor_refuses_nothing():
    def run(lib):
        a, other = (lib.tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in range(2))
        a.data.mul_(2)
        loss = a.softmax(0)[1] + a.prod() + a.norm()
        other.data.mul_(2)
        loss.backward(retain_graph=True)
        loss.backward()
        return a.grad.tolist()

    assert run(tg) == pytest.approx(run(torch), rel=1e-5)


def test_new_data_of_tensors_that_are_gone_is_forgotten():
    x = tg.ones(3)
    for _ in range(20):
        x.detach().data = tg.zeros(3)
    assert len(x._version) <= 3


def test_backward_has_the_new_data_of_a_tensor_that_is_gone():
    def run(lib):
        a = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
        t = a * 2
        y, alias = t * t, t.detach()
        t.data = lib.full((3,), 5.0)
        del t
        for k in range(3):
            alias.detach().data = lib.full((3,), float(k))
        y.sum().backward()
        return a.grad.tolist()

    assert run(tg) == run(torch) == [20, 20, 20]


PRODUCTS = {
    **{f"power {n}": lambda lib, a, b, n=n: lib.linalg.matrix_power(a, n) for n in range(-3, 8)},
    **{f"chain of {n}": lambda lib, a, b, n=n: lib.linalg.multi_dot([a, b, a, b, a][:n])
       for n in (2, 3, 4, 5)},
    "chain from a vector": lambda lib, a, b: lib.linalg.multi_dot([a[0], b, a]),
    "chain to a vector": lambda lib, a, b: lib.linalg.multi_dot([a, b, a[0]]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_many_read_what_torch_reads(name):
    def run(lib, change):
        a = lib.tensor([[1.0, 2.0], [0.5, -1.0]], requires_grad=True)
        b = lib.tensor([[0.5, 1.0], [2.0, 0.25]], requires_grad=True)
        t = a * 1
        out = PRODUCTS[name](lib, t, b)
        change(lib, t, b)
        out.sum().backward()
        return [[] if x.grad is None else x.grad.flatten().tolist() for x in (a, b)]

    for change in (
        lambda lib, t, b: t.data.mul_(2),
        lambda lib, t, b: setattr(t, "data", lib.ones(2, 2)),
        lambda lib, t, b: b.data.add_(1),
    ):
        for mine, theirs in zip(run(tg, change), run(torch, change), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-5)
