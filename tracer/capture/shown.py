"""What is printed at each call, when the program has run: tensors and containers as they were at
their print, even if the function changes them afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from ..mode import mode, resolve
from ..tensor.masked_selection import Selection
from ..tensor.tensor import Tensor, traced
from .scalar import ScalarLog
from .signature import leaves, parts, rebuild


def show_later(log: ScalarLog, function: Callable, args: tuple, kwargs: dict) -> None:
    """Have `function(*args, **kwargs)` called at each call."""
    call = function, tuple(map(_copied, args)), {k: _copied(v) for k, v in kwargs.items()}
    args, kwargs = call[1:]
    nodes = [_node(t) for t in leaves((args, kwargs)) if isinstance(t, Tensor)]
    log.shown[id(call)] = call, nodes
    log.later.append(call)


def _copied(value: Any) -> Any:
    """A value with copies of the containers that it is made of."""
    if isinstance(value, (np.ndarray, set, deque, bytearray)):
        return copy(value)
    if (container := parts(value)) is not None:
        return container.filled([_copied(inside) for inside in container.inside])
    return value


def as_shown(log: ScalarLog) -> None:
    """The function has returned: what has changed since it was shown is shown as it was."""
    for k, call in enumerate(log.later):
        _, nodes = log.shown.get(id(call), (call, []))
        if nodes:
            log.later[k] = _then(call, nodes)


def _then(call: tuple[Callable, tuple, dict], nodes: list) -> tuple[Callable, tuple, dict]:
    function, args, kwargs = call
    tensors = [t for t in leaves((args, kwargs)) if isinstance(t, Tensor)]
    then = [
        t if node is None or _node(t) is node else traced(node, t._requires_grad)
        for t, node in zip(tensors, nodes, strict=True)
    ]
    if all(a is b for a, b in zip(then, tensors, strict=True)):
        return call
    each = iter(then)
    return (function, *rebuild((args, kwargs), lambda _: next(each)))


def _node(t: Tensor) -> Any:
    """The node of a tensor now; None where another trace surrounds it, such as that of vmap."""
    trace = mode.trace
    if isinstance(t, Selection) or getattr(trace, "observer", None) is None:
        return None
    return resolve(t)._node
