"""Names for the tensors that a function uses besides its arguments: `model.0.weight`,
`optimizer.state.0.exp_avg`. They are found by looking where the function has its objects from:
closures, globals, defaults, the object of a method; containers and attributes of those.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..tracer.capture.code_names import reads
from ..tracer.tensor.tensor import Tensor

_MOST = 100_000  # objects that are looked at
_PLAIN = (str, bytes, int, float, complex, bool, type(None), ModuleType, type)


def state_names(fn: Callable, wanted: Iterable[Tensor]) -> dict[int, str]:
    """The names of tensors, and of the groups of optimizers, by id. The shortest way to an object
    names it; what is not found is missing.
    """
    missing = {id(t) for t in wanted}
    names: dict[int, str] = {}
    waiting: deque[tuple[str, Any]] = deque([("", fn)])
    seen: dict[int, Any] = {}
    while waiting and missing and len(seen) < _MOST:
        name, value = waiting.popleft()
        if isinstance(value, _PLAIN) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            names[id(value)] = name
            missing.discard(id(value))
            continue
        if isinstance(value, Optimizer):
            for k, group in enumerate(value.param_groups):
                names[id(group)] = name if len(value.param_groups) == 1 else f"{name}.{k}"
        waiting.extend(_inside(name, value))
    return names


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, with names."""
    if isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, MethodType):
        yield from ((name, value.__self__), (name, value.__func__))
    elif isinstance(value, functools.partial):
        yield name, value.func
        for k, inside in enumerate(value.args):
            yield _joined(name, k), inside
        yield from ((_joined(name, key), inside) for key, inside in value.keywords.items())
    elif isinstance(value, Module):
        for table in (value.named_parameters(), value.named_buffers()):
            yield from ((_joined(name, key), t) for key, t in table)
        yield from ((_joined(name, key), v) for key, v in vars(value).items() if key[0] != "_")
    elif isinstance(value, Optimizer):
        parameters = [p for group in value.param_groups for p in group["params"]]
        for k, p in enumerate(parameters):
            for key, t in value.state.get(p, {}).items():
                yield f"{_joined(name, 'state')}.{k}.{key}", t
        yield name, {"params": parameters}  # one level further: modules have better names
    elif isinstance(value, dict):
        yield from ((_joined(name, key), inside) for key, inside in list(value.items()))
    elif isinstance(value, (tuple, list)):
        yield from ((_joined(name, k), inside) for k, inside in enumerate(value))
    else:
        attributes = getattr(value, "__dict__", {})
        yield from ((_joined(name, key), inside) for key, inside in list(attributes.items()))


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for key, cell in cells:
        try:
            yield key, cell.cell_contents
        except ValueError:  # not set yet
            pass
    space = function.__globals__
    yield from ((key, space[key]) for key in reads(function.__code__).globals if key in space)
    yield from ((f"default {k}", v) for k, v in enumerate(function.__defaults__ or ()))
    yield from vars(function).items()


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
