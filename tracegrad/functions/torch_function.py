"""`__torch_function__`: classes that take over torch's functions, and subclasses of Tensor.

A subclass of Tensor that a user defines takes part from its definition on: its methods and the
public functions go through `__torch_function__`, whose default gives results of the subclass. Other
classes with `__torch_function__` are asked where a function cannot use them as tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from ..ir.value import ARITHMETIC, is_operand
from ..tracer.mode import mode
from ..tracer.tensor.tensor import Tensor
from .torch.slicing_joining import alias

NOT_TAKEN = object()
subclasses: list[type] = []  # of Tensor, by users
watchers: list[Any] = []  # they and autocast, once used: the public functions ask them from then on
_KEPT = frozenset("as_subclass backward bind register_hook requires_grad_ retain_grad".split())
_OPERATORS = frozenset(
    [*ARITHMETIC, *(f"__i{name[2:]}" for name in ARITHMETIC), *(f"__r{n[2:]}" for n in ARITHMETIC)]
) | frozenset("__abs__ __eq__ __ge__ __getitem__ __gt__ __invert__ __le__ __lt__ __matmul__ __ne__ "
              "__neg__ __pos__ __rmatmul__ __rpow__ __setitem__".split())
# operators whose function is, for torch, a method of another name
_METHODS = {
    "__abs__": "abs", "__add__": "add", "__ge__": "ge", "__gt__": "gt", "__iadd__": "add_",
    "__imul__": "mul_", "__isub__": "sub_", "__itruediv__": "div_", "__le__": "le", "__lt__": "lt",
    "__matmul__": "matmul", "__mod__": "remainder", "__mul__": "mul", "__ne__": "ne",
    "__neg__": "neg", "__pos__": "positive", "__pow__": "pow", "__radd__": "add",
    "__rmul__": "mul", "__sub__": "sub", "__truediv__": "div",
}
_TORCHS = ("torch", "torch._tensor")  # what torch gives its own tensors is no answer to ours
_UNASKED = frozenset(["is_tensor"])  # functions of any object, which torch asks no class for
_PROPERTIES = frozenset("H T data mH mT".split())


class _State(threading.local):
    off = False


_state = _State()


@contextmanager
def no_torch_function() -> Iterator[None]:
    """Within it, subclasses of Tensor are tensors and nothing more."""
    before, _state.off = _state.off, True
    try:
        yield
    finally:
        _state.off = before


def disabled(func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """A `__torch_function__` that takes nothing over: results are plain tensors."""
    with no_torch_function():
        return func(*args, **(kwargs or {}))


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("tracegrad.")


def takes_over(x: Any) -> bool:
    """Whether calls with this argument are its class's to answer."""
    kind = type(x)
    if kind is Tensor or not hasattr(kind, "__torch_function__"):
        return False
    if _is_ours(kind) and issubclass(kind, Tensor):
        return False
    owner = next(c for c in kind.__mro__ if "__torch_function__" in vars(c))
    return owner.__module__ not in _TORCHS and kind.__torch_function__ is not disabled


def takers(arguments: Iterable[Any]) -> list[Any]:
    """Those arguments that take over, one of each class, a subclass before its base."""
    taking: list[Any] = []
    for x in filter(takes_over, arguments):
        if type(x) not in map(type, taking):
            place = next((i for i, t in enumerate(taking) if isinstance(x, type(t))), len(taking))
            taking.insert(place, x)
    return taking


def taken_over(function: Callable, args: tuple, kwargs: dict) -> Any:
    """What a class among the arguments makes of the call; NOT_TAKEN if there is none."""
    policy = mode.autocast
    if policy is not None and (result := policy.call(function, args, kwargs)) is not None:
        return result
    if _state.off or function.__name__ in _UNASKED:
        return NOT_TAKEN
    everything = [*args, *kwargs.values()]
    inside = [y for x in everything if isinstance(x, (tuple, list)) for y in x]
    taking = takers([*everything, *inside])
    return ask(function, taking, args, kwargs) if taking else NOT_TAKEN


def ask(function: Callable, taking: list[Any], args: tuple, kwargs: dict) -> Any:
    """Let these arguments answer the call, in turn."""
    kinds = tuple(map(type, taking))
    for x in taking:
        if mode.trace is not None:
            refuse_subclass(x)
        result = type(x).__torch_function__(function, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    names = ", ".join(k.__name__ for k in kinds)
    raise TypeError(f"no implementation found for {function!r} on types that implement "
                    f"__torch_function__: {names}")


def refuse_subclass(x: Any) -> None:
    """Raise RuntimeError for a tensor whose class a compiled function would lose."""
    if isinstance(x, Tensor) and takes_over(x):
        raise RuntimeError(
            f"a compiled function cannot keep the class of a {type(x).__name__}: give it "
            "x.as_subclass(torch.Tensor), or do not compile what depends on the class"
        )


def as_subclass(self: Tensor, cls: type) -> Any:
    """The same values, with their history, as a tensor of the class.

    Shape: that of self. Raises TypeError for what is no subclass of Tensor.

    >>> class Image(torch.Tensor):
    ...     pass
    >>> type(torch.ones(2).as_subclass(Image) * 2).__name__
    'Image'
    """
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass: {cls!r} is no subclass of Tensor")
    with no_torch_function():
        new = alias(self)
    new.__class__ = cls
    return new


def _as(cls: type, result: Any) -> Any:
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else as_subclass(result, cls)
    if isinstance(result, (tuple, list)):
        parts = [_as(cls, x) for x in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def default(cls: type, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """`Tensor.__torch_function__`: the function as for tensors, with results of the subclass."""
    if _state.off or not all(issubclass(cls, t) for t in types):
        return NotImplemented  # while it is off, only functions of another library ask
    with no_torch_function():
        result = func(*args, **(kwargs or {}))
    return result if cls is Tensor else _as(cls, result)


def _method(name: str, plain: Callable, torchs: Callable) -> Callable:
    """A method that asks for `torchs`, by the name that torch has for it.

    Operators leave operands that they do not take to the operands' classes.
    """
    is_binary = name in _OPERATORS and name not in ("__getitem__", "__setitem__")

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_binary and args and not (is_operand(args[0]) or takes_over(args[0])):
            return plain(self, *args)
        result = taken_over(torchs, (self, *args), kwargs)
        return plain(self, *args, **kwargs) if result is NOT_TAKEN else result

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


def _iterate(self: Tensor) -> Iterator[Tensor]:
    """The rows, of the subclass as `unbind` gives them."""
    return iter(self.unbind()) if self.ndim else Tensor.__iter__(self)


def _members() -> dict[str, Any]:
    """What Tensor has, and its operators, which are its base's."""
    own = {n: v for n, v in vars(Tensor).items() if isinstance(v, (FunctionType, property))}
    return {name: getattr(Tensor, name) for name in _OPERATORS if hasattr(Tensor, name)} | own


def join(cls: type) -> None:
    """Let a subclass take part, if it takes anything over; told of each when it is defined."""
    if _is_ours(cls):
        return
    if cls.__torch_function__ is disabled:  # type: ignore[attr-defined]
        return
    subclasses.append(cls)
    watchers.append(cls)
    for name, value in _members().items():
        if getattr(cls, name) is not getattr(Tensor, name):
            continue
        if name in _PROPERTIES:
            setattr(cls, name, property(_method(name, value.fget, value.__get__), value.fset))
        elif name == "__iter__":
            cls.__iter__ = _iterate  # type: ignore[attr-defined]
        elif callable(value) and (name[0] != "_" or name in _OPERATORS) and name not in _KEPT:
            setattr(cls, name, _method(name, value, getattr(Tensor, _METHODS.get(name, name))))


def attach() -> None:
    """Give Tensor what is above."""
    added = {"as_subclass": as_subclass, "__torch_function__": classmethod(default),
             "__init_subclass__": classmethod(join)}
    for name, value in added.items():
        setattr(Tensor, name, value)
