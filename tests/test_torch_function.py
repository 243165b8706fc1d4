"""Subclasses of Tensor, and other classes with `__torch_function__`: torch's dispatch."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

import tracegrad as tg
from tracegrad import nn


class Image(tg.Tensor):
    pass


RESULTS = {
    "an operator": lambda x: x + 1,
    "a comparison": lambda x: x > 1,
    "two of them": lambda x: ~(x <= 2),
    "a row of an iteration": lambda x: next(iter(x)),
    "a reflected one": lambda x: tg.ones(3) * x,
    "a function": lambda x: tg.sin(x),
    "a function of a list": lambda x: tg.cat([tg.ones(2), x]),
    "a method": lambda x: x.clamp(min=0),
    "a property": lambda x: x.reshape(3, 1).mT,
    "an index": lambda x: x[1],
    "one of several": lambda x: x.max(0).values,
    "a conversion": lambda x: x.double(),
    "a layer": lambda x: nn.Linear(3, 2)(x),
    "a loss": lambda x: nn.functional.mse_loss(x, tg.zeros(3)),
    "in place": lambda x: x.add_(1),
    "a copy": copy.deepcopy,
    "a pickle": lambda x: pickle.loads(pickle.dumps(x)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_a_subclass_are_of_it(name):
    assert type(RESULTS[name](tg.ones(3).as_subclass(Image))) is Image


def test_gradients_pass_a_subclass():
    x = tg.ones(3, requires_grad=True)
    (x.as_subclass(Image) * 2).sum().backward()
    assert type(x.grad) is tg.Tensor and x.grad.tolist() == [2.0] * 3


def test_plain_tensors_and_parameters_stay_what_they_are():
    class Weight(nn.Parameter):
        pass

    for x in (tg.ones(2), nn.Parameter(tg.ones(2)), Weight(tg.ones(2))):
        assert type(x * 2) is type(tg.exp(x)) is tg.Tensor
        assert not tg.overrides.has_torch_function([x])


def test_a_subclass_sees_the_calls():
    class Logged(tg.Tensor):
        names: list[str] = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.names.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    x = tg.ones(2).as_subclass(Logged)
    y = tg.add(x, 1).mul(2)
    assert type(y) is Logged and y.tolist() == [4.0, 4.0] and Logged.names[:2] == ["add", "mul"]
    with tg._C.DisableTorchFunctionSubclass():
        assert type(x + 1) is tg.Tensor


class Lazy:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__, types, len(args)


@pytest.mark.parametrize("call, name, count", [
    (lambda: tg.add(Lazy(), 1), "add", 2), (lambda: tg.matmul(tg.ones(2, 2), Lazy()), "matmul", 2),
    (lambda: tg.stack([Lazy(), tg.ones(2)]), "stack", 1),
    (lambda: nn.functional.linear(Lazy(), tg.ones(2, 2)), "linear", 2),
    (lambda: tg.linalg.cholesky(Lazy()), "cholesky", 1),
])
def test_another_class_answers_for_itself(call, name, count):
    assert call() == (name, (Lazy,), count)


def test_none_that_answers_is_a_type_error():
    class Nothing:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return NotImplemented

    with pytest.raises(TypeError, match="no implementation found .* Nothing"):
        tg.add(Nothing(), 1)
    with pytest.raises(TypeError, match="expected a Tensor among the arguments"):
        tg.add("a", 1)


def test_a_compiled_function_refuses_to_lose_a_class():
    double, image = tg.compile(lambda x: x * 2), tg.ones(3).as_subclass(Image)
    assert double(tg.ones(3)).tolist() == [2.0] * 3
    closed = tg.compile(lambda: image * 2)
    for call in (lambda: double(image), lambda: closed()):
        with pytest.raises(RuntimeError, match="cannot keep the class of a Image"):
            call()
    assert type(double(image.as_subclass(tg.Tensor))) is tg.Tensor


def test_a_program_without_subclasses_is_not_slowed_by_them():
    script = "import tracegrad as t; from tracegrad.functions import torch_function as f\n" \
             "t.ones(2) + t.nn.Parameter(t.ones(2)); print(f.subclasses)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert out.stdout == "[]\n", out.stderr


def test_operators_are_known_by_their_methods():
    calls = []

    class Watched(tg.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            calls.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    x = tg.ones(2).as_subclass(Watched)
    results = [x + 1, 2 * x, x / x, -x, x < 2, x % 2, x**2, x[0], x.T]
    T = tg.Tensor
    assert calls == [T.add, T.mul, T.div, T.neg, T.lt, T.remainder, T.pow, T.__getitem__,
                     T.T.__get__]
    assert all(type(y) is Watched for y in results)


class Other:
    def _operator(self, x):
        return "mine"

    __radd__ = __rpow__ = __rmatmul__ = __rand__ = __gt__ = __eq__ = _operator


@pytest.mark.parametrize("kind", [tg.Tensor, Image])
def test_an_operand_of_another_class_is_left_to_it(kind):
    x = tg.ones(2, dtype=tg.int64).as_subclass(kind)
    other = Other()
    results = [x + other, x**other, x @ other, x & other, x < other, x == other]
    assert results == ["mine"] * 6
    x_before = x
    x += other
    assert x == "mine" and (x_before == object()) is False and x_before != [1, 1]
    for operate in (lambda: x_before - other, lambda: x_before <= "a", lambda: x_before ** None):
        with pytest.raises(TypeError, match="not supported|unsupported operand"):
            operate()


def test_a_class_that_takes_no_part():
    class Plain(tg.Tensor):
        __torch_function__ = tg._C._disabled_torch_function_impl

    x = tg.ones(2).as_subclass(Plain)
    assert type(x) is Plain and type(x + 1) is tg.Tensor and type(tg.sin(x)) is tg.Tensor


def test_a_parameter_refuses_to_lose_a_class():
    with pytest.raises(RuntimeError, match="a Parameter cannot keep the class of a Image"):
        nn.Parameter(tg.ones(2).as_subclass(Image))
    assert type(nn.Parameter(nn.Parameter(tg.ones(2)))) is nn.Parameter


def test_masks_of_a_compiled_function_are_no_subclasses_of_users():
    class Mine(tg.Tensor):
        pass

    assert type(tg.ones(1).as_subclass(Mine) + 1) is Mine  # from now on classes are asked
    y = tg.compile(lambda x: tg.sin(x[x > 1]) + x[x > 1])(tg.arange(4.0))
    wanted = tg.arange(2.0, 4.0).sin() + tg.arange(2.0, 4.0)
    assert type(y) is tg.Tensor and y.tolist() == wanted.tolist()


def test_tensors_of_torch_are_numbers_and_not_asked():
    torch = pytest.importorskip("torch")

    class Mine(tg.Tensor):
        pass

    class Theirs(torch.Tensor):
        pass

    assert Mine([1.0]).tolist() == [1.0]
    for x in (torch.arange(3.0), torch.arange(3.0).as_subclass(Theirs)):
        assert tg.from_dlpack(x).tolist() == tg.tensor(x).tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(TypeError):
            tg.add(tg.ones(3), x)
        with pytest.raises(TypeError):
            tg.ones(3) + x
