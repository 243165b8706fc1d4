"""The base of learning rate schedules."""

from __future__ import annotations

import warnings
from typing import Any

from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer

_OLD_EPOCH = (
    "The epoch parameter of `scheduler.step()` is deprecated: call `scheduler.step()`. With an "
    "epoch, the closed form of the schedule is used where there is one."
)


class LRScheduler:
    """Base of the schedules: a subclass says in `rate` which learning rate a group gets now, or in
    `get_lr` which all get.

    Raises TypeError for what is no optimizer.

    >>> class Halved(optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [rate / 2 ** self.last_epoch for rate in self.base_lrs]
    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = Halved(optimizer)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    _unsaved: tuple[str, ...] = ("optimizer",)
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        refuse_other(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with last_epoch >= 0: load the state of the optimizer first, or "
                    "leave last_epoch out in a fresh run"
                )
        self.optimizer = optimizer
        self.base_lrs = [copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def rate(self, group: Group, i: int) -> float:
        """The learning rate of group number i in epoch `last_epoch`."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """The learning rates in epoch `last_epoch`, one for each group."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.", UserWarning, 2,
            )
        return [self.rate(group, i) for i, group in enumerate(self.optimizer.param_groups)]

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch."""
        self._step_count += 1
        if epoch is not None:
            warnings.warn(_OLD_EPOCH, UserWarning, 2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = getattr(self, "_get_closed_form_lr", None)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if epoch is None or closed is None else closed()
        finally:
            self._get_lr_called_within_step = False
        self._set(rates)

    def _set(self, rates: list[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, rate)
        self._note()

    def _note(self) -> None:
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[Any]:
        """The learning rates now, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.__dict__.update(state_dict)


class ClosedForm(LRScheduler):
    """Base of the schedules that can also say the learning rate of any epoch."""

    def at_once(self, base: Any) -> Any:
        """The learning rate in epoch `last_epoch`, by the one that it began with."""
        raise NotImplementedError

    def _get_closed_form_lr(self) -> list[Any]:
        return [self.at_once(base) for base in self.base_lrs]


def refuse_other(optimizer: Any) -> None:
    """Raise torch's error for what is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copied(rate: Any) -> Any:
    """A learning rate that does not change when another one that is a tensor does."""
    return rate.clone() if isinstance(rate, Tensor) else rate


def set_rate(group: Group, rate: Any) -> None:
    """Give a group its learning rate: into the tensor, if it has one."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def each(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each group: a list of them, or one for all."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value) for _ in range(groups)]
    if len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} "
            f"values, param_groups has {groups}."
        )
    return [copied(v) for v in value]


def function_state(function: Any) -> dict[str, Any] | None:
    """What is saved of a function that the user gave: the attributes of an object."""
    attributes = getattr(function, "__dict__", {})
    return None if hasattr(function, "__code__") else dict(attributes)
