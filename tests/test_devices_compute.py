"""Computing on devices: eagerly and compiled, on GPUs in the memory of the host, with the CPU's
kernels (fake_gpus) and with kernels for GPUs in plain Python (plain_gpus); and memory shared with
other libraries.
"""

import gc
import pickle
import threading

import numpy as np
import pytest
from fake_gpu import fake_gpus, plain_gpus

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.driver.gpus import gpus as the_gpus
from tracegrad.functions.torch import device_exchange

F = nn.functional


@pytest.fixture
def gpus():
    with fake_gpus(2) as gpus:
        yield gpus


# ---- eagerly
OPERATIONS = {
    "arithmetic": lambda x, k: (x * 2 - x / 3) ** 2 + 1.5, "logic": lambda x, k: (x > 0) & (x < 1),
    "product": lambda x, k: x @ x.t(), "reductions": lambda x, k: (x.sum(0), x.mean(), x.amax(1)),
    "views": lambda x, k: x.t()[1:, ::2].reshape(-1)[::2] + 0,
    "strided": lambda x, k: x.t() * x.t(),
    "softmax": lambda x, k: F.softmax(x, 1), "norm": lambda x, k: F.layer_norm(x, (4,)),
    "gather": lambda x, k: x.gather(1, k), "mask": lambda x, k: x[x > 0],
    "sort": lambda x, k: x.sort(1), "rows": lambda x, k: x[k[0, :2] % 3, 1],
    "nonzero": lambda x, k: (x > 0).nonzero(), "cat": lambda x, k: tg.cat([x, x + 1], 1),
    "cumulative": lambda x, k: (x.cumsum(1), x.cummax(0)), "one_hot": lambda x, k: F.one_hot(k),
    "scatter": lambda x, k: tg.zeros_like(x).scatter_add(1, k, x), "topk": lambda x, k: x.topk(2),
    "half": lambda x, k: (x.half() * 3).sum(), "bfloat16": lambda x, k: x.bfloat16() + 1,
    "convolution": lambda x, k: F.conv1d(x[None], x[:, :3, None].expand(3, 3, 2)),
    "attention": lambda x, k: F.scaled_dot_product_attention(*[x[None]] * 3, is_causal=True),
    "pooling": lambda x, k: F.max_pool1d(x[None], 2), "padding": lambda x, k: F.pad(x, (1, 2)),
    "interpolation": lambda x, k: F.interpolate(x[None], scale_factor=2, mode="linear"),
    "factorisation": lambda x, k: tg.linalg.inv(x[:, :3] + 5 * tg.eye(3, device=x.device)),
    "unique": lambda x, k: k.unique(), "median": lambda x, k: x.median(),
    "einsum": lambda x, k: tg.einsum("ij,kj->ik", x, x),
    "integers": lambda x, k: (k // 2, k % 3, k << 1), "triangle": lambda x, k: x.tril(),
    "empty": lambda x, k: (x[:0].sum(0), x[:, :0] + 1), "flip": lambda x, k: x.flip(0, 1),
    "repeat": lambda x, k: (x.repeat(2, 1), x.repeat_interleave(2, 0)),
    "bits": lambda x, k: (x.view(tg.int32), x.view(tg.uint8), x.double().view(tg.int16)),
    "statistics": lambda x, k: (x.std(), x.var(0), tg.quantile(x, 0.3), x.histc(4)),
    "losses": lambda x, k: (F.cross_entropy(x, k[:, 0]), F.mse_loss(x, x * 2), F.l1_loss(x, x * x)),
    "lengths": lambda x, k: F.ctc_loss(
        x[:, None].log_softmax(2), k[:1, 1:2], tg.tensor([3]), tg.tensor([1])),
    "a recurrent layer": lambda x, k: _recurrent(x),
}


def _recurrent(x):
    tg.manual_seed(1)
    return nn.LSTM(4, 3, 2).to(x.device)(x)


def _flat(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [t for part in parts for t in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_give_on_a_gpu_what_they_give_on_the_cpu(gpus, operation):
    x = tg.randn(3, 4, generator=tg.Generator().manual_seed(0))
    k = tg.arange(12).reshape(3, 4) % 4
    here, there = _flat(operation(x, k)), _flat(operation(x.cuda(1), k.cuda(1)))
    for a, b in zip(here, there, strict=True):
        assert str(b.device) == "cuda:1" and (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.stride() == b.stride()
        tg.testing.assert_close(b.cpu(), a)


def test_programs_of_operations_are_kept(gpus):
    device = the_gpus.device(0)
    x = tg.ones(5, 7, device="cuda")
    (x + x).exp().tolist()
    before = device.programs
    for _ in range(3):
        (x + x).exp().tolist()
    assert device.programs == before
    (x.t() + x.t()).exp()  # another layout
    assert device.programs == before + 2


def test_parameters_that_compare_equal_are_not_taken_for_each_other(gpus):
    x = tg.ones(1, device="cuda")
    for value in (0.0, -0.0, float("nan"), 1, True, 1.0):
        here, there = F.pad(tg.ones(1), (1, 0), value=value), F.pad(x, (1, 0), value=value)
        assert str(here.tolist()) == str(there.tolist()) and here.dtype is there.dtype


def test_views_share_memory_and_in_place_changes_reach_them(gpus):
    x = tg.zeros(3, 4, device="cuda")
    row, column = x[1], x.t()[2]
    row.fill_(1)
    column.add_(5)
    x[::2, 1:3] *= 10
    x.t()[0].copy_(tg.tensor([7.0, 8.0, 9.0]))
    assert x.tolist() == [[7, 0, 50, 0], [8, 1, 6, 1], [9, 0, 50, 0]]
    assert row.tolist() == [8, 1, 6, 1] and x._version == row._version and row.storage_offset() == 4
    with pytest.raises(RuntimeError, match="more than one element"):
        x[0].expand(3, 4).add_(1)
    x.resize_(2, 2)
    assert x.tolist() == [[7, 0], [50, 0]]
    y = x.resize_(2, 3)
    assert y.shape == (2, 3) and y.device.type == "cuda"


def test_gradients_of_any_order(gpus):
    grads = []
    for where in ("cpu", "cuda"):
        x = tg.tensor([[0.3, -1.0], [2.0, 0.5]], device=where, requires_grad=True)
        y = (x.tanh() @ x).sin().sum()
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        (h,) = tg.autograd.grad((g * g).sum(), x, retain_graph=True)
        y.backward()
        grads.append((g, h, x.grad, tg.func.hessian(lambda x: (x**3).sum())(x.detach())))
    for a, b in zip(*grads, strict=True):
        assert b.device.type == "cuda"
        tg.testing.assert_close(b.cpu(), a)


def test_transforms_and_checks_of_derivatives(gpus):
    x = tg.tensor([0.5, 2.0], dtype=tg.float64, device="cuda", requires_grad=True)
    assert tg.autograd.gradcheck(lambda x: (x * x).sin(), x, check_forward_ad=True)
    assert tg.autograd.gradgradcheck(tg.exp, x)
    d = x.detach()
    for whole in (tg.autograd.functional.jacobian, lambda f, x: tg.func.jacrev(f)(x),
                  lambda f, x: tg.func.jacfwd(f)(x), lambda f, x: tg.func.vmap(tg.func.grad(f))(
                      x[:, None]).squeeze(1).diag()):
        y = whole(lambda x: (x**3).sum() if x.ndim and len(x) == 1 else x**3, d)
        assert y.device == d.device and y.tolist() == [[0.75, 0], [0, 12]]

    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    assert tg.autograd.grad(Square.apply(x).sum(), x)[0].tolist() == [1, 4]


def test_loops_and_branches(gpus):
    x = tg.arange(6.0, device="cuda").reshape(2, 3)
    w = tg.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    scan = tg._higher_order_ops.scan

    def f(x):
        c, ys = scan(lambda c, s: (c * w + s, c - s), tg.zeros(3, device="cuda"), x)
        n = tg._higher_order_ops.while_loop(lambda n: n < 5, lambda n: (n * 2,), (x[0, 1].long(),))
        side = tg.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (c,))
        return (c * side).sum() + ys.sum() + n[0]

    results = []
    for g in (f, tg.compile(f)):
        w.grad = None
        y = g(x)
        y.backward()
        results.append((y.item(), w.grad.tolist()))
        assert y.device == w.grad.device == x.device
    assert results[0] == results[1]


def test_threads_have_their_own_current_device(gpus):
    f, x, seen = tg.compile(lambda x: (x * 2).sin()), tg.ones(3, device="cuda:1"), []

    def work(k):
        tg.cuda.set_device(k % 2)
        seen.extend((tg.zeros(1).cuda().get_device() == k % 2,
                     all(f(x).tolist() == (x * 2).sin().tolist() for _ in range(10))))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert seen == [True] * 8 and tg.cuda.current_device() == 0


# ---- compiled
def _trained(where, optimizer, compiled=True, steps=3):
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3),
                          nn.Linear(8, 3)).to(where)
    opt = optimizer(model.parameters())

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    step = tg.compile(step) if compiled else step
    x, y = tg.randn(16, 4, device=where), tg.randint(0, 3, (16,), device=where)
    losses = [step(x, y) for _ in range(steps)]
    assert {t.device for t in (*losses, *(p.grad for p in model.parameters()))} == {x.device}
    state = [v for s in opt.state.values() for v in s.values() if isinstance(v, tg.Tensor)]
    assert {v.device for v in state} <= {x.device}
    return [loss.item() for loss in losses], opt, model


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9), "Adam": lambda p: optim.Adam(p, 0.01),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01), "Adagrad": lambda p: optim.Adagrad(p, 0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_training_step_on_a_gpu_is_that_of_the_cpu(gpus, optimizer):
    here, there = _trained("cpu", optimizer), _trained("cuda", optimizer)
    eager = _trained("cuda", optimizer, compiled=False)
    np.testing.assert_allclose(there[0], here[0], 1e-5)
    np.testing.assert_allclose(eager[0], here[0], 1e-5)
    state = pickle.loads(pickle.dumps(there[1].state_dict()))
    there[2].cpu()
    other = optimizer(there[2].parameters())
    other.load_state_dict(state)
    kept = [v for s in other.state.values() for v in s.values() if isinstance(v, tg.Tensor)]
    assert kept and {v.device.type for v in kept} == {"cpu"}


def test_the_device_is_part_of_the_signature(gpus):
    f, x = tg.compile(lambda x: (x * 2).sum()), tg.ones(3)
    g = x.cuda()
    for given in (x, g, x, g.to("cuda:1"), g, x):
        assert f(given).device == given.device and f(given).item() == 6
    assert f.tracegrad_state.traces == 3
    assert f.tracegrad_state.why.endswith(": float32[3] became float32[3] on cuda:1")


def test_a_captured_tensor_that_moves_is_noticed(gpus):
    model = nn.Linear(3, 1)
    f = tg.compile(lambda x: model(x))
    x = tg.ones(2, 3)
    first = f(x)
    model.cuda()
    assert f(x.cuda()).tolist() == first.tolist()
    with pytest.raises(RuntimeError, match="on one device, here cuda:0, and uses a tensor"):
        f(x)
    model.cpu()
    assert f(x).device.type == "cpu"


def test_a_compiled_function_computes_on_one_device(gpus):
    g, c = tg.ones(3, device="cuda"), tg.ones(3)
    for mixed in (lambda x: x + c, lambda x: x + tg.ones(3, device="cuda:1"),
                  lambda x: x.to("cuda:1")):
        with pytest.raises(RuntimeError, match="computes on one device, here cuda:0.*test_devices"):
            tg.compile(mixed)(g)
    with pytest.raises(RuntimeError, match="found at least two devices"):
        tg.compile(lambda x, y: x + y)(g, c)
    inside = tg.compile(lambda x: (x + tg.tensor([1.0, 2.0, 3.0]) + tg.ones(3, device="cuda"),
                                   tg.zeros_like(x), x.device, x.is_cuda, x.to("cuda")))
    total, zeros, *facts = inside(g)
    assert total.tolist() == [3, 4, 5] and zeros.device == g.device
    assert facts[:2] == [g.device, True] and facts[2].device == g.device


def test_values_that_python_looks_at(gpus):
    @tg.compile
    def f(x, k):
        y = x * k
        if y.sum() > 3:
            return y - y.max().item()
        return y[y > 0]

    g = tg.tensor([1.0, -1.0, 2.0], device="cuda")
    for k in (1, 3, 2, 5):
        want = g.cpu() * k
        want = want - want.max() if want.sum() > 3 else want[want > 0]
        assert f(g, k).tolist() == want.tolist() and f(g, k).device == g.device


def test_backward_of_a_compiled_loss(gpus):
    w = tg.tensor([0.5, -1.0], device="cuda", requires_grad=True)
    loss = tg.compile(lambda x: (x @ w).sin().sum())
    for k in range(3):
        x = tg.full((3, 2), float(k + 1), device="cuda")
        w.grad = None
        loss(x).backward()
        v = w.detach().cpu().requires_grad_()
        (x.cpu() @ v).sin().sum().backward()
        tg.testing.assert_close(w.grad.cpu(), v.grad)
    (g,) = tg.autograd.grad(loss(x), w, create_graph=True)  # by running the function again
    assert tg.autograd.grad(g.sum(), w)[0].device.type == "cuda"


def test_what_needs_the_host_says_so(gpus, tmp_path):
    f, g = tg.compile(lambda x: x * 2), tg.ones(2, device="cuda")
    f(g)
    with pytest.raises((RuntimeError, TypeError), match="cuda:0"):
        f.export(tmp_path / "p", g)


def test_all_of_it_with_kernels_for_gpus():
    with plain_gpus():
        driver = the_gpus.device(0).driver
        losses, *_ = _trained("cuda", OPTIMIZERS["Adam"], steps=4)
        sizes = [int(line.split()[1]) for line in driver.log if line.startswith("graph")]
        largest = max(sizes)  # one graph for each step, recorded once
        assert sizes.count(largest) >= 2 and driver.log.count(f"capture {largest}") == 1
        x = tg.arange(6.0, device="cuda").reshape(2, 3)
        x.t()[1].mul_(10)
        with pytest.raises(IndexError, match="index 9 is out of bounds"):
            x[tg.tensor([9])]
        numbers = [x.softmax(1), x @ x.t(), x.cumsum(0), x.sort(1, True)[0], x[x > 2], x.half() + 1]
        numbers = [y.cpu() for y in numbers]
    here = tg.tensor([[0.0, 10.0, 2.0], [3.0, 40.0, 5.0]])
    wanted = [here.softmax(1), here @ here.t(), here.cumsum(0), here.sort(1, True)[0],
              here[here > 2], here.half() + 1]
    np.testing.assert_allclose(losses, _trained("cpu", OPTIMIZERS["Adam"], steps=4)[0], 1e-5)
    for a, b in zip(numbers, wanted, strict=True):
        tg.testing.assert_close(tg.tensor(a), b)


# ---- shared with other libraries
class Foreign:
    """A tensor of another library, that speaks only the protocol."""

    def __init__(self, t, protocol):
        if protocol == "dlpack":
            self.__dlpack__ = t.__dlpack__
        else:
            self.__cuda_array_interface__ = t.__cuda_array_interface__
        self.t = t

    def __dlpack_device__(self):
        return self.t.__dlpack_device__()


KINDS = (tg.float32, tg.float64, tg.float16, tg.int64, tg.int8, tg.uint8, tg.bool)


@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_memory_goes_to_other_libraries_and_back(gpus, dtype):
    x = tg.tensor([[1, 0, 1], [0, 1, 1]], dtype=dtype, device="cuda:1").t()[:, 1:]
    for take in (tg.from_dlpack, lambda x: tg.from_dlpack(tg.to_dlpack(x))):
        y = take(x)
        assert (y.tolist(), y.dtype, y.stride()) == (x.tolist(), dtype, x.stride())
        assert y.device == x.device and y.data_ptr() == x.data_ptr()
    with tg.cuda.device(1):
        y = tg.as_tensor(Foreign(x, "interface"), device="cuda")
        assert (y.tolist(), y.dtype, y.stride()) == (x.tolist(), dtype, x.stride())
    y[0, 0] = 0
    assert x[0, 0] == 0
    assert tg.from_dlpack(x, device="cpu").device.type == "cpu"


def test_shared_memory_lives_as_long_as_somebody_has_it(gpus):
    assert tg.ones(1000, device="cuda").sum() == 1000  # keeps programs and a number
    before = tg.cuda.memory_allocated()
    x = tg.ones(1000, device="cuda")
    y = tg.from_dlpack(tg.to_dlpack(x))
    capsule = tg.to_dlpack(x)
    del x
    assert y.sum() == 1000 and tg.cuda.memory_allocated() > before
    del y, capsule
    gc.collect()
    device_exchange._forget_abandoned()
    assert not device_exchange._exports and tg.cuda.memory_allocated() == before
    capsule = tg.to_dlpack(tg.ones(2, device="cuda"))
    tg.from_dlpack(capsule)
    with pytest.raises((RuntimeError, ValueError)):
        tg.from_dlpack(capsule)


def test_memory_that_cannot_be_shared(gpus):
    g = tg.ones(2, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="Variable that requires grad"):
        g.__cuda_array_interface__  # noqa: B018
    with pytest.raises(BufferError, match="require gradient"):
        tg.to_dlpack(g)
    assert not hasattr(tg.ones(1), "__cuda_array_interface__")
    with pytest.raises((RuntimeError, BufferError)):
        np.from_dlpack(g.detach())
    right = g.detach().__cuda_array_interface__
    for change, error, words in (
        ({"data": (g.data_ptr(), True)}, ValueError, "read-only"),
        ({"shape": (-1,)}, BufferError, "negative"), ({"strides": (-4,)}, BufferError, "negative"),
        ({"strides": (4, 4)}, ValueError, "zip"), ({"typestr": "<c8"}, TypeError, "complex64"),
        ({"mask": g}, ValueError, "masked"),
    ):
        facts = {"__cuda_array_interface__": {**right, **change}}
        with pytest.raises(error, match=words):
            tg.as_tensor(type("Holder", (), facts)(), device="cuda")
    assert g.detach().__dlpack_device__() == (2, 0) and tg.ones(1).__dlpack_device__() == (1, 0)
    half = tg.ones(2, device="cuda").bfloat16()
    assert tg.from_dlpack(tg.to_dlpack(half)).dtype is tg.bfloat16
