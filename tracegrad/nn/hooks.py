"""The call of a Module with what users hang on it: hooks before and after `forward`, and on the
gradients that pass the module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.autograd.backward_hooks import Grads, with_backward_hook
from ..tracer.change_counter import WatchedDict
from ..tracer.mode import mode
from ..tracer.pytree import flatten, unflatten
from ..tracer.tensor.tensor import RemovableHandle

TABLES = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Hooked:
    """The part of Module that calls `forward`."""

    forward: Callable
    _forward_pre_hooks: dict
    _forward_hooks: dict
    _backward_pre_hooks: dict
    _backward_hooks: dict
    # hooks of all modules, by the names of the tables; compiled functions see reads of attributes
    _hooks_of_all = WatchedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_pre_hooks
            or self._forward_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or self._hooks_of_all
        ):
            return self.forward(*args, **kwargs)
        for hook, with_kwargs in self._hooks_around("_forward_pre_hooks").values():
            if with_kwargs:
                if (new := hook(self, args, kwargs)) is not None:
                    args, kwargs = new
            elif (new := hook(self, args)) is not None:
                args = new if isinstance(new, tuple) else (new,)
        watched = _Gradients(self) if mode.grad and self._watched() else None
        if watched is not None:
            args = watched.inputs(args)
        waiting = self._hooks_around("_forward_hooks")
        try:
            result = self.forward(*args, **kwargs)
            while waiting:
                hook, with_kwargs, _ = waiting.pop(next(iter(waiting)))
                new = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                result = result if new is None else new
        except Exception:
            for hook, with_kwargs, always in waiting.values():
                if always:
                    hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            raise
        return result if watched is None else watched.outputs(result)

    def _watched(self) -> bool:
        return any(map(self._hooks_around, ("_backward_hooks", "_backward_pre_hooks")))

    def _hooks_around(self, table: str) -> dict:
        """The hooks of all modules, and then this module's."""
        return {**self._hooks_of_all.get(table, {}), **getattr(self, table)}

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; a result that is not None replaces args."""
        return _register(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False,
                              with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; a result replaces the output. With
        `always_call` also, with None for the output, when an exception passes.
        """
        return _register(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the arguments are
        known; a result that is not None replaces `grad_input`. Both are tuples.
        """
        return _register(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known; a result
        that is not None replaces them.
        """
        return _register(self._backward_pre_hooks, hook, prepend)


def _register_for_all(table: str, entry: Any) -> RemovableHandle:
    return _register(Hooked._hooks_of_all.setdefault(table, WatchedDict()), entry, False)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, args)` before the `forward` of every module."""
    return _register_for_all("_forward_pre_hooks", (hook, False))


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False,
                                 always_call: bool = False) -> RemovableHandle:
    """Call `hook(module, args, output)` after the `forward` of every module."""
    return _register_for_all("_forward_hooks", (hook, with_kwargs, always_call))


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` in the backward of every module."""
    return _register_for_all("_backward_hooks", hook)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_output)` before that."""
    return _register_for_all("_backward_pre_hooks", hook)


def _register(table: dict, entry: Any, prepend: bool) -> RemovableHandle:
    before = dict(table) if prepend else {}
    handle = RemovableHandle(table, entry)
    for key, other in before.items():  # a dict remembers the order of insertion
        del table[key]
        table[key] = other
    return handle


class _Gradients:
    """One call whose gradients are shown to hooks."""

    def __init__(self, module: Hooked):
        self.module = module
        self.after = tuple(module._hooks_around("_backward_hooks").values())
        self.before = tuple(module._hooks_around("_backward_pre_hooks").values())
        self.grad_output: Grads = ()
        self.unwatched: Grads | None = None  # the arguments' gradients, if none will come

    def inputs(self, args: tuple) -> tuple:
        leaves, structure = flatten(args)
        passed = with_backward_hook(leaves, self.arrived) if self.after else None
        if passed is None:
            self.unwatched = (None,) * len(leaves)
            return args
        return unflatten(passed, structure)

    def outputs(self, result: Any) -> Any:
        leaves, structure = flatten(result)
        passed = with_backward_hook(leaves, self.entered)
        return result if passed is None else unflatten(passed, structure)

    def entered(self, grads: Grads) -> Grads:
        for hook in self.before:
            grads = _checked_grads(hook(self.module, grads), grads)
        if self.unwatched is None:
            self.grad_output = grads
        else:
            for hook in self.after:
                if hook(self.module, self.unwatched, grads) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should "
                        "always return None or None for all gradients."
                    )
        return grads

    def arrived(self, grads: Grads) -> Grads:
        grad_output, self.grad_output = self.grad_output, ()
        for hook in self.after:
            grads = _checked_grads(hook(self.module, grads, grad_output), grads)
        return grads


def _checked_grads(new: Any, grads: Grads) -> Grads:
    if new is None:
        return grads
    new_grads = tuple(new) if isinstance(new, (tuple, list)) else (new,)
    if len(new_grads) != len(grads):
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_input, got {len(new_grads)}, but "
            f"expected {len(grads)}"
        )
    return new_grads
