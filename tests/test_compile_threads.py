"""Several threads, and the lifetime of what is compiled."""

from __future__ import annotations

import gc
import linecache
import os
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock, Thread

import numba
import numpy as np
import pytest
from processes import prints, run

import tracegrad as tg


def same(a, b) -> None:
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def in_threads(work, count: int = 4, timeout: float = 60.0) -> list:
    """work(k, wait) in `count` threads that start together; their answers, or the first error."""
    barrier = Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, k, barrier.wait) for k in range(count)]
        return [f.result(timeout) for f in futures]


def test_threads_that_call_one_function_get_their_own_answers():
    @tg.compile
    def f(x, y):
        for _ in range(4):  # several kernels, so that a call takes a while
            x = (x @ y).tanh() + x
        return x, x.sum()

    rng = np.random.default_rng(0)
    y = tg.tensor(rng.standard_normal((24, 24)), dtype=tg.float32) / 8
    xs = [tg.tensor(rng.standard_normal((24, 24)), dtype=tg.float32) for _ in range(4)]
    wanted = [f.__wrapped__(x, y) for x in xs]

    def work(k, wait):
        wait()
        for _ in range(150):
            z, total = f(xs[k], y)
            np.testing.assert_allclose(z, wanted[k][0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(total, wanted[k][1], rtol=1e-3, atol=1e-3)

    in_threads(work)
    assert f.cache_info().misses == 1


def test_threads_that_each_share_their_loops_with_others():
    @tg.compile
    def f(x, y):
        return ((x @ y).relu() @ y).sum(0)

    rng = np.random.default_rng(1)
    y = tg.tensor(rng.standard_normal((160, 160)), dtype=tg.float32) / 13
    xs = [tg.tensor(rng.standard_normal((400, 160)), dtype=tg.float32) for _ in range(4)]
    f(xs[0], y)
    wanted = [np.maximum(x.numpy() @ y.numpy(), 0) @ y.numpy() for x in xs]

    def work(k, wait):
        wait()
        for _ in range(30):
            np.testing.assert_allclose(f(xs[k], y), wanted[k].sum(0), rtol=1e-3, atol=1e-3)

    in_threads(work)


def test_one_thread_does_the_work_of_those_that_do_not_come():
    f = tg.compile(lambda x: (x @ x).relu() @ x)
    x = tg.randn(200, 200) / 14
    want = f(x)
    usual = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        same(f(x), want)
    finally:
        numba.set_num_threads(usual)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@prints("0 True\n")
def test_a_forked_process_does_alone_what_threads_shared():
    f = tg.compile(lambda x: (x @ x).relu() @ x)
    x = tg.randn(300, 300) / 17
    want = f(x)
    child = os.fork()
    if not child:
        again = tg.compile(lambda x: (x @ x).relu() @ x - 1)  # compiled in the child
        same = (f(x) == want).all() and tg.allclose(again(x), want - 1)
        os._exit(0 if same else 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, (f(x) == want).all().item())


def share_the_pool():
    """Several functions at once, each on several threads."""
    x, y = tg.ones(400, 160), tg.ones(160, 160)
    functions = [tg.compile(lambda x, y, k=k: ((x @ y).relu() @ y * k).sum(0)) for k in range(3)]
    for f in functions:
        f(x, y)

    def work(k, wait):
        wait()
        return all((f(x, y) == 400 * 160 * 160.0 * k).all() for f in [functions[k]] * 40)

    print(numba.threading_layer(), in_threads(work, 3), numba.get_num_threads())


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_threading_layer_that_the_user_chose_is_entered_as_it_allows(layer):
    """The work queue ends the process if two threads enter it."""
    env = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "3"}
    assert run(share_the_pool, env=env) == f"{layer} [True, True, True] 3\n"


def test_threads_with_gradients_of_their_own():
    f = tg.compile(lambda x, w: ((x * w) ** 2).sum())

    def work(k, wait):
        x, w = tg.full((5,), k + 1.0), tg.ones(5, requires_grad=True)
        wait()
        for _ in range(100):
            w.grad = None
            f(x, w).backward()
            same(w.grad, np.full(5, 2.0 * (k + 1) ** 2))

    in_threads(work)


def test_threads_that_compile_different_functions_at_once():
    def work(k, wait):
        wait()
        results = []
        for j in range(3):
            f = tg.compile(lambda x, j=j: (x * (k + 2) + j).sum() + k)
            results.append(f(tg.ones(3)).item())
        return results

    for k, results in enumerate(in_threads(work)):
        assert results == [3 * (k + 2 + j) + k for j in range(3)]


def test_threads_with_different_shapes_and_modes():
    f = tg.compile(lambda x: x * 2)

    def work(k, wait):
        x = tg.ones(k + 1, requires_grad=True)
        wait()
        for _ in range(50):
            with tg.set_grad_enabled(k % 2 == 0):
                y = f(x)
            same(y.detach(), np.full(k + 1, 2.0))
            assert y.requires_grad == (k % 2 == 0)

    in_threads(work)


def test_a_thread_that_traces_does_not_make_the_others_trace():
    tracing, go = Lock(), Lock()  # held: not yet
    tracing.acquire(), go.acquire()

    def slow(x):
        tracing.release()
        go.acquire(timeout=30)
        return x * 3

    f = tg.compile(slow)
    answers = []
    thread = Thread(target=lambda: answers.append(f(tg.ones(2))))
    thread.start()
    tracing.acquire(timeout=30)
    same(tg.ones(2) + 1, [2, 2])
    eager = tg.ones(2, requires_grad=True)
    (eager * 2).sum().backward()
    same(eager.grad, [2, 2])
    go.release()
    thread.join(30)
    same(answers[0], [3, 3])


def test_what_nobody_holds_is_freed():
    class Model:
        def __init__(self):
            self.w = tg.ones(3, requires_grad=True)

    model = Model()
    f = tg.compile(lambda x: (x * model.w).sum())
    f(tg.ones(3)).backward()
    refs = [weakref.ref(f), weakref.ref(model), weakref.ref(model.w)]
    f = model = None
    gc.collect()
    assert [r() for r in refs] == [None] * 3


def test_the_replay_can_be_read_in_a_traceback():
    f = tg.compile(lambda x, i: x[i])
    f(tg.ones(3), tg.tensor([0]))
    try:
        f(tg.ones(3), tg.tensor([9]))
    except IndexError as error:
        frames = traceback.extract_tb(error.__traceback__)
    generated = [frame for frame in frames if frame.filename.startswith("<tracegrad")]
    assert generated and all(frame.line for frame in generated)
    assert linecache.getline(generated[0].filename, 1).startswith("def ")
