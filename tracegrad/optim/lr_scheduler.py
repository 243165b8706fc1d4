"""Learning rate schedules: call `scheduler.step()` once an epoch, after the optimizer's.

Compiled programs read the learning rate at every call, so a schedule never makes one compile again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from .optimizer import Group, Optimizer
from .schedule import ClosedForm, LRScheduler, function_state
from .schedules_composed import ChainedScheduler, SequentialLR
from .schedules_cyclic import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from .schedules_plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]


class _LRScheduler(LRScheduler):
    """The old name of the base."""


class StepLR(ClosedForm):
    """Multiplied by gamma every `step_size` epochs.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    1.0
    0.1
    0.1
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        falls = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return group["lr"] * self.gamma if falls else group["lr"]

    def at_once(self, base: Any) -> Any:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(ClosedForm):
    """Multiplied by gamma at each of the epochs `milestones`.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.1)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.1
    0.1
    0.01
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
        last_epoch: int = -1,
    ):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        now = [count for at, count in self.milestones.items() if at == self.last_epoch]
        return group["lr"] * self.gamma ** sum(now)

    def at_once(self, base: Any) -> Any:
        milestones = sorted(self.milestones.elements())
        return base * self.gamma ** bisect_right(milestones, self.last_epoch)


class ConstantLR(ClosedForm):
    """Multiplied by `factor` for the first `total_iters` epochs.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5
    1.0
    1.0
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0 <= factor <= 1:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.factor
        ends = self.last_epoch == self.total_iters
        return group["lr"] * (1.0 / self.factor) if ends else group["lr"]

    def at_once(self, base: Any) -> Any:
        return base * (1.0 if self.last_epoch >= self.total_iters else self.factor)


class LinearLR(ClosedForm):
    """Multiplied by a factor that goes from one to another in `total_iters` equal steps.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.75
    1.0
    1.0
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0,
        total_iters: int = 5, last_epoch: int = -1,
    ):
        if not 0 < start_factor <= 1:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal to "
                "1."
            )
        if not 0 <= end_factor <= 1:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return group["lr"]
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return group["lr"] * (1 + rise / before)

    def at_once(self, base: Any) -> Any:
        part = min(self.total_iters, self.last_epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class ExponentialLR(ClosedForm):
    """Multiplied by gamma every epoch.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5
    0.25
    0.125
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        return group["lr"] if self._is_initial else group["lr"] * self.gamma

    def at_once(self, base: Any) -> Any:
        return base * self.gamma**self.last_epoch


class PolynomialLR(ClosedForm):
    """To zero in `total_iters` epochs, as a power of the epochs that are left.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4, power=2.0)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5625
    0.25
    0.0625
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        if self._is_initial or self.last_epoch > self.total_iters:
            return group["lr"]
        left, before = (1 - t / self.total_iters for t in (self.last_epoch, self.last_epoch - 1))
        return group["lr"] * (left / before) ** self.power

    def at_once(self, base: Any) -> Any:
        left = 1 - min(self.total_iters, self.last_epoch) / self.total_iters
        return base * left**self.power


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(epoch); one function, or a list with one for each group.

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: 1 / (1 + epoch))
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5
    0.3333
    0.25
    """

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1):
        groups = len(optimizer.param_groups)
        several = isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas: list[Callable[[int], float]] = (
            list(lr_lambda) if several else [lr_lambda] * groups
        )
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        return self.base_lrs[i] * self.lr_lambdas[i](self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what cannot be saved of functions."""
        return {**super().state_dict(), "lr_lambdas": [function_state(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for function, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=False):
            if saved is not None:
                function.__dict__.update(saved)


class MultiplicativeLR(LambdaLR):
    """Multiplied by lr_lambda(epoch) every epoch; one function, or a list with one for each group.

    Raises TypeError for what is no optimizer or no function.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5
    0.1667
    0.0417
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1):
        for f in lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda]:
            if not callable(f):
                raise TypeError(f"lr_lambda should be a function, but got {type(f).__name__}")
        super().__init__(optimizer, lr_lambda, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        if self._is_initial:
            return group["lr"]
        return group["lr"] * self.lr_lambdas[i](self.last_epoch)


class CosineAnnealingLR(ClosedForm):
    """To eta_min in T_max epochs, along half a cosine. Loshchilov and Hutter (2016).

    Raises TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.8536
    0.5
    0.1464
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        if self._is_initial:
            return group["lr"]
        low, t, n = self.eta_min, self.last_epoch, self.T_max
        if self._step_count == 1 and t > 0:
            return self.at_once(self.base_lrs[i])
        if (t - 1 - n) % (2 * n) == 0:  # at the bottom, where the ratio below would be 0 / 0
            return group["lr"] + (self.base_lrs[i] - low) * (1 - math.cos(math.pi / n)) / 2
        ratio = (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n))
        return ratio * (group["lr"] - low) + low

    def at_once(self, base: Any) -> Any:
        low, turn = self.eta_min, math.pi * self.last_epoch / self.T_max
        return low + (base - low) * (1 + math.cos(turn)) / 2
