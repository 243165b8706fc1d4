"""torch.jit: there is no second language here, so scripting and tracing give back what they get.

What runs is the Python function itself, with the same results; `compile` makes it fast.
"""

from __future__ import annotations

import builtins
from typing import Any, Dict, Final, List, Optional, Tuple, TypeVar  # noqa: UP035

from .nn.module import Module
from .refusals import refused

__all__ = [
    "Attribute", "Dict", "Final", "List", "Optional", "ScriptModule", "Tuple",
    "annotate", "export", "freeze", "ignore", "interface", "is_scripting", "is_tracing",
    "isinstance", "optimize_for_inference", "script", "script_method",
    "set_fusion_strategy", "trace", "trace_module", "unused",
]
_T = TypeVar("_T")
BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = list  # in annotations


def script(obj: _T, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
           example_inputs: Any = None) -> _T:
    """The function, class or Module itself.

    >>> torch.jit.script(torch.nn.Linear(2, 1))
    Linear(in_features=2, out_features=1, bias=True)
    """
    return obj


def trace(func: _T, example_inputs: Any = None, *args: Any, **kwargs: Any) -> _T:
    """The function or Module itself: branches stay branches, for every input."""
    return func


def trace_module(mod: _T, inputs: Any, *args: Any, **kwargs: Any) -> _T:
    """The Module itself."""
    return mod


def freeze(mod: _T, *args: Any, **kwargs: Any) -> _T:
    """The Module itself."""
    return mod


optimize_for_inference = freeze


def _mark(fn: _T) -> _T:
    return fn


export = script_method = script_if_tracing = interface = _mark
_overload = _overload_method = _script_if_tracing = _mark


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A decorator, with or without arguments, that gives back what it gets."""
    return drop if callable(drop) else _mark


def unused(fn: _T) -> _T:
    """The function itself."""
    return fn


def is_scripting() -> bool:
    """False: Python runs.

    >>> torch.jit.is_scripting()
    False
    """
    return False


def is_tracing() -> bool:
    """False: Python runs."""
    return False


def annotate(the_type: Any, the_value: _T) -> _T:
    """The value."""
    return the_value


def Attribute(value: _T, type: Any) -> _T:
    """The value."""
    return value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's own, for classes, and for the classes in `List[int]` and the like."""
    kinds = target_type if builtins.isinstance(target_type, tuple) else (target_type,)
    return any(_fits(obj, kind) for kind in kinds)


def _fits(obj: Any, kind: Any) -> bool:
    origin: Any = getattr(kind, "__origin__", None)
    inside: Any = getattr(kind, "__args__", ())
    if origin is None:
        return builtins.isinstance(obj, kind)
    if not builtins.isinstance(origin, type):  # Optional, Union
        return any(_fits(obj, one) for one in inside)
    return builtins.isinstance(obj, origin) and _inside_fits(obj, origin, inside)


def _inside_fits(obj: Any, origin: type, kinds: tuple) -> bool:
    if origin is dict:
        return all(_fits(k, kinds[0]) and _fits(v, kinds[1]) for k, v in obj.items())
    if origin is tuple and ... not in kinds:
        return len(obj) == len(kinds) and all(map(_fits, obj, kinds))
    return all(_fits(one, kinds[0]) for one in obj)


def set_fusion_strategy(strategy: Any) -> list:
    """Nothing: there is no strategy to set. Returns the former one, which is empty."""
    return []


class ScriptModule(Module):
    """A Module. `script` gives back what it got, so only a class made for it is one."""


globals().update(refused(
    "jit", "ScriptFunction TracerWarning fork load save wait",
    "there is no TorchScript; functions stay functions of Python",
))
