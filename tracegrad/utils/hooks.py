"""Handles that remove a hook, by torch's names."""

from collections.abc import Callable

from ..tracer.tensor.tensor import RemovableHandle

__all__ = ["RemovableHandle", "unserializable_hook"]


def unserializable_hook(f: Callable) -> Callable:
    """The hook itself: hooks are not saved with a model in any case."""
    return f
