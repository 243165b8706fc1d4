"""Guards: which are checked at every call and which when the change counter has moved, what moves
it, what counts as unchanged, and how a change is told.
"""

from __future__ import annotations

import types
from collections import OrderedDict, deque

import numpy as np
import pytest
from guards_of_programs import guard_set, guards_of, kinds

import tracegrad as tg
from tracegrad import nn
from tracegrad.tracer.capture.guards import Guard
from tracegrad.tracer.capture.locations import ABSENT, Location, alike
from tracegrad.tracer.change_counter import captured_tensors, change_count


class User:
    rate = 2.0


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate, self.sizes, self.w = 2.0, [1.0], nn.Parameter(tg.ones(2))

    def forward(self, x):
        return x * self.rate * self.sizes[0] * self.w


def moved(act) -> bool:
    """Whether an act moves the change counter."""
    before = change_count[0]
    act()
    return change_count[0] != before


# ---- when they are checked
@pytest.mark.parametrize("value, read", [
    (2.0, lambda v: v), ([2.0], lambda v: v[0]), ({"k": 2.0}, lambda v: v["k"]),
    ({2.0}, lambda v: len(v)), (User(), lambda v: v.rate), (np.ones(2), lambda v: float(v[0])),
    (types.SimpleNamespace(rate=2.0), lambda v: v.rate),
], ids=lambda v: type(v).__name__)
def test_what_cannot_report_is_checked_at_every_call(value, read):
    every, reported = guards_of(lambda x: x * read(value), tg.ones(2))
    assert reported == [] and every


def test_a_captured_tensor_reports():
    w = tg.ones(2)
    every, reported = guards_of(lambda x: x * w, tg.ones(2))
    assert kinds(reported) == {("the tensor in the closure variable 'w'", "like")}
    assert ("the closure variable 'w'", "cell") in kinds(every)  # where another may be put


def test_attributes_and_tables_of_a_module_report_but_not_what_they_hold():
    every, reported = guards_of(Scale(), tg.ones(2))
    told = {words for words, _ in kinds(reported)}
    assert {"attribute 'rate' of Scale", "attribute 'sizes' of Scale"} <= told
    assert any(words.startswith("'w' in ") for words in told)
    assert ("attribute 'sizes' of Scale", "content") in kinds(every)
    assert ("class Scale", "class") in kinds(every)


def test_options_of_an_optimizer_report():
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    every, reported = guards_of(step, tg.ones(2))
    assert ("'momentum' in group", "item") in kinds(reported)
    assert not any("group" in words for words, _ in kinds(every))


# ---- what moves the counter
@pytest.mark.parametrize("act, moves", [
    (lambda m: setattr(m, "rate", 3.0), True),
    (lambda m: setattr(m, "new", 3.0), True),
    (lambda m: delattr(m, "rate"), True),
    (lambda m: m.eval(), True),
    (lambda m: m.register_buffer("b", tg.ones(2)), True),
    (lambda m: m.register_forward_hook(lambda *_: None), True),
    (lambda m: m.sizes.append(2.0), False),  # is checked at every call
    (lambda m: m.rate, False),
    (lambda m: m(tg.ones(2)), False),
], ids=range(9))
def test_changes_of_a_module_move_the_counter(act, moves):
    module = Scale()
    guards_of(module, tg.ones(2))
    assert moved(lambda: act(module)) == moves


def test_a_change_of_a_captured_tensor_moves_the_counter_and_of_another_does_not():
    w, others = tg.ones(2), [tg.ones(2) for _ in range(1000)]
    # an id may be that of a tensor that was captured before and is gone
    other = next(t for t in others if id(t) not in captured_tensors)
    guards = guards_of(lambda x: x * w, tg.ones(2))
    assert moved(lambda: w.requires_grad_())
    assert not moved(lambda: other.requires_grad_())
    assert not moved(lambda: w.data.mul_(2.0))  # its numbers are read at every call
    assert guards


def test_an_option_that_is_read_at_each_call_moves_the_counter_only_for_another_type():
    optimizer = tg.optim.SGD([tg.ones(2, requires_grad=True)], lr=0.1)
    (group,) = optimizer.param_groups
    assert not moved(lambda: group.update(lr=0.2))
    assert moved(lambda: group.update(lr=tg.tensor(0.2)))
    assert moved(lambda: group.update(nesterov=True))


def test_a_guard_that_reports_is_stale_once_what_it_guards_has_changed():
    module = Scale()
    compiled = tg.compile(module)
    compiled(tg.ones(2))
    guards = guard_set(compiled)
    assert not guards.stale() and not list(guards.changes())
    module.unread = 1.0
    assert not guards.stale()
    module.rate = 3.0
    assert guards.stale()
    assert [str(g) for g in guards.changes()] == [
        "attribute 'rate' of Scale was changed: was 2.0, is 3.0"
    ]
    module.rate = 2.0
    assert not guards.stale()


# ---- what counts as unchanged
class Own:
    pass


ONE = Own()


@pytest.mark.parametrize("then, now, same", [
    (1, 1, True), (1, True, False), (1, 1.0, False), (1.0, 1.5, False),
    (0.0, -0.0, False), (float("nan"), float("nan"), True), (1j, complex(-0.0, 1), False),
    ("a", "".join(["a"]), True), (b"a", b"b", False), (None, None, True), (None, 0, False),
    (np.float64(0.0), np.float64(-0.0), False), (np.float64(2.0), np.float32(2.0), False),
    (np.int64(3), np.int64(3), True), (np.float64(2.0), 2.0, False),
    (ONE, ONE, True), (Own(), Own(), False), ([1], [1], False), ((1,), (1,), True),
    (ABSENT, ABSENT, True), (ABSENT, None, False),
])
def test_a_value_is_unchanged_if_it_cannot_be_told_from_what_it_was(then, now, same):
    same = same and then is now if isinstance(then, tuple) else same
    assert alike(then, now) == same


def guard(kind: str, holder, key=None) -> Guard:
    place = Location("the thing", kind, holder, key)
    return Guard(place, place.now())


@pytest.mark.parametrize("table, act, holds", [
    ([1.0, 2.0], lambda t: t.append(3.0), False),
    ([1.0, 2.0], lambda t: t.reverse(), False),
    ([1.0, 2.0], lambda t: t.__setitem__(0, float("1.0")), True),  # an equal number, not the same
    ([0.0], lambda t: t.__setitem__(0, -0.0), False),
    ({"a": 1.0, "b": 2.0}, lambda t: t.update(a=3.0), False),
    ({"a": 1.0, "b": 2.0}, lambda t: t.update(a=t.pop("a")), False),  # another order
    ({"a": 1.0}, lambda t: t.update(a=float("1.0")), True),
    ({1: "x"}, lambda t: (t.clear(), t.update({True: "x"})), False),
    (OrderedDict(a=1.0, b=2.0), lambda t: t.move_to_end("a"), False),
    (deque([1.0, 2.0]), lambda t: t.rotate(), False),
    (deque([1.0, 1.0]), lambda t: t.rotate(), True),
])
def test_the_quick_check_of_a_container_says_what_the_slow_one_says(table, act, holds):
    found = guard("content", table)
    check = found.check()
    assert check() and found.holds()
    act(table)
    assert check() == found.holds() == holds


def test_a_container_is_looked_into_past_the_methods_of_its_class():
    class Odd(list):
        def __len__(self):
            return 7

        def __iter__(self):
            return iter(())

    table = Odd([1.0])
    check = guard("content", table).check()
    assert check()
    table[0] = 2.0
    assert not check()


def test_values_that_are_read_at_each_call_are_no_part_of_the_guard():
    table = {"rate": 1.0, "size": 2}
    check = guard("content", table, frozenset({"rate"})).check()
    table["rate"] = 5.0
    assert check()
    table["size"] = 3
    assert not check()


# ---- the kinds of places
def _cell(value):
    return (lambda: value).__closure__[0]


class Slots:
    __slots__ = ("rate",)


SETTABLE = {
    "an item of a dict": ("item", lambda: {"k": 1.0}, "k"),
    "an item of a list": ("item", lambda: [1.0], 0),
    "a cell": ("cell", lambda: _cell(1.0), None),
    "a slot": ("slot", lambda: Slots(), Slots.rate),
    "an attribute of a class": ("attribute", lambda: type("Fresh", (), {"rate": 1.0}), "rate"),
}


@pytest.mark.parametrize("name", SETTABLE)
def test_what_is_set_at_a_place_is_found_there(name):
    kind, make, key = SETTABLE[name]
    place = Location("the thing", kind, make(), key)
    assert place.settable()
    for value in (2.0, None, place):
        place.put(value)
        assert place.now() is value
    if name != "an item of a list":
        place.put(ABSENT)
        assert place.now() is ABSENT


@pytest.mark.parametrize("kind, holder", [
    ("content", [1.0]), ("set", {1.0}), ("array", np.ones(2)), ("bytes", bytearray(b"a")),
    ("type", User()), ("function", lambda: None), ("like", tg.ones(2)), ("class", User),
])
def test_a_summary_cannot_be_set(kind, holder):
    assert not Location("the thing", kind, holder).settable()


def test_one_place_has_one_id():
    table, other = {"k": 1.0}, {"k": 1.0}
    here = Location("here", "item", table, "k")
    assert here.id == Location("in other words", "item", table, "".join(["k"])).id
    assert here.id != Location("here", "item", other, "k").id
    assert here.id != Location("here", "item", table, "j").id
    assert here.id != Location("here", "content", table, "k").id


# ---- in words
@pytest.mark.parametrize("before, after, words", [
    (1.0, 2, "the thing was changed: was 1.0, is 2"),
    ("a", "b", "the thing was changed: was 'a', is 'b'"),
    (1.0, ABSENT, "the thing was changed: was 1.0, is nothing"),
    (Own(), 1.0, "the thing was changed"),  # no identities in a message
    ("a" * 70, "b", "the thing was changed"),
])
def test_a_change_is_told_with_both_values_if_they_are_short(before, after, words):
    table = {"k": before}
    found = guard("item", table, "k")
    found.location.put(after)
    assert not found.holds() and str(found) == words
