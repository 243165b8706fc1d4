"""What a user sees of an autograd node as in torch: the name of its class, and `_saved_...`."""

from __future__ import annotations

from typing import Any

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)
_OPERANDS = ("self", "other", "third")


_classes: dict[tuple[type, str], type] = {}


def class_named(kind: type, title: str) -> type:
    """The class with this name, otherwise like `kind`."""
    if (kind, title) not in _classes:
        body = {"__slots__": (), "__module__": kind.__module__}
        _classes[kind, title] = type(title, (kind,), body)
    return _classes[kind, title]


class SavedValues:
    """The saved values of a primitive's node as attributes: `_saved_self` and `_saved_other` are
    operands, `_saved_result` is its result.
    """

    __slots__ = ()
    inputs: tuple
    edges: tuple
    y: Any
    freed: bool

    def _kept(self) -> dict[str, tuple]:
        operands = dict(zip(_OPERANDS, zip(self.inputs, self.edges, strict=False), strict=False))
        values = operands | {"result": (self.y, self)}
        return {f"_saved_{k}": (x, e) for k, (x, e) in values.items() if hasattr(x, "unpack")}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_saved_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        if self.freed:
            raise RuntimeError(FREED)
        try:
            x, made_by = self._kept()[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} saved no {name[7:]!r}") from None
        value = x.unpack(made_by, made_by, output=made_by is self)
        original = x.tensor()
        return value if original is None else original

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self._kept()]
