"""Error messages for missing names: whether torch has the name, and similar names here.

The message is computed only when it is read. `hasattr` raises often and reads no message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from .torch_names import NAMES
from .tracer.tensor.tensor import Tensor

COMPLEX = frozenset(
    "cdouble cfloat chalf complex complex32 complex64 complex128 fft istft polar stft "
    "view_as_complex view_as_real".split()
)
_PACKAGE = __name__.rpartition(".")[0]
SPACES = (
    "", "autograd", "autograd.forward_ad", "autograd.functional", "cuda", "func", "linalg",
    "masked", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler",
    "special", "utils",
)
# modules that are searched for a name that was not found elsewhere
_SEARCHED = ("", "nn", "nn.functional", "linalg", "special", "optim", "autograd", "func")


def _module(space: str) -> str:
    return f"{_PACKAGE}.{space}" if space else _PACKAGE


class AbsentName(AttributeError):
    """A missing attribute. Its arguments: module or class, torch's module, name."""

    def __str__(self) -> str:
        owner, space, name = self.args
        what = f"{owner.__name__!r} object" if isinstance(owner, type) else f"module {owner!r}"
        return f"{what} has no attribute {name!r}{self._known(space, name)}{self._close()}"

    def __reduce__(self) -> tuple:
        return (AttributeError, (str(self),))

    def _known(self, space: str, name: str) -> str:
        if name not in NAMES.get(space, "").split():
            return ""
        full = ".".join(filter(None, ("torch", space, name)))
        if space in ("", "Tensor") and name in COMPLEX:
            return f": {full} needs complex numbers, which are not supported"
        return f": torch has {full}, tracegrad does not have it yet; see docs/operators.md"

    def _close(self) -> str:
        owner, _, name = self.args
        here = dir(owner) if isinstance(owner, type) else vars(sys.modules[owner])
        elsewhere = [
            f"{module}.{name}"
            for module in map(_module, _SEARCHED)
            if name in vars(sys.modules[module])
        ]
        public = [n for n in here if not n.startswith("_")]
        candidates = elsewhere + get_close_matches(name, public, 3, 0.7)
        return f". Near: {', '.join(candidates)}" if candidates else ""


def attribute(space: str) -> Callable[[str], Any]:
    """The `__getattr__` of a public module."""
    module = _module(space)

    def absent(name: str) -> Any:
        raise AbsentName(module, space, name)

    return absent


def tensor_attribute(self: Any, name: str) -> Any:
    """`Tensor.__getattr__`."""
    raise AbsentName(type(self), "Tensor", name)


def install_messages() -> None:
    """Install these messages in the public modules and in Tensor."""
    for space in SPACES:
        vars(sys.modules[_module(space)])["__getattr__"] = attribute(space)
    Tensor.__getattr__ = tensor_attribute  # type: ignore[attr-defined]
