"""Optimizer: groups of parameters with their options, the state of each, and the step over them.

A subclass says, in `update`, what a step does to one parameter. It is ordinary tensor code, which
runs eagerly or is traced; options that compiled programs read at every call come through `hyper`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import numpy as np

from ..functions.torch.creation import as_tensor
from ..nn.parameter import forget_grad
from ..tracer.change_counter import WatchedDict, WatchedList, changed
from ..tracer.mode import enable_grad, mode, set_grad_enabled
from ..tracer.tensor.tensor import Tensor
from .eager_steps import EagerSteps, compiles
from .hooks import Listened, hooked


class Group(WatchedDict):
    """Parameters and the options they are trained with. The learning rate is free to change."""

    read_at_calls = frozenset({"lr"})


class State(WatchedDict):
    """What an optimizer remembers of each parameter, made when it is first asked for."""

    def __missing__(self, key: Tensor) -> WatchedDict:
        self[key] = WatchedDict()
        return self[key]


def hyper(group: Group, name: str) -> Any:
    """The option `name`: a number or, in a trace, a 0-d tensor that is filled in at every call."""
    return group[name] if mode.trace is None else mode.trace.hyper(group, name)


def exact(number: Tensor) -> Any:
    """A 0-d tensor as a float or, in a trace, as a float64 tensor."""
    return number.item() if mode.trace is None else number.double()


def outside() -> AbstractContextManager:
    """Where a trace is recorded, the world around it: tensors made within are concrete."""
    return nullcontext() if mode.trace is None else mode.trace.outside()


class Optimizer(Listened):
    """Base of all optimizers.

    params: tensors, (name, tensor) pairs, or dicts {"params": tensors, option: value}, one for each
    group; defaults: the options of a group that does not say otherwise.

    `fused` among the defaults says whether `step` is one compiled call. If it is None or missing,
    that of this package's optimizers is as soon as compiling pays (`eager_steps.py`), and that of
    others if a compiled function has been differentiated by the parameters.

    Raises ValueError without parameters; TypeError for what is no tensor.

    >>> class Plain(optim.Optimizer):
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p.data -= group["lr"] * p.grad
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = Plain([w], {"lr": 0.5})
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.5000, 0.5000], requires_grad=True)
    """

    def __init__(self, params: Any, defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {params.type()}"
            )
        if defaults.get("fused") and defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self.defaults = WatchedDict(defaults)
        self.state = State()
        self.param_groups: list[Group] = WatchedList()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters: {"params": tensors, option: value}."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = Group(param_group)
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = WatchedList([params] if isinstance(params, Tensor) else params)
        named = [p for p in params if isinstance(p, tuple)]
        if named and len(named) < len(params):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        if named:
            group["param_names"], params = [n for n, _ in named], WatchedList(p for _, p in named)
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    f"{type(p).__name__}"
                )
            if not (p.is_leaf or p.retains_grad or self.defaults.get("differentiable")):
                raise ValueError("can't optimize a non-leaf Tensor")
        if len({id(p) for p in params}) < len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this "
                "will cause an error", UserWarning, 3,
            )
        present = {id(p) for other in self.param_groups for p in other["params"]}
        if present & {id(p) for p in params}:
            raise ValueError("some parameters appear in more than one parameter group")
        group["params"] = params
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                forget_grad(p, set_to_none)

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter with a gradient; returns what `closure`, called first, does."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if mode.trace is not None or not compiles(self):
            self._step()
            return loss
        if (steps := self.__dict__.get("_eager_steps")) is None:
            self.__dict__["_eager_steps"] = steps = EagerSteps(self)
        steps.run()
        return loss

    def _step(self) -> None:
        with set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for group in self.param_groups:
                lr = hyper(group, "lr")
                if isinstance(lr, Tensor) and lr.ndim:
                    lr = lr.reshape(())
                for p in group["params"]:
                    if p.grad is not None:
                        self.update(p, p.grad, group, lr)

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        """What a step does to one parameter; `lr` is a number or a 0-d tensor."""
        raise NotImplementedError

    # ---- state
    def state_dict(self) -> dict[str, Any]:
        """State and groups in torch's layout, with numbers in place of parameters."""
        for hook in self._hooks("before saving"):
            hook(self)
        numbers = self._numbers()
        groups = []
        for group in self.param_groups:
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers.get(id(p), p): dict(values) for p, values in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._hooks("after saving"):
            new = hook(self, result)
            result = result if new is None else new
        return result

    def _numbers(self) -> dict[int, int]:
        params = (p for g in self.param_groups for p in g["params"])
        return {id(p): i for i, p in enumerate(params)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned. As in torch, tensors of the right dtype are taken
        over themselves, and the groups and the state are new ones, which `__setstate__` gets.
        """
        for hook in self._hooks("before loading"):
            new = hook(self, state_dict)
            state_dict = state_dict if new is None else new
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for own, other in zip(self.param_groups, saved, strict=True):
            if len(own["params"]) != len(other["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    "optimizer's group"
                )
        of = {
            number: p
            for own, other in zip(self.param_groups, saved, strict=True)
            for number, p in zip(other["params"], own["params"], strict=True)
        }
        state = State()
        for number, values in state_dict["state"].items():
            p = of.get(number, number)
            state[p] = WatchedDict({k: _loaded(k, v, p) for k, v in values.items()})
        groups = WatchedList(
            Group({**own, **deepcopy(other), "params": own["params"]})
            for own, other in zip(self.param_groups, saved, strict=True)
        )
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._hooks("after loading"):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_eager_steps", "_listening")
        return {k: v for k, v in self.__dict__.items() if k not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        changed()

    def __setattr__(self, name: str, value: Any) -> None:
        changed()
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [""] * (i > 0) + [f"Parameter Group {i}"]
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join((*lines, ")"))


def _loaded(key: Any, value: Any, p: Any) -> Any:
    """A saved value; a tensor takes the parameter's device and dtype, but 'step' its own dtype."""
    if isinstance(value, dict):
        return {k: _loaded(k, v, p) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_loaded(None, v, p) for v in value)
    if not isinstance(value, (Tensor, np.generic)) and hasattr(value, "__array__"):
        value = as_tensor(value.__array__())
    if not isinstance(value, Tensor):
        return value
    own = key == "step" or not p.is_floating_point()
    return value.to(p.device, value.dtype if own else p.dtype)


def refuse_negative(name: str, value: Any) -> None:
    """Raise torch's error for an option that must not be negative."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not value >= 0:
        raise ValueError(f"Invalid {name}: {value}")
