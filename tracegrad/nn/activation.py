"""Activation layers, from one table: a function of nn.functional with its options."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from ..tracer.tensor import Tensor
from . import functional as F
from .module import Module

# layer -> function, and its options with their defaults
_LAYERS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "ReLU": (F.relu, {"inplace": False}),
    "LeakyReLU": (F.leaky_relu, {"negative_slope": 0.01, "inplace": False}),
    "ELU": (F.elu, {"alpha": 1.0, "inplace": False}),
    "SiLU": (F.silu, {"inplace": False}),
    "GELU": (F.gelu, {"approximate": "none"}),
    "Sigmoid": (F.sigmoid, {}),
    "Tanh": (F.tanh, {}),
    "Softplus": (F.softplus, {"beta": 1.0, "threshold": 20.0}),
    "LogSigmoid": (F.logsigmoid, {}),
    "Softmax": (F.softmax, {"dim": None}),
    "LogSoftmax": (F.log_softmax, {"dim": None}),
}


def _layer(name: str, function: Callable, options: dict[str, Any]) -> type[Module]:
    either = Argument.POSITIONAL_OR_KEYWORD
    accepted = Signature([Argument(key, either, default=d) for key, d in options.items()])

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        given = accepted.bind(*args, **kwargs)
        given.apply_defaults()
        for key, value in given.arguments.items():
            setattr(self, key, value)

    def forward(self: Any, input: Tensor) -> Tensor:
        return function(input, **{key: getattr(self, key) for key in options})

    def extra_repr(self: Any) -> str:
        shown = {key: getattr(self, key) for key in options}
        return ", ".join(f"{k}={v!r}" for k, v in shown.items() if k != "inplace" or v)

    body = {
        "__init__": __init__, "forward": forward, "extra_repr": extra_repr, "__module__": __name__,
        "__signature__": accepted, "__doc__": function.__doc__,
    }  # fmt: skip
    return type(name, (Module,), body)


ReLU, LeakyReLU, ELU, SiLU, GELU, Sigmoid, Tanh, Softplus, LogSigmoid, Softmax, LogSoftmax = (
    _layer(name, *row) for name, row in _LAYERS.items()
)
