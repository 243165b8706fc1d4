"""Scalar: a Python number of the surroundings that a compiled function reads at every call.

Arithmetic on Scalars gives Scalars: an expression that Python itself computes at each call, before
the program runs, so its meaning and its exceptions are Python's. A comparison is decided now and
checked at each call. Whatever else needs the number itself (an index, a text, a hash, a function in
C) raises NeedsValue, and the function is traced again with the number as a constant.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Whether a value may become a Scalar: an int, a float or a number of NumPy, no bool."""
    return type(value) in (int, float, Scalar) or isinstance(value, np.number)


class NeedsValue(BaseException):
    """Somebody needs the number itself. No Exception, so that a function which catches those
    cannot go on without it.
    """


class UnknownValue(RuntimeError):
    """Python asks for the value of a traced tensor where no guard can stand for it."""


class Scalar:
    """A number: read from `origin`, or `function(*operands)`. `value` is what it is at this call;
    `book` is where decisions are noted.
    """

    __slots__ = ("_book", "_function", "_operands", "_origin", "_value")

    def __init__(self, book: Book, value: Any, origin: Any = None,
                 function: Callable | None = None, operands: tuple = ()):
        self._book, self._value, self._origin = book, value, origin
        self._function, self._operands = function, operands

    __class__ = property(lambda self: type(self._value))
    __array_ufunc__ = None  # a number of NumPy beside a Scalar leaves the operation to it

    def __getattr__(self, name: str) -> Any:
        raise self._needed()

    def _needed(self) -> NeedsValue:
        self._book.needed.update(origins(self))
        return NeedsValue("a number that was to be read at every call is needed as a constant")

    def __bool__(self) -> bool:
        return decided(self, bool(self._value))

    def item(self) -> Scalar:
        """Of a NumPy number, the Python number."""
        return self


class Book:
    """What a trace did with the Scalars it was given: the decisions (Scalar, what it was), and the
    origins whose numbers are needed as constants.
    """

    def __init__(self) -> None:
        self.decisions: list[tuple[Scalar, Any]] = []
        self.needed: set = set()


def origins(s: Scalar) -> Iterator[Any]:
    """Where the numbers in an expression are read."""
    waiting = [s]
    while waiting:
        one = waiting.pop()
        if one._origin is not None:
            yield one._origin
        waiting += [x for x in one._operands if type(x) is Scalar]


def decided(s: Scalar, value: Any) -> Any:
    """`value`, which is checked at every call from now on."""
    s._book.decisions.append((s, value))
    return value


def apply(function: Callable, *operands: Any) -> Any:
    """`function` of numbers, some of which are Scalars."""
    values = [x._value if type(x) is Scalar else x for x in operands]
    book = next(x._book for x in operands if type(x) is Scalar)
    return Scalar(book, function(*values), None, function, operands)


def _method(function: Callable, turned: bool, decide: bool) -> Callable:
    def method(self: Scalar, *others: Any) -> Any:
        if not all(isinstance(x, (int, float, np.number)) for x in others):
            return NotImplemented
        operands = (*others, self) if turned else (self, *others)
        found = apply(function, *operands)
        return decided(found, bool(found._value)) if decide else found

    return method


def _refused(self: Scalar, *args: Any, **kwargs: Any) -> Any:
    raise self._needed()


def _int(self: Scalar) -> int:
    """What is computed from a number (`step % 10`) often is one of few, each of which may have its
    program; the number itself is needed as a constant.
    """
    if self._function is None:
        raise self._needed()
    whole = apply(int, self)
    return decided(whole, whole._value)


def _index(self: Scalar) -> int:
    if not isinstance(self._value, (int, np.integer)):
        raise self._needed()
    return _int(self)


_BINARY: dict[str, Callable] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "lshift": operator.lshift,
    "rshift": operator.rshift,
}
_UNARY: dict[str, Callable] = {
    "neg": operator.neg, "pos": operator.pos, "abs": operator.abs, "invert": operator.invert,
    "round": round, "trunc": math.trunc, "floor": math.floor, "ceil": math.ceil,
}
_COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")
_NEED = """float complex str repr format hash array bytes
    divmod rdivmod reduce_ex copy deepcopy""".split()

for _name, _function in _BINARY.items():
    setattr(Scalar, f"__{_name}__", _method(_function, False, False))
    setattr(Scalar, f"__r{_name}__", _method(_function, True, False))
for _name, _function in _UNARY.items():
    setattr(Scalar, f"__{_name}__", _method(_function, False, False))
for _name in _COMPARISONS:
    setattr(Scalar, f"__{_name}__", _method(getattr(operator, _name), False, True))
for _name in _NEED:
    setattr(Scalar, f"__{_name}__", _refused)
Scalar.__int__, Scalar.__index__ = _int, _index  # type: ignore[attr-defined]


def _of_numbers(function: Callable) -> Callable:
    def call(*operands: Any) -> Any:
        scalars = any(type(x) is Scalar for x in operands)
        return apply(function, *operands) if scalars else function(*operands)

    return call


# functions of `math` that take Scalars, while a function is traced
MATH = {
    name: _of_numbers(getattr(math, name))
    for name in """acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh degrees erf erfc
    exp expm1 fabs floor fmod gamma hypot lgamma log log10 log1p log2 pow radians sin sinh sqrt tan
    tanh trunc""".split()
}
