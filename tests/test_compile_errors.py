"""Bad input and what cannot be compiled: torch's classes, the user's line, nothing half done."""

from __future__ import annotations

import colorsys
from functools import partial

import numpy as np
import pytest
from compiled import same

import tracegrad as tg
import tracegrad.nn.functional as F
from tracegrad import nn


def here(error: BaseException, source: str) -> bool:
    """Whether what the user sees names this line: in the message, or in the traceback."""
    lines = open(__file__).read().splitlines()
    (number,) = [k for k, line in enumerate(lines, 1) if line.strip().endswith(f"# {source}")]
    tb, seen = error.__traceback__, set()
    while tb is not None:
        seen.add((tb.tb_frame.f_code.co_filename, tb.tb_lineno))
        tb = tb.tb_next
    return (__file__, number) in seen or f"test_compile_errors.py:{number}" in str(error)


def total(x):
    return x.sum()


def _bad():
    full, seen, w = [0], [], tg.ones(2)

    class Holder:
        kept = None

    def mismatch(x):
        return x + tg.ones(3)  # mismatch

    def matmul(x):
        return x @ tg.ones(3, 3)  # matmul

    def numpy(x):
        return np.asarray(x)  # numpy

    def shown(x):
        print(str(x))  # shown

    def random(x):
        return x + tg.initial_seed()  # random

    def integer_gradient(x):
        return tg.ones(2, dtype=tg.int64).requires_grad_()  # integer gradient

    def backward_of_nothing(x):
        x.sum().backward()  # backward of nothing

    def popped(x):
        full.pop()
        return x

    def appended(x):
        seen.append(x * 2)
        return x * len(seen)

    def kept(x):
        Holder.kept = x * 2
        return x

    def hidden(x):
        w.holder = Holder()
        w.holder.inside = x * 2
        return x

    def own(x):
        w.add_(1)
        raise KeyError("mine")  # own

    names = "a side effect"
    return {
        "mismatch": (mismatch, RuntimeError, "must match the size"),
        "matmul": (matmul, RuntimeError, "cannot be multiplied"),
        "numpy": (numpy, RuntimeError, "not known while the function is compiled"),
        "shown": (shown, RuntimeError, "Pass the tensor to print"),
        "random": (random, RuntimeError, "the state of a generator is not known"),
        "integer gradient": (integer_gradient, RuntimeError, "floating point"),
        "backward of nothing": (backward_of_nothing, RuntimeError, "does not require grad"),
        "pop": (popped, RuntimeError, "side effect cannot be replayed"),
        "append": (appended, RuntimeError, "side effect cannot be replayed"),
        "class attribute": (kept, RuntimeError, "side effect cannot be replayed"),
        "hidden in an object": (hidden, RuntimeError, "holds tensors it computed"),
        "own": (own, KeyError, "mine"),
        "w": w, "names": names,
    }


BAD = [k for k, v in _bad().items() if isinstance(v, tuple) and v[1]]


@pytest.mark.parametrize("name", BAD)
def test_an_error_while_tracing_names_the_line_and_changes_nothing(name):
    bad = _bad()
    function, error, words = bad[name]
    f = tg.compile(function)
    x = tg.ones(2)
    for _ in range(2):
        with pytest.raises(error, match=words) as caught:
            f(x)
        if f"# {name}\n" in open(__file__).read():
            assert here(caught.value, name)
        same(x, [1, 1])
        same(bad["w"], [1, 1])
    same(tg.compile(total)(x), 2)  # and tracing has ended


def test_printing_while_tracing_shows_what_is_known(capsys):
    @tg.compile
    def f(x):
        print(x.shape, x.dtype, x.requires_grad)
        return x * 2

    f(tg.ones(2))
    assert "Size([2])" in capsys.readouterr().out


def test_a_leaked_tensor_says_where_it_was_made():
    f = tg.compile(lambda x: [setattr(colorsys, "leak", x * 2), x][1])  # it is not looked into
    f(tg.ones(2))
    leaked = vars(colorsys).pop("leak")
    with pytest.raises(RuntimeError, match="outside the compiled function"):
        leaked + 1
    with pytest.raises(RuntimeError, match=r"made at test_compile_errors.py:\d+"):
        leaked.numpy()
    assert "traced" in repr(leaked) or "test_compile_errors" in repr(leaked)


def test_a_failing_call_leaves_gradients_and_state_alone():
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (x * w).sum().backward()
        optimizer.step()
        return x + tg.ones(7)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="must match"):
            step(tg.ones(2))
        same(w.detach(), [1, 1])
        assert w.grad is None
        assert all(not np.any(np.asarray(b)) for s in optimizer.state.values() for b in s.values())


def classifier():
    model = nn.Sequential(nn.Linear(4, 3))
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def everything():
        values = [p.detach().clone().numpy() for p in model.parameters()]
        values += [None if p.grad is None else p.grad.clone().numpy() for p in model.parameters()]
        for state in optimizer.state.values():
            values += [np.array(v) for v in state.values()]
        return values

    return model, step, everything


@pytest.mark.parametrize("first", [True, False], ids=["first call", "later call"])
@pytest.mark.parametrize("target", [3, -1, 100])
def test_a_target_out_of_range_leaves_everything_untouched(first, target):
    _, step, everything = classifier()
    step = tg.compile(step)
    x, good = tg.randn(5, 4), tg.tensor([0, 1, 2, 0, 1])
    if not first:
        step(x, good)
        step(x, good)
    before = everything()
    with pytest.raises(IndexError, match=f"Target {target} is out of bounds"):
        step(x, tg.tensor([0, 1, target, 0, 1]))
    after = everything()
    if first:
        after = after[: len(before)]  # the state has come to be, with zeros
    for a, b in zip(before, after, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            same(a, b)
    held = step(x, good)
    assert np.isfinite(held.item())


def test_an_index_out_of_range_in_the_loss_only_style():
    table = tg.randn(4, 2, requires_grad=True)
    f = tg.compile(lambda i: table[i].sum())
    f(tg.tensor([0, 3])).backward()
    before = table.grad.clone()
    for bad in (4, -5):
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds .* size 4"):
            f(tg.tensor([0, bad]))
    same(table.grad, before)
    f(tg.tensor([-4, -1])).backward()
    same(table.grad, before * 2)


def test_written_tensors_are_untouched_by_a_bad_index():
    count = tg.zeros(1)

    @tg.compile
    def f(x, i):
        count.add_(1)
        x[i] = 5
        return x.sum()

    x = tg.zeros(3)
    f(x, tg.tensor([1]))
    with pytest.raises(IndexError):
        f(x, tg.tensor([3]))
    same(x, [0, 5, 0])
    same(count, [1])


def test_fullgraph_refuses_a_branch_and_names_the_line():
    def branching(x):
        if x.sum() > 0:  # branching
            return x
        return -x

    with pytest.raises(RuntimeError, match="fullgraph") as caught:
        tg.compile(branching, fullgraph=True)(tg.ones(2))
    assert here(caught.value, "branching")


def test_wrong_arguments_are_python_s_own_error():
    f = tg.compile(lambda x, y: x + y)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        f(tg.ones(1))
    f(tg.ones(1), tg.ones(1))
    for args, kwargs in (((tg.ones(1),) * 3, {}), ((tg.ones(1),), {"z": tg.ones(1)})):
        with pytest.raises(TypeError):
            f(*args, **kwargs)


def test_an_in_place_change_of_a_leaf_that_requires_grad_is_refused():
    w = tg.ones(2, requires_grad=True)
    f = tg.compile(lambda x: w.sub_(x))
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        f(tg.ones(2))
    g = tg.compile(tg.no_grad()(lambda x: w.sub_(x)))
    g(tg.ones(2))
    same(w.detach(), [0, 0])


def test_overlapping_memory_that_is_written_is_refused():
    base = tg.zeros(4)
    f = tg.compile(lambda a, b: a.add_(1) + b)
    with pytest.raises(RuntimeError, match="shares memory"):
        f(base[:3], base[1:])
    same(base, [0, 0, 0, 0])
    same(f(base[:2], base[2:]), [1, 1])
    with pytest.raises(RuntimeError, match="shares memory"):
        f(base[:2], base[1:3])


@pytest.mark.parametrize("written", range(4))
def test_it_is_found_among_many_tensors_whichever_is_written(written):
    base = tg.zeros(100)
    parts = [base[5:90], base[10:20], base[30:31], base[70:99], *(tg.ones(10) for _ in range(5))]

    @tg.compile
    def f(*parts):
        parts[written].add_(1)
        return sum(p.sum() for p in parts)

    with pytest.raises(RuntimeError, match="shares memory"):
        f(*parts)
    assert not base.any()
    f(*parts[:written], parts[written].clone(), *parts[written + 1 :])


def test_empty_tensors_overlap_with_nothing():
    base = tg.zeros(4)
    same(tg.compile(lambda a, b: a.add_(1).sum() + b.sum())(base, base[2:2]), 4)


def test_the_numpy_interface_of_a_result_is_free_afterwards():
    y = tg.compile(lambda x: x * 2)(tg.ones(2))
    y.numpy()[0] = 9
    same(y, [9, 2])


def yields(x):
    yield x * 2


async def waits(x):
    return x * 2


ONCE = {
    "a generator": yields,
    "a coroutine": waits,
    "an iterator": lambda x: iter([x]),
    "a generator in a tuple": lambda x: (x, (v for v in [x])),
    "a set of tensors": lambda x: {x * 2},
    "an object with tensors": lambda x: Box(x * 2),
    "an object with an argument": lambda x: Box(x),
    "one in another": lambda x: {"boxes": [Box([Box(x)])]},
    "one with slots": lambda x: Slots(x),
    "a set of arguments": lambda x: {x},
    "a closure": lambda x: lambda: x,
    "a closure of a tensor": lambda x: [(lambda y: lambda: y)(x.detach())],
    "a method of an argument": lambda x: x.sum,
    "a method of an object": lambda x: Box(x).get,
    "a partial function": lambda x: partial(tg.add, x),
}


class Box:
    def __init__(self, x):
        self.x = x

    def get(self):
        return self.x


class Slots:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("name", ONCE)
def test_answers_that_no_call_could_make_again_are_refused(name):
    f = tg.compile(ONCE[name])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a compiled function returns a"):
            f(tg.ones(2))


LATER = {
    "append": lambda x, kept: kept.append(Box(x)),
    "extend": lambda x, kept: kept.extend([x, {x}]),
    "print": lambda x, kept: print(Box(x)),
    "callback": lambda x, kept: tg.debug.callback(lambda: kept.append(x)),
}


@pytest.mark.parametrize("name", LATER)
def test_objects_with_arguments_are_not_kept_for_later(name):
    kept: list = []
    f = tg.compile(lambda x: (LATER[name](x, kept), x * 2)[1])
    with pytest.raises(RuntimeError, match="that holds a tensor argument"):
        for _ in range(3):
            f(tg.ones(2))


def test_an_object_from_outside_that_holds_an_argument_is_returned():
    box, size = Box(tg.ones(2)), lambda: 2
    f = tg.compile(lambda x, box: (x * 2, box, box.get, lambda: box.x, size))
    for x in (box.x, tg.zeros(2), box.x):
        double, other, get, lazy, own = f(x, box)
        assert double.tolist() == (x * 2).tolist()
        assert other is box and get() is lazy() is box.x and own is size


def test_anomalies_are_found_behind_a_compiled_call():
    x = tg.zeros(1, requires_grad=True)
    f = tg.compile(lambda: (x.sqrt() * 0).sum())
    with tg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values"):
        f().backward()
