"""Schedules that go up and down, with the momentum the other way, and ones that begin again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .optimizer import Group, Optimizer
from .schedule import LRScheduler, each, function_state, refuse_other, set_rate


class Cycled(LRScheduler):
    """Base of the schedules that also change the momentum, or the first of the betas."""

    def _take_momentum(self, base: Any, most: Any, set_now: bool) -> tuple[list[Any], list[Any]]:
        optimizer = self.optimizer
        if not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        most, base = (
            each(name, optimizer, value)
            for name, value in (("max_momentum", most), ("base_momentum", base))
        )
        if set_now:
            for group, high, low in zip(optimizer.param_groups, most, base, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return base, most

    def _set_momentum(self, group: Group, value: Any) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(Cycled):
    """From base_lr up to max_lr in `step_size_up` steps and down again, over and over. Smith (2015)

    mode: "triangular", "triangular2" (each cycle half as high), "exp_range" (gamma ** steps as
    high); scale_fn in place of a mode: how high, by the number of the cycle or, with
    scale_mode="iterations", of the step. With cycle_momentum the momentum goes from max_momentum
    to base_momentum and back.

    Raises ValueError for an unknown mode and an optimizer without momentum, TypeError for what is
    no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.5, step_size_up=2)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.3
    0.5
    0.3
    """

    def __init__(self, optimizer: Optimizer, base_lr: Any, max_lr: Any, step_size_up: int = 2000,
                 step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
                 scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
                 cycle_momentum: bool = True, base_momentum: Any = 0.8, max_momentum: Any = 0.9,
                 last_epoch: int = -1):
        refuse_other(optimizer)
        self.optimizer = optimizer
        base_lrs = each("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                set_rate(group, rate)
        self.max_lrs = each("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode, self.cycle_momentum = scale_mode, cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._take_momentum(
                base_momentum, max_momentum, last_epoch == -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """How high a cycle is, or a step."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return self.gamma**x
        return 1.0 if self.mode == "triangular" else 1 / 2.0 ** (x - 1)

    def rate(self, group: Group, i: int) -> float:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle
        rises = x <= self.step_ratio
        height = x / self.step_ratio if rises else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            low, high = self.base_momentums[i], self.max_momentums[i]
            self._set_momentum(group, high - (high - low) * height * scale)
        return self.base_lrs[i] + (self.max_lrs[i] - self.base_lrs[i]) * height * scale

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and what cannot be saved of a function."""
        custom = self._scale_fn_custom
        saved = None if custom is None else function_state(custom)
        return {**super().state_dict(), "_scale_fn_custom": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if (saved := state_dict["_scale_fn_custom"]) is not None:
            self._scale_fn_custom.__dict__.update(saved)


_UP = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
_BACK = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
_DOWN = ("max_lr", "min_lr", "base_momentum", "max_momentum")
_END = ("initial_lr", "min_lr", "max_momentum", "max_momentum")
_PHASE = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")


class OneCycleLR(Cycled):
    """From max_lr / div_factor up to max_lr, then down to that / final_div_factor. Smith (2017)

    total_steps, or epochs and steps_per_epoch: how many steps there are; pct_start: the part of
    them that goes up; anneal_strategy: "cos" or "linear"; three_phase: down as fast as up, then to
    the end. With cycle_momentum the momentum goes from max_momentum to base_momentum and back.

    Raises ValueError for options out of range, a step too many and an optimizer without momentum,
    TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.52
    1.0
    0.9505
    """

    def __init__(self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None,
                 pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: Any = 0.85, max_momentum: Any = 0.95, div_factor: float = 25.0,
                 final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1):
        refuse_other(optimizer)
        self.optimizer = optimizer
        self.total_steps = _steps(total_steps, epochs, steps_per_epoch)
        up, end = float(pct_start * self.total_steps), self.total_steps - 1
        phases = [(up - 1, *_UP), (end, *_DOWN)]
        if three_phase:
            phases[1:] = [(2 * up - 2, *_BACK), (end, *_END)]
        self._schedule_phases: list[dict[str, Any]] = [
            dict(zip(_PHASE, phase, strict=True)) for phase in phases
        ]
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                "anneal_strategy must be one of 'cos' or 'linear', instead got "
                f"{anneal_strategy}"
            )
        self._anneal_func_type, self.cycle_momentum = anneal_strategy, cycle_momentum
        rates = each("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["initial_lr"], group["max_lr"] = rate / div_factor, rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            self._take_momentum(base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        step, start, phases = self.last_epoch, 0.0, self._schedule_phases
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        for phase in phases:
            if step <= phase["end_step"] or phase is phases[-1]:
                break
            start = phase["end_step"]
        part = (step - start) / (phase["end_step"] - start)
        if self.cycle_momentum:
            ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
            self._set_momentum(group, self._between(*ends, part))
        return self._between(group[phase["start_lr"]], group[phase["end_lr"]], part)

    def _between(self, start: Any, end: Any, part: float) -> Any:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2 * (math.cos(math.pi * part) + 1)


def _steps(total: int | None, epochs: int | None, each_epoch: int | None) -> int:
    named = {"total_steps": total}
    if total is None:
        if epochs is None or each_epoch is None:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        named = {"epochs": epochs, "steps_per_epoch": each_epoch}
    for name, value in named.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return math.prod(named.values())  # type: ignore[arg-type]


class CosineAnnealingWarmRestarts(LRScheduler):
    """To eta_min in T_0 epochs along half a cosine, then from the start, T_mult times as long.

    `step` also takes an epoch, which need not be whole. Loshchilov and Hutter (2016).

    Raises ValueError for options out of range, TypeError for what is no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.5
    1.0
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1):
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"
            )
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def rate(self, group: Group, i: int) -> float:
        turn = math.pi * self.T_cur / self.T_i
        return self.eta_min + (self.base_lrs[i] - self.eta_min) * (1 + math.cos(turn)) / 2

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to this one."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            if epoch < 0:
                raise ValueError(f"Expected non-negative epoch, but got {epoch}")
            self._go_to(epoch)
        self.last_epoch = math.floor(epoch) - 1
        self._update_lr()

    def _go_to(self, epoch: float) -> None:
        first, times = self.T_0, self.T_mult
        if epoch < first:
            self.T_i, self.T_cur = first, epoch
        elif times == 1:
            self.T_cur = epoch % first
        else:
            n = int(math.log(epoch / first * (times - 1) + 1, times))
            self.T_cur = epoch - first * (times**n - 1) / (times - 1)
            self.T_i = first * times**n
