"""Layers without parameters, made from rows of tables: a function of nn.functional and its options.

An option that has no default is `NEEDED`. Options become attributes of the layer, as in torch, and
are read at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter as Argument, Signature
from typing import Any

from ..tracer.tensor.tensor import Tensor
from .module import Module

NEEDED = Argument.empty


def documentation(name: str, function: Callable) -> str:
    """The docstring of a function for the layer `name`: in its example F.f(x, a=1) becomes
    nn.Layer(a=1)(x). There tensors are given by position, as names, and options by keyword.
    """
    head, call, tail = (function.__doc__ or "").partition(f"F.{function.__name__}(")
    if not call:
        return head
    arguments, _, tail = tail.partition(")")
    names = arguments.split(", ")
    tensors = ", ".join(x for x in names if "=" not in x)
    options = ", ".join(x for x in names if "=" in x)
    return f"{head}nn.{name}({options})({tensors}){tail}"


def layer(
    name: str, function: Callable, options: dict[str, Any], module: str, *,
    shown: Iterable[str] | None = None, prepare: Callable[[dict], dict] | None = None,
) -> type[Module]:
    """The class `name` of `module`, whose forward(input) is function(input, **options).

    `shown` are the options in its repr, all by default; an `inplace` is shown where it holds.
    `prepare` turns the given options into those that are kept.
    """
    either = Argument.POSITIONAL_OR_KEYWORD
    accepted = Signature([Argument(key, either, default=d) for key, d in options.items()])
    told = tuple(options if shown is None else shown)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        bound = accepted.bind(*args, **kwargs)
        bound.apply_defaults()
        values = bound.arguments if prepare is None else prepare(dict(bound.arguments))
        for key, value in values.items():
            setattr(self, key, value)

    def forward(self: Any, input: Tensor) -> Any:
        return function(input, **{key: getattr(self, key) for key in options})

    def extra_repr(self: Any) -> str:
        values = {key: getattr(self, key) for key in told}
        if "lambd" in values:  # which torch shows without its name
            return str(values["lambd"])
        return ", ".join(f"{k}={v!r}" for k, v in values.items() if k != "inplace" or v)

    body = {
        "__init__": __init__, "forward": forward, "extra_repr": extra_repr, "__module__": module,
        "__signature__": accepted, "__doc__": documentation(name, function),
    }
    return type(name, (Module,), body)


def repeated(value: Any, n: int) -> tuple:
    """A number n times; what is a sequence as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
