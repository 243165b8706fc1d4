"""Values that leave a compiled function beside its result: in texts, lists, callbacks. They are
those of each call, without a program for each.
"""

from __future__ import annotations

from collections import deque

import pytest
from values import lockstep

import tracegrad as tg

GLOBAL: list = []
PROGRAMS = {}


def program(make):
    PROGRAMS[make.__name__] = make
    return make


def inputs(T, count=6):
    return [T.tensor([k + 1.0, 1.5 - k, 0.25 * k]) for k in range(count)]


# ---- texts
@program
def prints(T, compile):
    @compile
    def f(x):
        loss = (x * x).sum()
        print(f"loss {loss.item():.3f}, largest {x.max().item():8.2f}", loss.item(), end=" !\n")
        print(
            f"on two lines {loss.item():.1f}"
            f" and more {x[0].item():.2f}",
            loss,
            sep="; ",
        )
        print(f"tensors {loss:.2f} {loss} {x}", "text", f"{1 + 1}")
        return x * 2

    for x in inputs(T):
        yield f(x)


@program
def prints_on_one_way(T, compile):
    @compile
    def f(x):
        if x[0] > 3:
            print(f"large: {x[0].item()}")
        return x * 2

    for x in inputs(T):
        yield f(x)


# ---- lists
@program
def a_list_in_a_closure(T, compile):
    losses = []

    @compile
    def f(x):
        losses.append(x.sum().item())
        return x * 2

    for x in inputs(T):
        yield f(x), list(losses)
    losses.clear()
    yield f(x), list(losses)


@program
def a_global_list(T, compile):
    GLOBAL.clear()

    @compile
    def f(x):
        GLOBAL.append(x.sum())
        GLOBAL.extend(["text", x[0].item()])
        return x * 2

    for x in inputs(T):
        yield f(x), list(GLOBAL)


@program
def histories_in_a_dict_and_an_attribute(T, compile):
    class Trainer:
        def __init__(self):
            self.history = {"loss": [], "pairs": [], "steps": 0}
            self.all, self.recent = [1.0], deque()

        def step(self, x):
            loss = (x * x).sum()
            self.history["loss"].append(loss.item())
            self.history["pairs"].append((loss.item(), self.history["steps"]))
            self.history["steps"] += 1
            self.all.append(loss.item() / 2)
            self.recent.append(loss)
            return loss

    trainer = Trainer()
    step = compile(trainer.step)
    for k, x in enumerate(inputs(T)):
        if k == 4:
            trainer.all = []
        history = trainer.history
        yield step(x), history["loss"][:], history["pairs"][:], history["steps"]
        yield trainer.all[:], list(trainer.recent)


@program
def a_list_for_each_way(T, compile):
    small, large = [], []

    @compile
    def f(x):
        if x.sum() > 1:
            large.append(x.sum().item())
        else:
            small.append(x.sum().item())
        return x * x.sum().item()

    for x in (*inputs(T), *(-x for x in inputs(T))):
        yield f(x), small[:], large[:]


@program
def what_is_appended_has_its_history(T, compile):
    w, kept = T.ones(3, requires_grad=True), []

    @compile
    def f(x):
        y = (w * x).pow(3).sum()
        kept.append(y)
        return y.detach()

    for x in inputs(T):
        yield f(x)
    sum(kept).backward()
    yield w.grad


@program
def backward_that_runs_the_function_again_appends_nothing(T, compile):
    w, kept = T.ones(3, requires_grad=True), []

    @compile
    def f(x):
        y = (w * x).pow(3).sum()
        kept.append(y.item())
        print(f"y is {y.item():.2f}")
        return y

    for x in inputs(T):
        (g,) = T.autograd.grad(f(x), w, create_graph=True)
        (h,) = T.autograd.grad(g.sum(), w)
        yield h, kept[:]


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_lockstep(name):
    assert max(f.cache_info().misses for f in lockstep(PROGRAMS[name])) <= 2


def test_a_text_that_is_looked_at_is_the_real_one():
    def f(x):
        text = f"{x.sum().item():.1f}"
        print(len(f"{x.sum().item():.3f}"))
        print(f"{len(f'{x.sum().item():.1f}')}")
        return x if "nan" in text else x * len(text)

    compiled = tg.compile(f)
    for value in (1.0, 12345.0, float("nan"), 1.0):
        x = tg.tensor([value, 0.0])
        assert repr(compiled(x)) == repr(f(x))


def test_a_list_that_is_read_is_refused_with_its_line():
    kept = []

    def f(x):
        kept.append(x.sum().item())
        return x * len(kept)

    with pytest.raises(RuntimeError, match=r"'kept' was changed .*test_values_leave\.py:\d+"):
        tg.compile(f)(tg.ones(2))
    assert kept == []


# ---- debug
def test_debug_print_and_callback_come_in_order_with_real_values(capsys):
    seen = []

    def f(x):
        y = x * 2
        tg.debug.print("sum {:.1f}, first {first}", y.sum(), first=y[0])
        tg.debug.callback(lambda a, b: seen.append((a.item(), b.tolist(), a.requires_grad)),
                          y.sum(), x)
        print("after", y.sum().item())
        return y

    compiled = tg.compile(f)
    told = []
    for g in (f, compiled):
        for k in range(4):
            g(tg.tensor([k * 1.0, 1.0]))
        told.append((capsys.readouterr().out, seen[:]))
        seen.clear()
    assert told[0] == told[1] and len(told[0][1]) == 4
    assert compiled.cache_info().misses <= 2


def test_debug_says_what_it_does_not_take():
    with pytest.raises(TypeError, match="the format must be a str, got int"):
        tg.debug.print(3)
    with pytest.raises(TypeError, match="expected a function, got int"):
        tg.debug.callback(3)
    with pytest.raises(RuntimeError, match="within vmap"):
        tg.vmap(lambda x: tg.debug.print("{}", x))(tg.ones(2))


def test_an_exception_of_a_callback_reaches_the_caller():
    def fail(x):
        raise KeyError(x.item())

    total = tg.zeros(())
    f = tg.compile(lambda x: (total.add_(x.sum()), tg.debug.callback(fail, x.sum()))[0])
    for k in (1.0, 2.0):
        with pytest.raises(KeyError, match=str(k)):
            f(tg.tensor([k]))
    assert total.item() == 3.0


# ---- what is printed is as it was then
def shown(step, w, capsys):
    w.grad = None
    with tg.no_grad():
        w.fill_(1.0)
    x = tg.ones(2)
    for _ in range(4):
        step(x)
    return capsys.readouterr().out


def test_a_tensor_that_changes_after_it_is_printed_is_shown_as_it_was(capsys):
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)

    def step(x):
        print(w, w.grad, f"{w.sum():.2f}", [w, x])
        tg.debug.print("{}", x)
        tg.debug.callback(lambda t: print(t.tolist()), x)
        optimizer.zero_grad()
        loss = ((w * x) ** 2).sum()
        loss.backward()
        print(w.grad, loss)
        with tg.no_grad():
            w.grad.mul_(2)
        optimizer.step()
        first = x[0]
        print(first)
        x.add_(1)
        x[x > 3] = 0
        print(x, first)

    assert shown(tg.compile(step), w, capsys) == shown(step, w, capsys)


def test_a_container_that_changes_after_it_is_printed_is_shown_as_it_was(capsys):
    w = tg.ones(2, requires_grad=True)

    def step(x):
        row, more = [w.sum().item(), [x]], deque([1])
        table = {"row": row, "keys": {1}}
        print(row, table, more)
        row.append(5)
        row[1].clear()
        table["keys"].add(2)
        table["new"] = more
        more.append(2)
        print(row, table, sep="; ")
        tg.debug.print("{} {}", row, len(row))
        tg.debug.callback(lambda r: print(r), row)
        row.clear()

    assert shown(tg.compile(step), w, capsys) == shown(step, w, capsys)
