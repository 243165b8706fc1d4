"""Scalar: a Python number that a compiled function reads at every call.

Arithmetic on Scalars gives Scalars: expressions that Python computes at each call, before the
program runs. So their meaning and their exceptions are Python's. A comparison is decided in the
trace, and is a guard. Any other use of the number (an index, a text, a hash, a function in C)
raises NeedsValue, and the function is traced again with the number as a constant.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from . import texts


def is_number(value: Any) -> bool:
    """Whether a value may become a Scalar: an int, a float or a number of NumPy, no bool."""
    return type(value) in (int, float, Scalar) or isinstance(value, np.number)


class NeedsValue(BaseException):
    """The number itself is needed. A BaseException, so that a function which catches Exceptions
    does not catch it.
    """


class UnknownValue(RuntimeError):
    """Python asks for the value of a traced tensor, and no guard is possible."""


class Scalar:
    """A number: read from `origin`, or `function(*operands)`. `value` is its value at this call.
    Decisions are noted in `log`. `stage` is -1, or that of the program's values which it depends on
    (values.py).
    """

    __slots__ = ("_function", "_log", "_operands", "_origin", "_stage", "_value")

    def __init__(self, log: ScalarLog, value: Any, origin: Any = None,
                 function: Callable | None = None, operands: tuple = ()):
        self._log, self._value, self._origin = log, value, origin
        self._function, self._operands = function, operands
        self._stage: int = max((x._stage for x in operands if type(x) is Scalar), default=-1)

    __class__ = property(lambda self: type(self._value))
    __array_ufunc__ = None  # so that a NumPy number leaves an operation to the Scalar

    def __getattr__(self, name: str) -> Any:
        raise self._needed()

    def _needed(self) -> BaseException:
        if self._log.closed:
            return RuntimeError(
                "a number that a compiled function reads at every call was kept by something that "
                "it made: pass the number on instead, as an argument or as a result"
            )
        self._log.needed.update(origins(self))
        return NeedsValue("a number that is read at every call is needed as a constant")

    def __bool__(self) -> bool:
        return decided(self, bool(self._value))

    def __format__(self, spec: str) -> str:
        text = texts.mark(self._log.texts, self, spec)
        if text is None:
            raise self._needed()
        return text

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def item(self) -> Scalar:
        """Of a NumPy number, the Python number."""
        return self


class ScalarLog:
    """What a trace did with its Scalars: the decisions (Scalar, result), and the origins of numbers
    that are needed as constants.
    """

    def __init__(self) -> None:
        self.decisions: list[tuple[Scalar, Any]] = []
        self.needed: set = set()
        self.closed = False  # whether the trace is over
        self.risky: list[Scalar] = []  # computed at each call, used or not: they may raise
        self.texts: texts.Values = []
        # functions with arguments that are called at each call, after the program has run
        self.later: list[tuple[Callable, tuple, dict]] = []
        self.shown: dict[int, tuple[tuple, list]] = {}  # some of these, with nodes of tensors then
        self.ask: Callable[[Any, Any], Any]  # notes a decision on a value of the program


def origins(s: Scalar) -> Iterator[Any]:
    """The origins of the numbers in an expression."""
    stack = [s]
    while stack:
        scalar = stack.pop()
        if scalar._origin is not None:
            yield scalar._origin
        stack += [x for x in scalar._operands if type(x) is Scalar]


def _is_sure(function: Callable, operands: tuple) -> bool:
    """Whether computing it raises for no values of its Scalars."""
    if function in _COMPARING:
        return True
    plain = all(type(x) is float or type(x) is int and abs(x) < 2**53 for x in operands
                if type(x) is not Scalar)
    if not plain or any(type(x) is Scalar and type(x._value) is not float for x in operands):
        return False
    if function is operator.truediv:
        return type(operands[1]) is not Scalar and operands[1] != 0
    return function in _SURE or (function is round and len(operands) == 2)


def decided(s: Scalar, value: Any) -> Any:
    """`value`, noted as a decision: it is a guard."""
    if s._stage >= 0:
        return s._log.ask(s, value)
    s._log.decisions.append((s, value))
    return value


def apply(function: Callable, *operands: Any) -> Any:
    """`function` of numbers, some of which are Scalars."""
    values = [x._value if type(x) is Scalar else x for x in operands]
    log = next(x._log for x in operands if type(x) is Scalar)
    try:
        value = function(*values)
    except Exception as error:  # which the function may catch
        kind = type(error).__name__
        decided(Scalar(log, kind, None, partial(_raised, function), operands), kind)
        raise
    result = Scalar(log, value, None, function, operands)
    if not _is_sure(function, operands):
        log.risky.append(result)
    return result


def _raised(function: Callable, *values: Any) -> str:
    """The name of the exception that `function` raises; empty if it does not."""
    try:
        function(*values)
    except Exception as error:
        return type(error).__name__
    return ""


def _method(function: Callable, reflected: bool, decide: bool) -> Callable:
    def method(self: Scalar, *others: Any) -> Any:
        if not all(isinstance(x, (int, float, np.number)) for x in others):
            return NotImplemented
        operands = (*others, self) if reflected else (self, *others)
        result = apply(function, *operands)
        return decided(result, bool(result._value)) if decide else result

    return method


def _refused(self: Scalar, *args: Any, **kwargs: Any) -> Any:
    raise self._needed()


def _int(self: Scalar) -> int:
    """The result of an expression (`step % 10`) or of the program often has few values: each may
    have its program. A number that is neither becomes a constant.
    """
    if self._function is None and self._stage < 0:
        raise self._needed()
    whole = apply(int, self)
    return decided(whole, whole._value)


def _index(self: Scalar) -> int:
    if not isinstance(self._value, (int, np.integer)):
        raise self._needed()
    return _int(self)


# what raises for no floats
_SURE = {operator.add, operator.sub, operator.mul, operator.neg, operator.pos, operator.abs, abs}
_COMPARING = {operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge}
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
_NEED = """float complex str repr hash array bytes
    reduce_ex copy deepcopy""".split()

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


# functions of `math` that take Scalars during a trace
MATH = {
    name: _of_numbers(getattr(math, name))
    for name in """acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh degrees erf erfc
    exp expm1 fabs floor fmod gamma hypot isfinite isinf isnan lgamma log log10 log1p log2 pow
    radians sin sinh sqrt tan tanh trunc""".split()
}
