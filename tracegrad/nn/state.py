"""The state of a module, parameters and persistent buffers, as a dict of dotted names; and back.

Modules are asked one by one, each for its own names, so that a subclass may write or read its part
differently, and hooks may look. `_metadata` of the dict holds each module's `_version`.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from ..functions.torch.creation import as_tensor
from ..tracer.mode import no_grad
from ..tracer.tensor.tensor import RemovableHandle, Tensor
from .parameter import Parameter

EXTRA = "_extra_state"


class _IncompatibleKeys(NamedTuple):
    """What `load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"


class _Errors(list):
    """What went wrong in words, and how to undo what was loaded until then."""

    def __init__(self) -> None:
        super().__init__()
        self.undoing: list[Callable] = []

    def undo(self) -> None:
        with no_grad():
            for back in reversed(self.undoing):
                back()


class Stateful:
    """The part of Module that is saved and loaded."""

    _version = 1  # of the names and meaning of the state
    _parameters: dict
    _buffers: dict
    _modules: dict
    _non_persistent_buffers_set: frozenset
    get_extra_state: Callable[[], Any]  # what a module says of itself besides, if it does
    set_extra_state: Callable[[Any], None]

    # ---- saving
    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> dict[str, Any]:
        """Dotted name -> value, for parameters and persistent buffers, whose memory it shares.
        With `keep_vars` they are the tensors themselves, not detached.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead.", FutureWarning, 2
            )
            options = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            return self.state_dict(**options)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_hooks("before saving"):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook, may_answer in self._state_hooks("after saving"):
            new = hook(self, destination, prefix, metadata)
            if new is not None and not may_answer:
                raise RuntimeError("state_dict post-hook must return None")
            destination = destination if new is None else new
        return destination

    def _own_state(self) -> dict[str, Any]:
        """The tensors of this module alone that are saved, by name."""
        hidden = self._non_persistent_buffers_set
        named = chain(
            self._parameters.items(),
            ((name, t) for name, t in self._buffers.items() if name not in hidden),
        )
        return {name: t for name, t in named if t is not None}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Write the state of this module alone; subclasses may do it otherwise."""
        for name, t in self._own_state().items():
            destination[prefix + name] = t if keep_vars else t.detach()
        if hasattr(self, "get_extra_state"):
            destination[prefix + EXTRA] = self.get_extra_state()

    # ---- loading
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> _IncompatibleKeys:
        """Copy values in by name or, with `assign`, take the tensors themselves.

        With `strict`, the names must match exactly. Nothing is loaded unless everything fits.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        errors, incompatible = _Errors(), _IncompatibleKeys([], [])
        try:
            _load(self, OrderedDict(state_dict), metadata, assign, "", incompatible, errors)
            if strict:
                unexpected, missing = incompatible.unexpected_keys, incompatible.missing_keys
                for title, keys in (("Unexpected", unexpected), ("Missing", missing)):
                    if keys:
                        quoted = ", ".join(f'"{k}"' for k in keys)
                        errors.insert(0, f"{title} key(s) in state_dict: {quoted}. ")
            if errors:
                lines, kind = "\n\t".join(errors), type(self).__name__
                raise RuntimeError(f"Error(s) in loading state_dict for {kind}:\n\t{lines}")
        except BaseException:
            errors.undo()
            raise
        return incompatible

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:
        """Read the state of this module alone; subclasses may do it otherwise.

        What is found missing, unexpected or wrong is appended to the lists.
        """
        for hook in self._state_hooks("before loading"):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)
        own = self._own_state()
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, old in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_one(key, name, old, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra = hasattr(self, "set_extra_state")
        if extra and prefix + EXTRA in state_dict:
            self.set_extra_state(state_dict[prefix + EXTRA])
        elif extra and strict:
            missing_keys.append(prefix + EXTRA)
        for key in state_dict if strict else ():
            first, *below = key.removeprefix(prefix).split(".", 1)
            names = self._modules if below else {**own, **({EXTRA: None} if extra else {})}
            if key.startswith(prefix) and first not in names:
                unexpected_keys.append(key)

    def _load_one(self, key: str, name: str, old: Any, loaded: Any, assign: bool,
                  errors: list[str]) -> None:
        if not isinstance(loaded, Tensor) and not hasattr(loaded, "__array__"):
            errors.append(
                f'While copying the parameter named "{key}", expected tracegrad.Tensor or '
                f"Tensor-like object from checkpoint but received {type(loaded)}"
            )
            return
        new = loaded if isinstance(loaded, Tensor) else as_tensor(loaded.__array__())
        if old.ndim == 0 and new.shape == (1,):  # as files of long ago have it
            new = new[0]
        if new.shape != old.shape:
            errors.append(
                f"size mismatch for {key}: copying a param with shape {new.shape} from "
                f"checkpoint, the shape in current model is {old.shape}."
            )
            return
        undoing = getattr(errors, "undoing", [])
        table = self._parameters if name in self._parameters else self._buffers
        try:
            with no_grad():
                if not assign:
                    before = old.detach().clone()
                    undoing.append(lambda: old.copy_(before))
                    old.copy_(new)
                    return
                if isinstance(old, Parameter):
                    new = new if isinstance(new, Parameter) else Parameter(new, False)
                    flag = new.requires_grad
                    undoing.append(lambda: new.requires_grad_(flag))
                    new.requires_grad_(old.requires_grad)
                undoing.append(lambda: table.__setitem__(name, old))
                table[name] = new
        except Exception as error:
            errors.append(
                f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{old.shape} and whose dimensions in the checkpoint are {new.shape}, an exception "
                f"occurred : {error.args}."
            )

    # ---- hooks
    def _state_hooks(self, when: str) -> tuple:
        return tuple(self.__dict__.get("_hooks_of_state", {}).get(when, {}).values())

    def _listen(self, when: str, entry: Any) -> RemovableHandle:
        tables = self.__dict__.setdefault("_hooks_of_state", {})
        return RemovableHandle(tables.setdefault(when, {}), entry)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the state is collected."""
        return self._listen("before saving", hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` on the collected state."""
        return self._listen("after saving", (hook, False))

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """The same, of a hook that may return another dict."""
        return self._listen("after saving", (hook, True))

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before the module takes its part; it may change the dict.
        """
        return self._listen("before loading", hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable, with_module: bool = False
    ) -> RemovableHandle:
        """The same; without `with_module`, of a hook that is not given the module."""
        return self._listen("before loading", hook if with_module else _WithoutModule(hook))

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` when a module and all below it are loaded; it may
        change the lists.
        """
        return self._listen("after loading", hook)


class _WithoutModule:
    """A hook that is not given the module; unlike a lambda it can be pickled."""

    def __init__(self, hook: Callable):
        self.hook = hook

    def __call__(self, module: Any, *rest: Any) -> Any:
        return self.hook(*rest)


def _load(
    module: Any, state: dict, metadata: Any, assign: bool, prefix: str,
    incompatible: _IncompatibleKeys, errors: _Errors,
) -> None:
    """Load a module and those below it."""
    local = dict((metadata or {}).get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state, prefix, local, True, *incompatible, errors)
    for name, child in module._modules.items():
        if child is not None:
            inside = f"{prefix}{name}."
            part = {k: v for k, v in state.items() if k.startswith(inside)}
            _load(child, part, metadata, assign, inside, incompatible, errors)
    for hook in module._state_hooks("after loading"):
        if hook(module, incompatible) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to "
                "return new values, if incompatible_keys need to be modified, it should be done "
                "inplace."
            )
