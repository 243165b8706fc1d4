"""`float(t)` and `int(t)` in compiled functions: the number is read at each call, as that of
`t.item()` is, and a program of it is traced once.
"""

from __future__ import annotations

import json
import math
import threading
import traceback

import pytest
from compiled import traces
from values import collector, inputs, lockstep, of

import tracegrad as tg

PROGRAMS: dict = {}
program = collector(PROGRAMS)
PROGRAMS |= {
    "returned": of(lambda T, x: (float(x.sum()), int(x[0]), x * 2)),
    "of integers": of(lambda T, x: (float(x.argmax()) / 2, int((x > 0).sum()) * 3)),
    "of bools": of(lambda T, x: (float(x[0] > 3), int(x[1] > 0))),
    "truncated": of(lambda T, x: [int(v * 3) for v in x]),
    "of numbers": of(lambda T, x: (float(x[0].item()), int(x[1].item()), float(int(x[2])))),
    "in arithmetic": of(lambda T, x: float(x[0]) / (1 + abs(int(x[1]))) + math.exp(-float(x[2]))),
    "with tensors": of(lambda T, x: x * float(x[0]) + int(x[1])),
    "of a tensor with a dimension": of(lambda T, x: float(x[:1]) + int(x[2:].reshape(1, 1))),
    "in a comprehension": of(lambda T, x: sum(float(v) ** 2 for v in x) + sum([int(v) for v in x])),
    "in a function inside": of(lambda T, x: (lambda v: float(v) + 1)(x.sum())),
    "rounded": of(lambda T, x: round(float(x.mean()), 3)),
    "its class": of(lambda T, x: (isinstance(float(x[0]), float), isinstance(int(x[0]), float))),
    "decides": of(lambda T, x: x * 2 if float(x[0]) > 3 else x - 1, 2),
    "the smaller": of(lambda T, x: min(float(x[0]), 3.0), 2),
    "finite": of(lambda T, x: x if math.isfinite(float(x.sum())) else -x),
    "an index": of(lambda T, x: [5, 6, 7][int(x.argmax())], 2),
    "a range": of(lambda T, x: sum((x for _ in range(int(x[0]) % 3)), x), 3),
    "a shape": of(lambda T, x: T.ones(int((x > 0).sum())).sum() + x, 3),
    "of other things": of(lambda T, x: x * float("0.5") + int("11", base=3) + int(T.numel(x))),
    "refused by a function in C": of(lambda T, x: json.dumps({"loss": float(x[0])}), 6),
    "lists of them as tensors": of(lambda T, x: (
        T.tensor([x[0].item(), 2, float(x[1])]) + x, T.tensor([[int(x[0])], [True]]),
        T.tensor([int(x[0]), 1], dtype=T.float64), T.tensor([v.item() for v in x]).mean())),
    "a classmethod": of(lambda T, x: x * float.fromhex("0x1.8p1")),
}


@program(1)
def histories(T, compile):
    losses, state = [], {"sum": 0.0, "count": 0}

    class Meter:
        best = math.inf

        def add(self, value):
            self.last = float(value)
            state["sum"] += self.last
            state["count"] += int(value > 0)

    meter = Meter()

    @compile
    def f(x):
        loss = (x * x).mean()
        losses.append(float(loss))
        meter.add(loss)
        return loss

    for x in (*inputs(T), *inputs(T)):
        yield f(x), list(losses), dict(state), meter.last


@program(1)
def printed(T, compile):
    @compile
    def f(x):
        print(f"{float(x[0]):.2f} {int(x[1])}", float(x[2]))

    for x in inputs(T):
        yield f(x)


@program(3)
def early_stopping(T, compile):
    class Stopper:
        def __init__(self):
            self.best, self.bad = math.inf, 0

    stopper = Stopper()

    @compile
    def f(x):
        loss = float((x - 2).square().sum())
        if loss < stopper.best:
            stopper.best, stopper.bad = loss, 0
        else:
            stopper.bad += 1
        return loss, stopper.bad > 2

    for x in (*inputs(T), *inputs(T)):
        yield *f(x), stopper.best, stopper.bad


@program(2)
def numbers_of_arguments(T, compile):
    @compile
    def f(x, step, rate):
        return x * (0.5 ** int(step)) + float(rate), int(rate), float(step)

    for k, x in enumerate(inputs(T)):
        yield f(x, k, 0.1 * k)


@program(6)
def what_raises(T, compile):
    @compile
    def f(x):
        try:
            return int(x[0])
        except (ValueError, OverflowError) as error:
            return type(error).__name__

    for v in (1.5, math.nan, -7.0, math.inf, math.nan, 2.0):
        yield f(T.tensor([v]))


@program(3)
def in_a_hook(T, compile):
    w = T.tensor([1.0, 2.0], requires_grad=True)
    norms = []

    @compile
    def f(x):
        w.grad = None
        y = w * x
        y.register_hook(lambda g: norms.append(float(g.norm())) or g / float(g.norm()))
        (y * y).sum().backward()

    for x in inputs(T):
        yield f(x[:2]), w.grad, list(norms)


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_lockstep(name):
    run, ways = PROGRAMS[name]
    count = max(f.cache_info().misses for f in lockstep(run))
    assert count == 1 if ways == 1 else count <= 2 * ways


def test_the_code_of_a_function_is_put_back():
    def f(x, cut):
        if cut:
            raise KeyError
        return float(x[0])

    code = f.__code__
    compiled = tg.compile(f)
    assert compiled(tg.ones(2), False) == 1 and f.__code__ is code
    with pytest.raises(KeyError):
        compiled(tg.ones(3), True)
    assert f.__code__ is code


def test_a_name_that_is_the_users_is_the_users():
    def f(x):
        float = lambda _: 7
        return float(x), int(x[0])

    space = {"int": lambda _: 8}
    exec("def g(x): return int(x[0]), float(x[1])", space)
    assert tg.compile(f)(tg.ones(2)) == (7, 1)
    g = tg.compile(space["g"])
    assert [g(tg.tensor([1.0, v])) for v in (2.0, 3.0)] == [(8, 2.0), (8, 3.0)]


def test_code_with_many_names_and_constants():
    """Their numbers take an instruction more."""
    names = " + ".join(f"n{k}" for k in range(300))
    numbers = " + ".join(f"{k}.5" for k in range(300))
    space = {f"n{k}": k for k in range(300)}
    exec(f"def f(x):\n    s = {names}\n    if x is None:\n        return [{numbers}]\n"
         "    return float(x[0]) + s, [int(v) for v in x]", space)
    f = tg.compile(space["f"])
    for k in (1.0, 2.0, 3.0):
        assert f(tg.tensor([k, 2 * k])) == (k + sum(range(300)), [int(k), int(2 * k)])
    assert traces(f) == 1


def test_another_thread_has_numbers_of_python_while_a_function_is_traced():
    def twice(x):
        return 2 * float(x) + int(x)

    over, told = threading.Event(), []

    def ask():
        while not over.is_set():
            told.append([twice(x) for x in (2, 0.5, tg.tensor(4.0))])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for k in range(20):
            f = tg.compile(lambda x, k=k: twice(x[0]) + k)
            assert [f(tg.tensor([v])) for v in (1.0, 2.0)] == [3.0 + k, 6.0 + k]
            assert traces(f) == 1
    finally:
        over.set()
        thread.join()
    assert told and all(t == [6.0, 1.0, 12.0] for t in told)
    assert {type(v) for t in told for v in t} == {float}


def test_an_answer_is_that_of_the_question_it_was_given_to():
    """A number that the function needs as a constant is a question of its own from then on, ahead
    of the one that a former program has answered.
    """
    @tg.compile
    def f(x):
        first = x[0].item()
        if x[:2].sum().item() > 0.3:
            x = x + tg.tensor([str(first) == "3.0", 0.0, 0.5])
        return x / (1.5 + first)

    for row in ([0.5, -1.25, 2.0], [3.0, 1.5, -0.5], [0.5, -1.25, 2.0], [1.0, 1.5, -0.5]):
        x = tg.tensor(row)
        high = row[0] + row[1] > 0.3
        y = x + tg.tensor([row[0] == 3, 0, 0.5]) if high else x
        assert f(x).tolist() == (y / (1.5 + row[0])).tolist()


def test_equal_code_of_two_files_keeps_its_file():
    source = "def f(x):\n    return [x][int(x.sum())]\n"
    for name in ("first.py", "second.py"):
        space: dict = {}
        exec(compile(source, name, "exec"), space)
        with pytest.raises(IndexError) as caught:
            tg.compile(space["f"])(tg.ones(3))
        assert traceback.extract_tb(caught.tb)[-1].filename == name
