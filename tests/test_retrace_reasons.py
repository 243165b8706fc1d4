"""Why a call is traced, in words: how its signature differs from the last one, or which guard of
the last program does not hold. Reasons are compared by kind, so that one that comes again and again
is said aloud.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.driver.retrace_reasons import Reason, failed_guard, other_signature, reason


def ones(*shape, **options):
    return tg.ones(shape, **options)


def told(value):
    return value


def of_calls(first, second) -> Reason:
    """How the second of two calls differs, by the keys of both."""
    state = tg.compile(told).tracegrad_state
    return other_signature(state.key(first, {})[0], state.key(second, {})[0])


# ---- another signature
@dataclass
class Pair:
    left: object
    right: object


class Box:
    pass


X = ones(3)


@pytest.mark.parametrize("first, second, words", [
    # the tensors
    ((ones(3),), (ones(4),), "tensor argument 0: float32[3] became float32[4]"),
    ((X, ones(2)), (X, ones(2, 1)), "tensor argument 1: float32[2] became float32[2, 1]"),
    ((ones(),), (ones(1),), "tensor argument 0: float32[] became float32[1]"),
    ((ones(3),), (ones(3, dtype=tg.int64),), "tensor argument 0: float32[3] became int64[3]"),
    ((ones(3),), (ones(3, requires_grad=True),),
     "tensor argument 0: float32[3] became float32[3] requires_grad"),
    (([X, ones(2)],), ([X, ones(5)],), "tensor argument 1: float32[2] became float32[5]"),
    # what is beside them
    ((ones(3), 1), (ones(3), 1.0), "the structure of the arguments: int became float"),
    ((ones(3), 1), (ones(3), True), "the structure of the arguments: int became bool"),
    ((ones(3), "a"), (ones(3), "b"), "the structure of the arguments: 'a' became 'b'"),
    ((ones(3), None), (ones(3), "b"), "the structure of the arguments: NoneType became str"),
    (([1],), ((1,),), "the structure of the arguments: list became tuple"),
    ((Pair(1, 2),), ([1, 2],), "the structure of the arguments: Pair became list"),
    ((Pair(1, "a"),), (Pair(1, "b"),), "the structure of the arguments: 'a' became 'b'"),
    (({"a": X},), ({"b": X},), "the structure of the arguments: 'a' became 'b'"),
    ((Box(),), (Box(),), "the structure of the arguments: another Box"),
    ((True,), (False,), "the structure of the arguments: True became False"),
    # which are one
    ((X, X), (X, ones(3)), "which tensors are one and the same: (0, 0) became (0, 1)"),
])
def test_the_first_difference_of_two_calls_is_told(first, second, words):
    assert of_calls(first, second).words == words


def test_strides_are_part_of_the_signature():
    a, b = ones(3, 3), ones(3, 3).t()
    assert of_calls((a,), (b,)).kind == ("the tensors", 0)


def test_one_more_tensor_is_another_structure():
    found = of_calls((ones(3),), (ones(3), ones(3)))
    assert found.kind == "the structure of the arguments"


def test_grad_mode_and_the_default_dtype_are_part_of_the_signature():
    state = tg.compile(told).tracegrad_state
    then = state.key((X,), {})[0]
    with tg.no_grad():
        assert other_signature(then, state.key((X,), {})[0]).words == (
            "grad mode: True became False"
        )
    tg.set_default_dtype(tg.float64)
    try:
        found = other_signature(then, state.key((X,), {})[0])
    finally:
        tg.set_default_dtype(tg.float32)
    assert found.kind == "the default dtype"


def test_changes_of_one_tensor_are_one_reason_whatever_the_shapes():
    a = of_calls((ones(3), ones(2)), (ones(3), ones(4)))
    b = of_calls((ones(3), ones(7)), (ones(3), ones(1)))
    c = of_calls((ones(3), ones(7)), (ones(2), ones(7)))
    assert a.kind == b.kind != c.kind and a.words != b.words


def test_no_reason_tells_the_identity_of_an_object():
    box = Box()
    for one, other in ((box, Box()), (box, 1), ((box,), ({},)), ([box], [Box()])):
        assert str(id(box)) not in of_calls((one,), (other,)).words


# ---- a guard that does not hold
def after_a_call(function, *args):
    """The program of a compiled function, and what a call of it gives to be looked at."""
    compiled = tg.compile(function)
    compiled(*args)
    state = compiled.tracegrad_state
    return state.latest(), lambda *again: state.key(again or args, {})[1:3]


def test_a_number_among_the_arguments_is_told_with_both_values():
    def f(x, k, other):
        return x * other if k else x

    entry, of_call = after_a_call(f, X, 2, 1.0)
    found = failed_guard(entry, *of_call(X, 3, 1.0))
    assert found == Reason(("number", 0), "a number among the arguments: 2 became 3")
    found = failed_guard(entry, *of_call(X, 2, -1.0))
    assert found.words == "a number among the arguments: 1.0 became -1.0"


def test_what_is_read_outside_is_told_by_its_name():
    rate = 2.0

    def f(x):
        return x * rate

    entry, of_call = after_a_call(f, X)
    rate = 3.0
    found = failed_guard(entry, *of_call())
    assert found.words == "the closure variable 'rate' was changed: was 2.0, is 3.0"
    rate = 4.0
    assert failed_guard(entry, *of_call()).kind == found.kind


def test_arguments_are_looked_at_before_what_is_outside():
    rate = 2.0

    def f(x, k):
        return x * rate * k

    entry, of_call = after_a_call(f, X, 2)
    rate = 3.0
    assert failed_guard(entry, *of_call(X, 3)).kind == ("number", 0)
    assert "'rate'" in failed_guard(entry, *of_call(X, 2)).words


class Cell:
    """An object whose attribute is another tensor at each call."""

    def __init__(self):
        self.state = ones(3)

    def step(self, x):
        self.state = self.state + x
        return self.state


@pytest.mark.parametrize("value, words", [
    (ones(4), "float32[3] became float32[4]"),
    (ones(3, dtype=tg.float64), "float32[3] became float64[3]"),
    ([1.0], "is of type list"),
    (None, "is of type NoneType"),
])
def test_a_tensor_that_is_found_at_each_call_is_told_by_where_it_is(value, words):
    cell = Cell()
    entry, of_call = after_a_call(lambda x: cell.step(x), X)
    cell.state = value
    found = failed_guard(entry, *of_call())
    assert "attribute 'state' of" in found.words and found.words.endswith(words)


def test_a_gradient_that_is_there_or_not_is_told_with_the_tensor():
    w = ones(3, requires_grad=True)

    def f(x):
        (w * x).sum().backward()

    entry, of_call = after_a_call(f, X)
    w.grad = ones(3)
    found = failed_guard(entry, *of_call())
    assert found.kind == "grad"
    assert "whether .grad of a captured tensor (float32[3] requires_grad) is None" in found.words


def test_a_branch_on_a_value_is_told_with_its_line():
    def f(x):
        if x.sum() > 2:
            return x * 2
        return x

    entry, of_call = after_a_call(f, X)
    found = failed_guard(entry, *of_call(-X))
    assert found.kind == "value" and found.words.startswith("a value that Python branched on")
    assert __file__.rsplit("/", 1)[-1] in found.words


def test_what_is_left_is_a_tensor_that_is_another_kind_of_tensor():
    entry, of_call = after_a_call(lambda x: x * 2, X)
    assert failed_guard(entry, *of_call()).kind == "aval"


# ---- which of these it is
def test_a_first_call_has_no_kind():
    assert reason(None, 0, (), (), (), ()) == Reason(None, "the first call")
    assert reason(None, 1, (), (), (), ()).words == "the object it was called on is gone"


def test_a_program_of_the_same_signature_is_asked_for_its_guards():
    compiled = tg.compile(lambda x, k: x[:k])
    compiled(X, 2)
    state = compiled.tracegrad_state
    key, tensors, numbers, _ = state.key((X, 3), {})
    last = state.latest()
    assert reason(last, 1, key, [last], tensors, numbers).kind == ("number", 0)
    key, tensors, numbers, _ = state.key((ones(5), 2), {})
    assert reason(last, 1, key, [], tensors, numbers).kind == ("the tensors", 0)


def test_arrays_count_as_tensors():
    found = of_calls((np.ones(3, "f4"),), (np.ones(4, "f4"),))
    assert found.words == "tensor argument 0: float32[3] became float32[4]"
