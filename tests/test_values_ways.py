"""The ways that calls go: what they share, what is said when there are many, what is refused, and
what happens where Python's own arithmetic on values raises.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from values import lockstep

import tracegrad as tg
from tracegrad.driver.compiled_function import MOST_WAYS
from tracegrad.driver.replay.stages import misses

W = tg.tensor(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32))


def signed(x):
    y = (x @ W).tanh().sum(0)
    if y[0] > 0:
        return y * 2
    return y - 1


def test_ways_that_alternate_share_what_precedes():
    f, x = tg.compile(signed), tg.ones(4, 8)
    for _ in range(10):
        for one in (x, -x):
            np.testing.assert_allclose(f(one).numpy(), signed(one).numpy(), rtol=1e-5)
    ways = f.tracegrad_state.programs.last().siblings
    assert [len(entry.stages) for entry in ways] == [1, 1]
    segment, other = (entry.stages[0].segment for entry in ways)
    assert segment is other and f.cache_info().misses == 4
    runs = segment.executable.runs
    for _ in range(10):
        f(x), f(-x)
    assert segment.executable.runs == runs + 20 and f.cache_info().misses == 4


def test_a_way_that_is_seldom_taken_cuts_nothing():
    f, x = tg.compile(signed), tg.ones(4, 8)
    for one in (x, x, -x, x, x):
        f(one)
    assert [len(entry.stages) for entry in f.tracegrad_state.programs.last().siblings] == [0, 0]
    assert f.cache_info().misses == 2


def test_a_later_process_finds_the_segments_on_disk(tmp_path):
    code = (
        "import tracegrad as tg\n"
        "from tracegrad.driver.program_store import statistics\n"
        "f = tg.compile(lambda x: x * (1 + x.sum().item()) + x[x > 0].sum().item())\n"
        "f(tg.ones(3)), f(-tg.ones(3)), f(tg.tensor([1.0, -1.0, 2.0]))\n"
        "print(statistics.lowered, statistics.loaded)\n"
    )
    command = [sys.executable, "-c", code]
    environment = {"TRACEGRAD_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = [subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
            .stdout.split() for _ in range(2)]
    assert told[0][1] == "0" and told[1] == ["0", told[0][0]]


# ---- many ways
def test_many_ways_are_said_aloud_once_and_then_run_uncompiled():
    @tg.compile
    def f(x):
        return x * tg.ones(int(x[0])).sum()  # the line

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(60):
            assert f(tg.tensor([float(n), 2.0])).tolist() == [n * n, 2.0 * n]
    assert len(caught) == 1 and caught[0].filename == __file__
    words = str(caught[0].message)
    assert "test_values_ways.py:" in words and "while_loop()" in words and "item()" in words
    assert f.cache_info().misses < 40


@pytest.mark.parametrize("look", [
    lambda x: x * x.sum().item(), lambda x: x.tolist(), lambda x: x if x[0] > 0 else -x,
    lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.unique(), lambda x: x * int(x[0]),
    lambda x: x * float(x[0]), lambda x: print(f"{x.sum().item():.2f}"),
])
def test_a_whole_graph_looks_at_no_value(look):
    with pytest.raises(RuntimeError, match=r"fullgraph=True.*line test_values_ways\.py:\d+"):
        tg.compile(look, fullgraph=True)(tg.ones(2))


# ---- exceptions of Python's arithmetic
def a_caught_division(T, compile):
    def f(x):
        try:
            scale = x[0].item() / x[1].item()
        except ZeroDivisionError:
            scale = -1.0
        return x * scale

    f = compile(f)
    for v in (1.0, 0.0, 2.0, 0.0, 0.0, 4.0):
        yield f(T.tensor([3.0, v]))


def a_caught_division_of_a_number(T, compile):
    settings = {"rate": 1.0}

    @compile
    def f(x):
        try:
            return x / (1 / settings["rate"])
        except ZeroDivisionError:
            return x * 0

    for settings["rate"] in (1.0, 2.0, 0.0, 4.0, 0.0, 8.0):
        yield f(T.ones(2))


def a_way_with_integers(T, compile):
    def f(x):
        n = (x > 0).sum().item()
        return x * n + n // 2 - n % 2, n << 2, 2 ** n, n / 3 if n else 0, divmod(n, 2)

    f = compile(f)
    for k in (1.0, -1.0, 2.0, 0.0, -1.0):
        yield f(T.tensor([k, 1.0, -k]))


def numbers_of_many_parts(T, compile):
    def f(x):
        total = 0.0
        for _ in range(40):
            x = x * (1 + 1e-3 * x.sum().item())
            total += x[0].item()
        return x, total

    f = compile(f)
    for k in (1.0, 2.0, -1.0):
        yield f(T.tensor([k, 0.5]))


@pytest.mark.parametrize("program", [
    a_caught_division, a_caught_division_of_a_number, a_way_with_integers, numbers_of_many_parts,
])
def test_in_lockstep(program):
    lockstep(program)


@pytest.mark.parametrize("used", [True, False])
def test_arithmetic_that_raises_does_so_before_anything_is_written(used):
    total = tg.zeros(1)

    @tg.compile
    def f(x):
        total.add_(1)
        inverse = 1 / x[0].item()
        return inverse if used else x

    for v, count in ((1.0, 1), (0.0, 1), (2.0, 2), (0.0, 2)):
        if v:
            f(tg.tensor([v]))
        else:
            with pytest.raises(ZeroDivisionError):
                f(tg.tensor([v]))
        assert total.item() == count


# ---- what a call has computed on its way is used by no other call
def test_a_call_that_raises_on_another_way_leaves_nothing_to_the_next_one():
    def f(x, index):
        s = x.sum()
        return x * s if s > 10 else x[index] * s

    compiled, index = tg.compile(f), tg.tensor([0, 1])
    for k in range(14):
        compiled(tg.full((3,), 5.0 if k % 2 else 1.0), index)
    before = compiled.cache_info().misses
    with pytest.raises(IndexError):
        compiled(tg.ones(3), tg.tensor([0, 9]))
    assert not misses.all
    x = tg.full((4,), 7.0)
    for _ in range(2):
        assert compiled(x, index).tolist() == f(x, index).tolist()
    assert compiled.cache_info().misses == before + 1


def test_a_call_that_runs_uncompiled_leaves_nothing_to_the_calls_inside_it():
    @tg.compile
    def inner(x):
        return x * 2 if x.sum() > 1 else x * int(x[1])

    @tg.compile
    def f(x):
        return inner(tg.ones(int(x[0])))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(2, MOST_WAYS + 9):
            assert f(tg.full((2,), float(k))).tolist() == [2.0] * k
    assert 0 < inner.cache_info().misses < 9  # once for each call that ran uncompiled


# ---- at the same time
def test_threads_go_different_ways_through_shared_segments():
    def f(x):
        y = (x @ W).tanh()
        s = y.sum().item()
        return (y * s, y[y > 0.5].sum()) if s > 0 else (y - s, y.sum())

    compiled, wrong = tg.compile(f), []

    def run(seed):
        rng = np.random.default_rng(seed)
        data = [tg.tensor(rng.standard_normal((4, 8)).astype(np.float32)) for _ in range(5)]
        for x in data * 20:
            for got, want in zip(compiled(x), f(x), strict=True):
                if not np.allclose(got.numpy(), want.numpy(), rtol=1e-3, atol=1e-3):
                    wrong.append((got, want))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
