"""Tensors of the CPU beside tensors of a GPU: numbers and indices, eagerly and in compiled
functions; values that a compiled function moves. Numbers are compared with those of the CPU,
devices with what torch gives.
"""

import subprocess
import sys

import pytest
from fake_gpu import fake_gpus, plain_gpus

import tracegrad as tg
from tracegrad import nn

F = nn.functional
HOW = {"eager": lambda f: f, "compiled": tg.compile}


@pytest.fixture
def gpus():
    with fake_gpus(2) as gpus:
        yield gpus


@pytest.fixture(params=HOW.values(), ids=HOW)
def how(request):
    return request.param


def table():
    return tg.arange(6.0).reshape(2, 3)


# ---- numbers
NUMBERS = {
    "a factor": lambda g, c: g * c, "the first operand": lambda g, c: c - g,
    "where": lambda g, c: tg.where(g > c, c, g), "clamp": lambda g, c: g.clamp(max=c),
    "lerp": lambda g, c: tg.lerp(g, g * 2, c), "in place": lambda g, c: g.clone().mul_(c),
    "integers": lambda g, c: g.long() * c, "comparison": lambda g, c: g >= c,
    "masked_fill": lambda g, c: g.masked_fill(g > 2, c), "power": lambda g, c: g**c,
    "half": lambda g, c: g.half() + c, "a chain": lambda g, c: (c * 2 + 1).exp() * g,
    "a row": lambda g, c: g[0] / (c + g[1]), "two": lambda g, c: g * c + c.long(),
}


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64, tg.int64, tg.bfloat16], ids=str)
@pytest.mark.parametrize("combine", NUMBERS.values(), ids=NUMBERS)
def test_a_number_of_the_cpu_is_taken_to_the_gpu(gpus, how, combine, dtype):
    c = tg.tensor(2, dtype=dtype)
    try:
        wanted = combine(table(), c)
    except RuntimeError as error:  # lerp refuses other dtypes
        with pytest.raises(RuntimeError) as same:
            how(combine)(table().cuda(), c)
        assert str(same.value) == str(error)
        return
    result = how(combine)(table().cuda(), c)
    assert result.device == tg.device("cuda:0") and result.dtype is wanted.dtype
    tg.testing.assert_close(result.cpu(), wanted)


def test_a_number_is_read_at_each_call(gpus):
    g, outer = table().cuda(), tg.tensor(3.0)
    f = tg.compile(lambda c, g: g * c + outer)
    for value in (2.0, -1.0, 2.0):
        c = tg.tensor(value)
        tg.testing.assert_close(f(c, g).cpu(), table() * value + outer)
        c.add_(1)
        outer.mul_(2)
        tg.testing.assert_close(f(c, g).cpu(), table() * (value + 1) + outer)
    assert f.tracegrad_state.traces == 1


def test_gradients_go_back_to_the_number(gpus, how):
    p, g = tg.tensor(3.0, requires_grad=True), table().cuda()
    loss = how(lambda g: (g * p.exp()).sum())
    for k in range(2):
        loss(g + k).backward()
    wanted = (15 + 21) * p.detach().exp()
    assert p.grad.device == p.device
    tg.testing.assert_close(p.grad, wanted)
    (d,) = how(lambda g: tg.autograd.grad((g * p).sum(), p))(g)
    assert d.device == p.device and d.item() == 15
    assert how(tg.func.grad(lambda c: (g * c).sum()))(p.detach()).device == p.device
    (h,) = tg.autograd.grad(how(lambda g: (g * p * p).sum())(g), p, create_graph=True)
    assert tg.autograd.grad(h, p)[0].item() == 30 and h.device == p.device


OPTIMIZERS = {"SGD": lambda p: tg.optim.SGD(p, 0.1, momentum=0.9),
              "Adam": lambda p: tg.optim.Adam(p, 0.1)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_parameter_of_the_cpu_is_trained_beside_those_of_the_gpu(gpus, how, optimizer):
    def trained(where, how):
        scale, w = nn.Parameter(tg.tensor(1.0)), nn.Parameter(tg.ones(3, device=where))
        x, opt = table().to(where), optimizer([scale, w])

        def step(x):
            opt.zero_grad()
            loss = ((x * scale + w) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        step = how(step)
        losses = [step(x).item() for _ in range(3)]
        assert scale.device == scale.grad.device == tg.device("cpu")
        return losses, scale.item(), w.tolist()

    for a, b in zip(trained("cuda", how), trained("cpu", HOW["eager"]), strict=True):
        tg.testing.assert_close(tg.tensor(a), tg.tensor(b))


def test_a_change_before_backward_is_noticed(gpus):
    c, w = tg.tensor(2.0), tg.ones(3, device="cuda", requires_grad=True)
    y = tg.compile(lambda c: (w * c).sum())(c)
    c.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# ---- indices
INDEXED = {
    "a tensor": lambda g, i: g[i], "a list": lambda g, i: g[[1, 0, 1]],
    "two": lambda g, i: g[i, i], "beside a slice": lambda g, i: g[:, i],
    "one of each device": lambda g, i: g[i, i.to(g.device)],
    "a mask": lambda g, i: g[tg.tensor([True, False])], "an element": lambda g, i: g[i[0], 2],
    "nothing": lambda g, i: g[i[:0]], "computed": lambda g, i: g[(i + 1) % 2],
    "negative": lambda g, i: g[-i - 1], "a list of bools": lambda g, i: g[:, [True, False, True]],
}
WRITTEN = {
    "a number": lambda g, i: g.__setitem__(i, 7), "a list": lambda g, i: g.__setitem__([1], 7),
    "a mask": lambda g, i: g.__setitem__(tg.tensor([True, False]), 5),
    "a tensor of the CPU": lambda g, i: g.__setitem__((i, 0), tg.tensor(4.0)),
    "index_put_": lambda g, i: g.index_put_((i,), tg.tensor(3.0), accumulate=True),
    "a sum": lambda g, i: g.__setitem__((i, i), g[i, i] + 1),
}


@pytest.mark.parametrize("indexed", INDEXED.values(), ids=INDEXED)
def test_indices_of_the_cpu(gpus, how, indexed):
    i = tg.tensor([1, 0])
    result = how(indexed)(table().cuda(), i)
    assert result.device == tg.device("cuda:0")
    assert result.tolist() == indexed(table(), i).tolist()


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_writing_at_indices_of_the_cpu(gpus, how, write):
    c, g, i = table(), table().cuda(), tg.tensor([1, 0])
    write(c, i)
    how(write)(g, i)
    assert g.tolist() == c.tolist()


def test_indices_of_the_cpu_are_read_at_each_call(gpus):
    i, g = tg.tensor([1, 0]), table().cuda()
    f = tg.compile(lambda g, j: g[i].sum(0) + g[j])
    for rows in ([0, 0], [1, 1], [0, 1]):
        i.copy_(tg.tensor(rows))
        assert f(g, i[:1]).tolist() == (table()[rows].sum(0) + table()[rows[:1]]).tolist()
    i[0] = 9
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        f(g, i[1:])


@pytest.mark.parametrize("use", [
    "g[[0, 1]]", "g[tg.tensor([1])]", "g[tg.tensor([True, False])]", "g.__setitem__([0, 1], 2.0)",
    "g.index_put_((tg.tensor([0]),), tg.tensor(1.0))", "g * tg.tensor(2.0)",
])
@pytest.mark.slow
def test_indices_as_the_first_thing_of_a_process(use):
    code = (
        "import sys; sys.path.insert(0, 'tests')\nfrom fake_gpu import fake_gpus\n"
        "import tracegrad as tg\nwith fake_gpus():\n"
        f"    g = tg.tensor([[1.0, 2.0], [3.0, 4.0]], device='cuda')\n    {use}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- what a compiled function moves
def test_values_that_a_compiled_function_moves(gpus):
    g, c = table().cuda(), tg.ones(3)
    y, total, c2, where, both = tg.compile(
        lambda g, c: ((g * 2).cpu(), g.sum().cpu() + 1, c * 2, c.device, c.cuda() + g)
    )(g, c)
    assert [str(t.device) for t in (y, total, c2, both)] == ["cpu", "cpu", "cpu", "cuda:0"]
    assert str(where) == "cpu" and total.item() == 16 and c2.tolist() == [2, 2, 2]
    assert y.tolist() == (table() * 2).tolist() and both.tolist() == (table() + 1).tolist()


def test_gradients_through_values_that_are_moved(gpus, how):
    x = tg.ones(3, requires_grad=True)
    w = tg.ones(3, device="cuda", requires_grad=True)

    def f(x):
        return (x.cuda() * w * 3).cpu() * x

    y = how(f)(x)
    assert y.device == x.device
    y.sum().backward()
    assert x.grad.device == x.device and w.grad.device == w.device
    assert x.grad.tolist() == [6, 6, 6] and w.grad.tolist() == [3, 3, 3]


def test_tensors_of_the_cpu_that_are_changed_in_place(gpus):
    c, total, g = tg.ones(3), tg.tensor(0.0), table().cuda()

    @tg.compile
    def f(g, c):
        c.mul_(2)
        total.add_(g.sum().cpu())
        c[0] = g[0, 2]
        return g * 2

    for _ in range(2):
        f(g, c)
    assert (c.tolist(), total.item(), c._version, total._version) == ([2, 4, 4], 30, [2], [2])
    with pytest.raises(RuntimeError, match="same device.*test_devices_numbers"):
        tg.compile(lambda g, c: c.add_(g[0, 0]) * 1)(g, total)
    assert total.item() == 30


def test_averages_counts_and_logs_on_the_cpu(gpus, how):
    average, counts, log, model = tg.zeros(3), tg.zeros(3, 3), [], nn.Linear(3, 1).cuda()
    x, y = table().cuda(), tg.tensor([0, 1], device="cuda")

    def step(x, y):
        average.mul_(0.9).add_(model.weight.detach()[0].cpu() * 0.1)
        counts.index_put_((y.cpu(), x.argmax(1).cpu()), tg.ones(2), accumulate=True)
        log.append(x.sum().cpu())
        return model(x).sum()

    step = how(step)
    for k in range(3):
        step(x, y + k % 2)
    tg.testing.assert_close(average, model.weight[0].detach().cpu() * (1 - 0.9**3))
    assert counts.tolist() == [[0, 0, 2], [0, 0, 3], [0, 0, 1]]
    assert [(str(t.device), t.item()) for t in log] == [("cpu", 15)] * 3


def test_states_of_an_optimizer_are_where_their_parameters_are(gpus, how):
    c, g = nn.Parameter(tg.tensor(1.0)), nn.Parameter(tg.ones(3, device="cuda"))
    opt, x = tg.optim.AdamW([c, g], lr=0.1, amsgrad=True), table().cuda()

    def step():
        opt.zero_grad()
        (x * c + g).square().mean().backward()
        opt.step()

    how(step)()
    for p in (c, g):
        kept = {k: v for k, v in opt.state[p].items() if k != "step"}
        assert {v.device for v in kept.values()} == {p.device} and len(kept) == 3


def test_a_large_tensor_that_is_copied_at_each_call_is_told(gpus):
    data, rows = tg.zeros(300_000), tg.tensor([1, 2])
    with pytest.warns(UserWarning, match=r"copies a tensor of shape \[300000\] .* at each call"):
        f = tg.compile(lambda: data[rows].cuda() * 2)
        assert f().tolist() == [0, 0]


REFUSED = {
    "an operand": lambda g, c: g + c, "expanded": lambda g, c: g * c[0].expand(3),
    "gather": lambda g, c: g.gather(0, c.long()[None]),
    "a layer": lambda g, c: F.linear(g, c[None]),
    "embedding": lambda g, c: F.embedding(c.long(), g), "cat": lambda g, c: tg.cat([g, c[None]]),
    "an index of a tensor of the CPU": lambda g, c: c[g[0].long()],
    "moved first": lambda g, c: g.cpu() * g,
}


def test_carries_of_a_loop_stay_where_they_begin(gpus, how):
    def f(g, n):
        return tg.while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, y * 1.5), (n, g))

    n, y = how(f)(table().cuda(), tg.tensor(0))
    assert (n.device.type, n.item(), y.device.type) == ("cpu", 3, "cuda")
    tg.testing.assert_close(y.cpu(), table() * 1.5**3)


def test_indices_within_vmap(gpus, how):
    g, i = table().cuda(), tg.tensor([2, 0])
    assert how(tg.func.vmap(lambda row: row[i]))(g).tolist() == [[2, 0], [5, 3]]


def test_types_by_name_say_where(gpus):
    c, g = tg.ones(2), tg.ones(2, device="cuda:1").long()
    assert c.type_as(g).device == g.device and c.type_as(g).dtype is tg.int64
    assert c.type("torch.cuda.HalfTensor").type() == "tracegrad.cuda.HalfTensor"
    assert g.type("torch.cuda.FloatTensor").device == g.device
    assert g.type("torch.FloatTensor").device == c.device == g.type_as(c).device
    assert g.type(tg.float32).device == g.device and g.type(g.type()).device == g.device


@pytest.mark.parametrize("mixed", REFUSED.values(), ids=REFUSED)
def test_other_tensors_of_the_cpu_are_refused(gpus, how, mixed):
    with pytest.raises(RuntimeError, match="same device"):
        how(mixed)(table().cuda(), tg.ones(3))


def test_it_runs_with_kernels_for_gpus():
    with plain_gpus():
        c, g, i = tg.tensor(2.0, requires_grad=True), table().cuda(), tg.tensor([1, 0])
        y = tg.compile(lambda g, i: (g[i] * c).sum(0))(g, i)
        y.sum().backward()
        assert y.tolist() == [6, 10, 14] and repr(c.grad) == "tensor(15.)"
