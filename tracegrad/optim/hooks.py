"""What users hang on an optimizer: hooks around a step, and around its state being saved or
loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.change_counter import WatchedDict
from ..tracer.tensor.tensor import RemovableHandle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimizer here."""
    return RemovableHandle(Listened._before_all, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimizer here."""
    return RemovableHandle(Listened._after_all, hook)


class Listened:
    """The part of Optimizer that keeps hooks."""

    # of all optimizers; compiled functions see reads of attributes
    _before_all = WatchedDict()
    _after_all = WatchedDict()

    def _hooks(self, when: str) -> tuple:
        return tuple(getattr(self, "_listening", {}).get(when, {}).values())

    def _listen(self, when: str, hook: Callable, prepend: bool = False) -> RemovableHandle:
        if "_listening" not in self.__dict__:
            self._listening: dict[str, dict] = {}
        tables = self._listening
        before = dict(table) if (table := tables.setdefault(when, {})) and prepend else {}
        handle = RemovableHandle(table, hook)
        for key, other in before.items():  # a dict remembers the order of insertion
            del table[key]
            table[key] = other
        return handle

    def _around_steps(self, when: str, hook: Callable) -> RemovableHandle:
        if not getattr(type(self).step, "listens", False):  # type: ignore[attr-defined]
            raise NotImplementedError(
                f"{type(self).__name__} defines a step of its own, which calls no hooks: call "
                "what the hook does in it"
            )
        return self._listen(when, hook)

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before a step; it may return others in a pair."""
        return self._around_steps("before a step", hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after a step."""
        return self._around_steps("after a step", hook)

    def register_state_dict_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return self._listen("before saving", hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on what `state_dict` is to return, or another."""
        return self._listen("after saving", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before `load_state_dict`; it may return another."""
        return self._listen("before loading", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after `load_state_dict`."""
        return self._listen("after loading", hook, prepend)


def hooked(step: Callable) -> Callable:
    """A step that calls the hooks around it."""

    def called(self: Any, closure: Callable[[], Any] | None = None) -> Any:
        before = (*self._before_all.values(), *self._hooks("before a step"))
        after = (*self._hooks("after a step"), *self._after_all.values())
        if not (before or after):
            return step(self, closure)
        args: tuple = (self,) if closure is None else (self, closure)
        kwargs: dict = {}
        for hook in before:
            new = hook(self, args, kwargs)
            if new is not None:
                if not isinstance(new, tuple) or len(new) != 2:
                    raise RuntimeError(
                        f"{type(self).step} must return None or a tuple of (new_args, "
                        f"new_kwargs), but got {new}."
                    )
                args, kwargs = new
        result = step(*args, **kwargs)
        for hook in after:
            hook(self, args, kwargs)
        return result

    called.__name__, called.__doc__ = "step", step.__doc__
    called.listens = True  # type: ignore[attr-defined]
    return called
