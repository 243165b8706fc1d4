"""What compiled functions hold on to: structure, not the tensors that they were called with."""

from __future__ import annotations

import copy
import gc
import pickle
from weakref import ref

import pytest

import tracegrad as tg
from tracegrad.driver import programs

# name -> a function of a fresh tensor, which compiled programs answer
USERS = {}


def user(fn):
    USERS[fn.__name__] = fn
    return fn


@user
def returned(C):
    return C(lambda x: (x.exp() * 2, x.sum()))


@user
def changed_in_place_and_returned(C):
    return C(lambda x: x.add_(1))


@user
def viewed(C):
    return C(lambda x: (x[1:], x.view(-1, 1)))


@user
def read_through_an_array(C):
    f = C(lambda a: a * 2)
    return lambda x: f(x.numpy())


@user
def in_containers(C):
    return C(lambda x: {"y": [x[0] * 2, x[1]["z"] + 1]}), lambda x: (x, {"z": x.clone()})


@user
def differentiated_outside(C):
    f = C(lambda x: (x.exp() * x).sum())

    def run(x):
        f(x.requires_grad_()).backward()
        return x.grad

    return run


@user
def differentiated_inside(C):
    def step(x):
        x.grad = None
        loss = (x.exp() * x).sum()
        loss.backward()
        return loss

    compiled = C(step)
    return lambda x: compiled(x.requires_grad_())


@user
def with_a_gradient_before(C):
    def step(x):
        x.grad.mul_(2)
        (x * x).sum().backward()
        return x.grad

    compiled = C(step)

    def run(x):
        x.requires_grad_()
        x.grad = tg.ones_like(x)
        return compiled(x)

    return run


@user
def branched_on(C):
    return C(lambda x: x + 1 if x.sum() > 0 else x - 1)


@user
def hooked(C):
    f = C(lambda x: (x * x).sum())

    def run(x):
        x.requires_grad_().register_hook(lambda g: g * 2)
        f(x).backward()

    return run


@pytest.mark.parametrize("name", USERS)
def test_a_program_holds_none_of_the_tensors_it_was_called_with(name):
    f = USERS[name](tg.compile)
    f, wrapped = f if isinstance(f, tuple) else (f, lambda x: x)
    gone = []
    for n in (3, 4, 5, 4):
        for _ in range(2):
            x = tg.ones(n)
            gone += [ref(x), ref(x._array)]
            f(wrapped(x))
            del x
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)


class Plain:
    def __init__(self):
        self.weight = tg.ones(1000, requires_grad=True)
        self.me, self.scale = self, 2  # a cycle, as a callback or a parent makes

    @tg.compile
    def step(self, x):
        return (self.weight * x).sum() * self.scale

    @tg.compile
    def other(self, x):
        return self.weight + x


class Net(tg.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = tg.nn.Parameter(tg.ones(1000))

    @tg.compile
    def step(self, x):
        return (self.weight * x).sum() * 2

    @tg.compile
    def other(self, x):
        return self.weight + x

    def forward(self, x):
        return self.weight * x


class Below(Plain):
    """Overrides what it calls; and methods under decorators, or of another name."""

    def step(self, x):
        return super().step(x)

    @tg.no_grad()
    @tg.compile
    def other(self, x):
        return self.weight + x

    def _third(self, x):
        return self.weight - x

    third = tg.compile(_third)

    @property
    @tg.compile
    def fourth(self):
        return self.weight.sum()


@pytest.mark.parametrize("kind", [Plain, Net, Below])
def test_compiled_methods_let_their_instances_go(kind):
    gone = []
    for _ in range(3):
        one = kind()
        gone += [ref(one), ref(one.weight)]
        for n in (1, 1000, 1):
            for _ in range(2):
                loss = one.step(tg.ones(n))
                loss.backward()
                assert one.other(tg.ones(n)).shape == (1000,)
                if kind is Below:
                    assert one.third(tg.ones(n)).shape == (1000,) and one.fourth.item() == 1000
        assert loss.item() == 2000
        del one, loss
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)


@pytest.mark.parametrize("how", ["module", "method", "argument", "optimizer"])
def test_a_compiled_module_goes_with_its_compiled_form(how):
    def run():
        net = Net()
        f = USES[how](net)
        for n in (1, 1000):
            for _ in range(2):
                f(tg.ones(n))
        return ref(net), ref(net.weight)

    gone = run()
    gc.collect()
    assert [r() for r in gone] == [None, None]


@tg.compile
def by_argument(net, x):
    return net(x).sum()


def trained(net):
    optimizer = tg.optim.Adam(net.parameters())

    @tg.compile
    def f(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()

    return f


USES = {
    "module": tg.compile,
    "method": lambda net: tg.compile(net.forward),
    "argument": lambda net: lambda x: by_argument(net, x),
    "optimizer": trained,
}


def test_two_instances_have_programs_of_their_own():
    one, two = Plain(), Plain()
    two.scale = 3
    for _ in range(2):
        assert one.step(tg.ones(1)).item() == 2000
        assert two.step(tg.ones(1)).item() == 3000
    traces = Plain.step.cache_info().misses
    one.step(tg.ones(1)), two.step(tg.ones(1))
    assert Plain.step.cache_info().misses == traces


def test_copies_and_files_of_an_object_have_no_programs():
    net = Net()
    net.step(tg.ones(1))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with tg.no_grad():
            twin.weight.mul_(2)
        assert twin.step(tg.ones(1)).item() == 4000
        assert net.step(tg.ones(1)).item() == 2000
    one = Plain()
    one.step(tg.ones(1))
    twin = copy.copy(one)
    twin.me, twin.scale = twin, 3
    gone = ref(one)
    assert twin.step(tg.ones(1)).item() == 3000
    assert one.step(tg.ones(1)).item() == 2000
    del one
    gc.collect()
    assert gone() is None


def kept(f):
    """The bytes that the programs of a compiled function keep."""
    return sum(entry.memory() for entry in f.tracegrad_state.programs)


SHAPES = {
    "answers": lambda x: (x.exp(), x.sin()),
    "intermediates": lambda x: x.cumsum(0).flip(0).cumsum(0).flip(0).cumsum(0).sum(),
}


@pytest.mark.parametrize("name", SHAPES)
def test_many_shapes_keep_little_memory(name, monkeypatch):
    monkeypatch.setattr(programs, "MOST_IDLE", 1_000_000)
    eager, f = SHAPES[name], tg.compile(SHAPES[name])
    for _ in range(2):
        for n in range(20):  # 400 kB each
            x = tg.linspace(0, 1, 50_000 + n, dtype=tg.float64)
            tg.testing.assert_close(f(x), eager(x))
            assert kept(f) < 1_000_000 + 4_000_000
    assert f.cache_info().misses == 20


def test_gradients_of_many_shapes_keep_little_memory(monkeypatch):
    monkeypatch.setattr(programs, "MOST_IDLE", 1_000_000)
    w = tg.ones(100_000, requires_grad=True)
    f = tg.compile(lambda x: (w.exp() * x.sum()).sum())

    @tg.compile
    def g(x):
        w.grad = None
        loss = (w.exp() * x.sum()).sum()
        loss.backward()
        return loss

    for _ in range(2):
        for n in range(1, 20):
            w.grad = None
            f(tg.ones(n)).backward()
            tg.testing.assert_close(w.grad, w.detach().exp() * n)
            g(tg.ones(n))
            tg.testing.assert_close(w.grad, w.detach().exp() * n)
            assert kept(f) + kept(g) < 8_000_000


def test_the_number_of_programs_is_bounded(monkeypatch):
    monkeypatch.setattr(programs, "MOST_SIGNATURES", 5)
    f = tg.compile(lambda x: x * 2)
    for n in range(12):
        assert f(tg.ones(n)).tolist() == [2.0] * n
    gc.collect()
    assert f.cache_info().currsize == 5


def test_new_shapes_need_no_new_kernels():
    from tracegrad.runtime.cpu import compiler

    net = tg.nn.Sequential(tg.nn.Linear(7, 11), tg.nn.ReLU(), tg.nn.Linear(11, 3))
    optimizer = tg.optim.Adam(net.parameters())

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    counts = []
    for n in range(2, 60, 6):
        step(tg.ones(n, 7))
        counts.append(len(compiler._ready))
    assert counts[-1] <= counts[0] + 25  # tiles of products, by how many rows there are
    assert counts[-1] <= counts[len(counts) // 2] + 5
