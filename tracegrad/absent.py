"""Names that a public module does not have: imported now, or an error that says whose name it is.

The message is computed only when it is read. `hasattr` raises often and reads no message. The names
of torch that were asked for in vain are noted, for `python -m tracegrad script.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Any

from . import torch_modules
from .torch_names import NAMES
from .tracer.tensor.tensor import Tensor

COMPLEX = frozenset("complex istft polar stft view_as_complex view_as_real".split())
SPACES = (
    "", "autograd", "autograd.forward_ad", "autograd.functional", "cuda", "func", "linalg",
    "masked", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler",
    "special", "utils",
)
_ABSENT = object()
# modules that are searched for a name that was not found elsewhere
_SEARCHED = ("", "nn", "nn.functional", "linalg", "special", "optim", "autograd", "func")


in_vain: dict[str, None] = {}  # names of torch, in the order in which they were missed


def _module(space: str) -> str:
    here = torch_modules.PATHS.get(space, space)
    return torch_modules.PACKAGE if here in ("", ".") else f"{torch_modules.PACKAGE}.{here}"


@cache
def _names(space: str) -> frozenset[str] | None:
    return frozenset(NAMES[space].split()) if space in NAMES else None


def is_torchs(space: str, name: str) -> bool:
    """Whether torch has this name in a module, or in Tensor. Of a module whose names are not known,
    it has all that are asked for.
    """
    names = _names(space)
    return name[:1] != "_" if names is None else name in names


def full_name(space: str, name: str) -> str:
    """`torch.nn.Linear`, for ("nn", "Linear")."""
    return ".".join(filter(None, ("torch", space, name)))


class AbsentName(AttributeError):
    """A missing attribute. Its arguments: module or class, torch's module, name."""

    def __str__(self) -> str:
        owner, space, name = self.args
        if is_torchs(space, name):
            return f"{full_name(space, name)} is not part of tracegrad{self._why()}{self._close()}"
        what = f"{owner.__name__!r} object" if isinstance(owner, type) else f"module {owner!r}"
        return f"{what} has no attribute {name!r}{self._close()}"

    def __reduce__(self) -> tuple:
        return (AttributeError, (str(self),))

    def _why(self) -> str:
        _, space, name = self.args
        needs_complex = space in ("", "Tensor") and name in COMPLEX
        return ": complex numbers are not supported" if needs_complex else ""

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
    """The `__getattr__` of a public module: what is imported at its first use, or an error."""
    module = _module(space)

    def absent(name: str) -> Any:
        value = _lazy(space, name)
        if value is _ABSENT:
            raise missed(module, space, name)
        vars(sys.modules[module])[name] = value
        return value

    return absent


def _lazy(space: str, name: str) -> Any:
    path = f"{space}.{name}" if space else name
    if (home := torch_modules.HOMES.get(path)) is not None:
        return getattr(torch_modules.imported(home), name)
    if space.startswith("nn.modules."):  # torch has other files
        if (home := torch_modules.HOMES.get(f"nn.{name}")) is not None:
            return getattr(torch_modules.imported(home), name)
        return vars(sys.modules[_module("nn")]).get(name, _ABSENT)
    if (module := find(path)) is not None:
        return module
    # a module here may be several of torch's: nn is nn.modules, too
    others = (s for s, here in torch_modules.PATHS.items() if here == space != s)
    return next(filter(None, (find(f"{s}.{name}") for s in others)), _ABSENT)


def find(path: str) -> ModuleType | None:
    """The module with torch's path; None if it is not here. Its missing names are explained."""
    module = torch_modules.load(path)
    if module is not None:
        vars(module).setdefault("__getattr__", attribute(path))
    return module


def missed(owner: str | type, space: str, name: str) -> AbsentName:
    """The error for a name that is not here, which is noted."""
    if is_torchs(space, name):
        in_vain[full_name(space, name)] = None
    return AbsentName(owner, space, name)


def tensor_attribute(self: Any, name: str) -> Any:
    """`Tensor.__getattr__`."""
    raise missed(type(self), "Tensor", name)


def install_messages() -> None:
    """Install these messages in the public modules and in Tensor."""
    for space in (*SPACES, *torch_modules.PATHS):
        if (module := sys.modules.get(_module(space))) is not None:
            vars(module).setdefault("__getattr__", attribute(space))
    Tensor.__getattr__ = tensor_attribute  # type: ignore[attr-defined]
