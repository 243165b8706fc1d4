"""The autograd graph and its saved tensors, by the names of torch.autograd.graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from ..tracer.autograd.graph import GradFn as Node
from ..tracer.autograd.recording import Saved
from ..tracer.autograd.transform import detached_alias
from ..tracer.mode import mode, resolve
from ..tracer.tensor.tensor import Tensor

__all__ = ["Node", "save_on_cpu", "saved_tensors_hooks"]


class _Packed(Saved):
    """A saved value in the form that the user's pack hook returned."""

    __slots__ = ("packed", "unpacker")

    def __init__(self, t: Tensor, pack: Callable, unpack: Callable):
        super().__init__(t)
        self.array = self.node = None
        self.packed, self.unpacker = pack(detached_alias(t)), unpack

    def copy_value(self) -> None:
        """Do nothing: the user's hook keeps the value."""

    def unpack(
        self, made_by: Node | None, of: Node | str | None, output: bool = False
    ) -> Tensor:
        t = self.unpacker(self.packed)
        if not isinstance(t, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(t).__name__}"
            )
        return Saved(detached_alias(resolve(t))).unpack(made_by, of)


class saved_tensors_hooks(ContextDecorator):
    """Within it, tensors saved for backward pass through `pack_hook`, and when used through
    `unpack_hook`.

    A tensor given to `pack_hook` must not be changed in place.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self.before: list[Any] = []

    def __enter__(self) -> None:
        self.before.append(mode.make_saved)
        mode.make_saved = lambda t: _Packed(t, self.pack_hook, self.unpack_hook)

    def __exit__(self, *_: Any) -> None:
        mode.make_saved = self.before.pop()


class save_on_cpu(ContextDecorator):
    """Within it, saved tensors are in CPU memory, where all tensors are.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.save_on_cpu():
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        self.pin_memory = pin_memory

    def __enter__(self) -> None:
        """Nothing to move."""

    def __exit__(self, *_: Any) -> None:
        """Nothing to move."""
