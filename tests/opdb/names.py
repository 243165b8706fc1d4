"""The public names: every function of the public modules and every method of Tensor."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

import tracegrad
from tracegrad.ir.op import OpDef
from tracegrad.torch_modules import HOMES

MODULES = ("", "nn.functional", "linalg", "special", "fft", "masked", "signal.windows", "func",
           "autograd", "autograd.functional", "nn.init", "utils.checkpoint")
METHOD = "Tensor."
HIDDEN = ("nn.init.erfinv", "nn.init.rand", "nn.init.fans", "Tensor.bind")  # not meant for users


def is_function(x: Any) -> bool:
    return isinstance(x, FunctionType | OpDef) or type(x).__name__ in (
        "staticmethod", "property", "builtin_function_or_method",
    )


def module(dotted: str) -> ModuleType | None:
    found: Any = tracegrad
    for part in dotted.split(".") if dotted else ():
        found = getattr(found, part, None)
    return found if isinstance(found, ModuleType) else None


def functions() -> dict[str, Any]:
    """`relu`, `nn.functional.relu`, ... to the function; without those that a module has only once
    they were used, which are methods of tensors under another name.
    """
    out = {}
    for dotted in MODULES:
        space = module(dotted)
        names = vars(space) if space else {}
        for name, value in sorted((k, names[k]) for k in names.get("__all__", names)):
            path = f"{dotted}.{name}" if dotted else name
            if not name.startswith("_") and path not in HOMES and is_function(value):
                out[path] = value
    return out


def methods() -> set[str]:
    """The names of Tensor's methods and properties, in-place variants included."""
    return {n for n, v in vars(tracegrad.Tensor).items() if not n.startswith("_") and callable(v)
            or isinstance(v, property) and not n.startswith("_")}


def public() -> list[str]:
    """A name per row of the table: functions, and the methods that are no function too."""
    names = set(functions())
    plain = {m for m in methods() if m not in names and m.rstrip("_") not in names}
    alone = {METHOD + m for m in plain if m.rstrip("_") not in plain - {m}}
    return sorted(names - set(HIDDEN)) + sorted(alone - set(HIDDEN))
