"""`autocast` and `GradScaler`: dtypes, numbers and skipped steps are torch's, compiled too."""

from __future__ import annotations

import pytest
from fake_gpu import fake_gpus

import tracegrad as tg
from tracegrad.nn import functional as F

DTYPES = {
    "a product": lambda T, x: x @ x,
    "a method": lambda T, x: x.mm(x),
    "a batch of products": lambda T, x: T.bmm(x[None], x[None]),
    "einsum": lambda T, x: T.einsum("ij,jk->ik", x, x),
    "a layer": lambda T, x: T.nn.Linear(4, 2)(x),
    "a convolution": lambda T, x: T.nn.functional.conv1d(x[None], x[:, :, None]),
    "attention": lambda T, x: T.nn.MultiheadAttention(4, 1)(x, x, x)[0],
    "what follows": lambda T, x: T.nn.functional.gelu(x @ x).softmax(-1),
    "a sum": lambda T, x: (x @ x).sum(),
    "a loss": lambda T, x: T.nn.functional.cross_entropy(x @ x, T.arange(4)),
    "a loss layer": lambda T, x: T.nn.MSELoss()(x @ x, x),
    "a product of all": lambda T, x: (x @ x).prod(),
    "an inverse": lambda T, x: T.linalg.inv((x @ x) + 9 * T.eye(4)),
    "the widest of a list": lambda T, x: T.cat([x @ x, x]),
    "alike in a list": lambda T, x: T.stack([x @ x, x @ x]),
    "a mirror": lambda T, x: T.nn.functional.pad((x @ x)[None], (1, 1), "reflect"),
    "zeros around": lambda T, x: T.nn.functional.pad(x @ x, (1, 1)),
    "elementwise": lambda T, x: (x @ x) + x,
    "float64": lambda T, x: x.double() @ x.double(),
    "integers": lambda T, x: T.arange(4) + 1,
}


def numbers(T):
    return T.sin(T.arange(16.0)).reshape(4, 4)


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_are_torchs(name):
    torch = pytest.importorskip("torch")
    results = []
    for T in (tg, torch):
        with T.autocast("cpu"):
            results.append(DTYPES[name](T, numbers(T)))
    ours, theirs = results
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    if "layer" != name.removeprefix("a ") and name != "attention":  # whose weights are random
        expected = tg.from_numpy(theirs.double().detach().numpy())
        assert tg.allclose(ours.double(), expected, rtol=2e-2, atol=2e-2)


def network():
    tg.manual_seed(0)
    nn = tg.nn
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def test_a_compiled_step_casts_as_the_eager_one():
    def trained(wrap):
        model = network()
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            with tg.autocast("cpu"):
                output = model(x)
                loss = tg.nn.functional.cross_entropy(output, y)
            loss.backward()
            optimizer.step()
            return output.detach(), loss.detach()

        step = wrap(step)
        results = [step(numbers(tg), tg.arange(4) % 3) for _ in range(4)]
        return results, [p.detach() for p in model.parameters()]

    eager, parameters = trained(lambda f: f)
    compiled, others = trained(tg.compile)
    for (a, b), (c, d) in zip(eager, compiled, strict=True):
        assert a.dtype is c.dtype is tg.bfloat16 and b.dtype is d.dtype is tg.float32
        assert tg.allclose(a.float(), c.float(), atol=1e-2) and tg.allclose(b, d, atol=1e-3)
    for a, b in zip(parameters, others, strict=True):
        assert a.dtype is b.dtype is tg.float32 and tg.allclose(a, b, atol=1e-3)


def test_a_compiled_function_sees_autocast_around_it():
    square, x = tg.compile(lambda x: x @ x), numbers(tg)
    for _ in range(2):
        assert square(x).dtype is tg.float32
        with tg.autocast("cpu"):
            assert square(x).dtype is tg.bfloat16
            with tg.autocast("cpu", enabled=False):
                assert square(x).dtype is tg.float32
        with tg.autocast("cpu", dtype=tg.float16):
            assert square(x).dtype is tg.float16
    assert square.cache_info().misses == 3 and "autocast" in square.explain()


def test_a_checkpoint_is_computed_again_as_it_was():
    model, x = network(), numbers(tg)
    gradients = []
    for run in (model, lambda x: tg.utils.checkpoint.checkpoint(model, x, use_reentrant=False)):
        model.zero_grad()
        with tg.autocast("cpu"):
            y = run(x).float().sum()
        y.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(tg.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_lists_of_gpus():
    with fake_gpus():
        c, g = numbers(tg), numbers(tg).cuda()
        with tg.autocast("cuda"):
            assert tg.is_autocast_enabled("cuda") and not tg.is_autocast_enabled("cpu")
            assert tg.get_autocast_dtype("cuda") is tg.float16 is (g @ g).dtype
            assert (c @ c).dtype is tg.float32  # of the CPU
            h = g @ g
            kinds = {
                tg.float16: (h.relu(), h + h, tg.cat([h, h]), F.linear(g, g), h.max()),
                tg.float32: (h.exp(), h.sum(), h.softmax(1), F.layer_norm(h, (4,)), h**2,
                             tg.cat([h, g]), F.cross_entropy(h, tg.zeros(4).long().cuda())),
            }
            for dtype, results in kinds.items():
                assert [y.dtype for y in results] == [dtype] * len(results)
            assert h.sum(dtype=tg.float16).dtype is tg.float16
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                F.binary_cross_entropy(h.sigmoid(), h.sigmoid())
            with tg.autocast("cuda", enabled=False):
                assert (g @ g).dtype is tg.float32
            with pytest.raises(RuntimeError, match="one kind of device"), tg.autocast("cpu"):
                pass
        f = tg.compile(lambda x: (x @ x).exp() + x)
        with tg.cuda.amp.autocast(dtype=tg.bfloat16):
            y = f(g)
            assert (g @ g).dtype is tg.bfloat16 and y.dtype is tg.float32
        tg.testing.assert_close(y, (g.bfloat16() @ g.bfloat16()).float().exp() + g)
        with pytest.warns(UserWarning, match="In CUDA autocast.*not supported"):
            assert not tg.autocast("cuda", dtype=tg.float64).enabled


def test_the_block_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), tg.autocast("cpu"):
        assert tg.is_autocast_enabled("cpu")
        1 / 0  # noqa: B018
    assert not tg.is_autocast_enabled("cpu") and (numbers(tg) @ numbers(tg)).dtype is tg.float32


def test_as_a_decorator():
    assert tg.autocast("cpu")(lambda x: x @ x)(numbers(tg)).dtype is tg.bfloat16


def test_what_cannot_be_cast_is_refused_or_said():
    with tg.autocast("cpu"), pytest.raises(RuntimeError, match="autocast has no rule for LSTM"):
        tg.nn.LSTM(4, 4)(numbers(tg))
    with pytest.warns(UserWarning, match="not supported: .*Disabling"):
        assert not tg.autocast("cpu", dtype=tg.float64).enabled
    if not tg.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available. Disabling"):
            assert not tg.cuda.amp.autocast().enabled


def scaled(T):
    w = T.tensor([1.0, 2.0], requires_grad=True)
    optimizer = T.optim.SGD([w], lr=0.5)
    scaler = T.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    seen = []
    for factor in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((w * w * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append((w.tolist(), scaler.get_scale()))
    return seen, scaler.state_dict()


def test_a_scaler_skips_and_grows_as_torchs():
    torch = pytest.importorskip("torch")
    assert scaled(tg) == scaled(torch)


def test_a_scaler_in_a_compiled_step():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.5)
    scaler = tg.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    @tg.compile
    def step(factor):
        optimizer.zero_grad()
        scaler.scale((w * w * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    seen = []
    for factor in (1.0, 1.0, float("inf"), 1.0, 1.0, 1.0):
        step(tg.tensor(factor))
        seen.append((w.tolist(), scaler.get_scale()))
    assert seen == scaled(tg)[0]


def test_a_scaler_says_what_is_wrong_and_keeps_its_state():
    w = tg.ones(2, requires_grad=True)
    optimizer, scaler = tg.optim.SGD([w], lr=0.1), tg.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called since the last update"):
        scaler.step(optimizer)
    scaler.update()
    other = tg.amp.GradScaler("cpu", init_scale=2.0)
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    off = tg.amp.GradScaler("cpu", enabled=False)
    assert off.scale(w) is w and off.get_scale() == 1.0 and off.state_dict() == {}


@pytest.mark.parametrize("compiled", [False, True])
def test_the_backward_of_a_function_is_cast_like_its_forward(compiled):
    class Product(tg.autograd.Function):
        @staticmethod
        @tg.amp.custom_fwd(device_type="cpu")
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        @tg.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return g @ w.T, x.T @ g

    def step(x, w):
        with tg.autocast("cpu"):
            y = Product.apply(x, w)
        y.float().sum().backward()
        return y

    x, w = tg.ones(3, 4, requires_grad=True), tg.full((4, 2), 0.5, requires_grad=True)
    y = (tg.compile(step) if compiled else step)(x, w)
    assert y.dtype is tg.bfloat16 and w.grad.dtype is tg.float32
    assert x.grad.tolist() == [[1.0] * 4] * 3 and w.grad.tolist() == [[3.0] * 2] * 4


def test_the_dtype_of_a_block_can_be_asked_for():
    with tg.autocast("cpu", dtype=tg.float16):
        assert tg.get_autocast_dtype("cpu") is tg.float16
        with tg.autocast("cpu"):
            assert tg.get_autocast_dtype("cpu") is tg.bfloat16
    assert tg.get_autocast_dtype("cpu") is tg.bfloat16
