"""A compiled function for C and for Numba: the memory it reads and changes, and the threads that
may call it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from dataclasses import dataclass

import numba
import numpy as np
import pytest
from processes import prints

import tracegrad as tg
from tracegrad import nn, optim

F = nn.functional


def numbers(*shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return np.array(rng.standard_normal(shape) * 2, dtype)


def as_array(t: tg.Tensor) -> np.ndarray:
    return t.detach()._array


def training():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def test_a_training_step_trains_the_model_in_its_memory():
    x, y = numbers(5, 4), numbers(5, 2)
    model, _, step = training()
    expected = [step(tg.tensor(x), tg.tensor(y)).item() for _ in range(20)]
    other, _, step = training()
    cf = step.cfunc(x, y)

    @numba.njit
    def train(x, y, n):
        return [cf(x, y) for _ in range(n)]

    assert train(x, y, 10) == expected[:10]
    assert step(tg.tensor(x), tg.tensor(y)).item() == expected[10]  # Python goes on from there
    assert [cf(x, y) for _ in range(9)] == expected[11:]
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert as_array(p).tobytes() == as_array(q).tobytes()


def test_parameters_are_read_at_each_call_and_live_on():
    def make():
        model = nn.Linear(3, 1, bias=False)
        return model.weight, tg.compile(model).cfunc(numbers(3))

    weight, cf = make()
    with tg.no_grad():
        weight.fill_(2)
    ones = np.ones(3, "f4")
    assert cf(ones).tolist() == [6]
    with tg.no_grad():
        weight.fill_(3)
    del weight
    gc.collect()
    assert cf(ones).tolist() == [9]


def test_random_numbers_go_on_from_the_state_at_the_start():
    tg.manual_seed(3)
    f = tg.compile(lambda x: x + tg.rand(3) + tg.randn(3))
    cf = f.cfunc(np.zeros(3, "f4"))
    zeros = tg.zeros(3)
    expected = [f(zeros).tolist() for _ in range(4)]
    assert [cf(zeros._array).tolist() for _ in range(4)] == expected


def test_making_one_changes_nothing():
    tg.manual_seed(1)
    model, optimizer, step = training()
    before = [as_array(p).copy() for p in model.parameters()]
    state = tg.get_rng_state().tolist()
    step.cfunc(numbers(5, 4), numbers(5, 2))
    assert [as_array(p).tobytes() for p in model.parameters()] == [b.tobytes() for b in before]
    assert all(p.grad is None for p in model.parameters())
    assert tg.get_rng_state().tolist() == state and step.cache_info().misses == 0




class Counter:
    calls = 0


@dataclass
class Data:
    x: tg.Tensor


def test_what_only_python_can_do_is_refused():
    counter, w = Counter(), tg.ones(3, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def counts(x):
        counter.calls += 1
        return x

    def sets(x):
        counter.last = 3
        return x

    def accumulates(x):
        (x * w).sum().backward()
        return x

    def prints_it(x):
        print("here")
        return x

    def branches(x):
        return x * 2 if x.sum() > 0 else x

    def history(x):
        x.mul_(w)
        return x

    def leaves_it(x):
        w.grad.mul_(2)
        (x * w).sum().backward()
        optimizer.step()
        w.grad = None
        return x

    def reads(x):
        return x * float(x.sum())

    def selects(x):
        return x[x > 0]

    x = numbers(3)
    for f, words in (
        (reads, "looks at the value of a tensor .line test_cfunc_state"),
        (selects, "looks at the value of a tensor"),
        (counts, "call"), (sets, "last"), (accumulates, "zero_grad"), (prints_it, "print"),
        (branches, "looks at the value"), (history, "history"),
    ):
        with pytest.raises(RuntimeError, match=words):
            tg.compile(f).cfunc(x)
    w.grad = tg.ones(3)
    with pytest.raises(RuntimeError, match="zero_grad"):
        tg.compile(leaves_it).cfunc(x)
    cf = tg.compile(accumulates).cfunc(x)  # there is a .grad, and it stays
    before = w.grad.tolist()
    cf(x)
    np.testing.assert_allclose(w.grad.tolist(), np.add(before, x), rtol=1e-6)


def test_it_is_not_made_inside_of_a_compiled_function():
    f = tg.compile(lambda x: x * 2)

    @tg.compile
    def outer(x):
        f.cfunc(x)
        return x

    with pytest.raises(RuntimeError, match="not allowed inside a compiled function"):
        outer(tg.ones(3))


def test_containers_of_other_kinds_are_refused():
    f = tg.compile(lambda s: s)
    with pytest.raises(TypeError, match="not in other containers"):
        f.cfunc(Data(tg.ones(2)))


def test_a_compiled_module_has_one_too():
    model = nn.Linear(3, 2)
    x = numbers(4, 3)
    cf = tg.compile(model).cfunc(x)
    assert cf(x).tobytes() == as_array(tg.compile(model)(tg.tensor(x))).tobytes()


# ---- threads
def test_threads_call_it_at_the_same_time():
    cf = tg.compile(lambda x: (x @ x.T).exp().sum(0)).cfunc(numbers(20, 20))
    inputs = [numbers(20, 20, seed=k) * 0.1 for k in range(8)]
    expected = [cf(x).tobytes() for x in inputs]
    wrong = []

    def work(k):
        for _ in range(300):
            if cf(inputs[k]).tobytes() != expected[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_calls_that_change_memory_wait_for_one_another():
    total = tg.zeros((), dtype=tg.int64)
    cf = tg.compile(lambda x: total.add_(x)).cfunc(np.array(1))

    @numba.njit(parallel=True)
    def add(x, n):
        for _ in numba.prange(n):
            cf(x)

    threads = [threading.Thread(target=lambda: [cf(np.array(1)) for _ in range(500)])
               for _ in range(4)]
    for t in threads:
        t.start()
    add(np.array(1), 3000)
    for t in threads:
        t.join()
    assert total.item() == 5000


@prints("12.0 True\n")
def test_the_address_outlives_what_python_holds():
    def made():
        w = tg.ones(3) * 2
        cf = tg.compile(lambda x: (x * w).sum()).cfunc(numbers(3))
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)

        @numba.njit
        def in_numba(x):
            return cf(x)

        in_numba(np.ones(3, "f4"))
        return prototype(cf.address), in_numba

    x, out = np.full(3, 2, "f4"), np.zeros(1, "f4")
    call, in_numba = made()
    gc.collect()
    junk = [np.random.rand(100) for _ in range(1000)]
    assert call(x.ctypes.data, out.ctypes.data) == 0
    print(out[0], in_numba(x) == out[0] and len(junk) == 1000)


@prints("ok\n")
def test_a_forked_child_calls_it():
    total = tg.zeros(())
    cf = tg.compile(lambda x: total.add_(x)).cfunc(np.array(1, "f4"))
    cf(np.array(1, "f4"))
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            cf(np.array(1, "f4"))

    thread = threading.Thread(target=busy)
    thread.start()
    for _ in range(20):
        child = os.fork()
        if not child:
            cf(np.array(1, "f4"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
    stop.set()
    thread.join()
    print("ok")
