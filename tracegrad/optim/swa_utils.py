"""Averages of a model over its training: AveragedModel, and what belongs to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from ..functions.torch.creation import tensor
from ..ir.dtype import int64
from ..nn.module import Module
from ..nn.normalization import _BatchNorm
from ..tracer.mode import no_grad
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer
from .schedule import LRScheduler, each

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
    "get_swa_multi_avg_fn", "update_bn",
]


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A function of (average, value, count) for AveragedModel: decay * average + (1 - decay) *
    value. Polyak and Juditsky (1992).

    Raises ValueError for a decay that is not in [0, 1].

    >>> average = optim.swa_utils.get_ema_avg_fn(0.75)
    >>> average(torch.tensor(0.0), torch.tensor(1.0), 1)
    tensor(0.2500)
    """
    if not 0 <= decay <= 1:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )

    @no_grad()
    def update(average: Tensor, value: Tensor, count: Any) -> Tensor:
        return average * decay + value * (1 - decay)

    return update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A function of (average, value, count) for AveragedModel: the mean of all values. Izmailov et
    al. (2018).

    >>> average = optim.swa_utils.get_swa_avg_fn()
    >>> average(torch.tensor(0.0), torch.tensor(1.0), 3)
    tensor(0.2500)
    """

    @no_grad()
    def update(average: Tensor, value: Tensor, count: Any) -> Tensor:
        return average + (value - average) / (count + 1)

    return update


def _in_place(update: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[..., None]:
    @no_grad()
    def update_all(averages: Sequence[Tensor], values: Sequence[Tensor], count: Any) -> None:
        for average, value in zip(averages, values, strict=True):
            average.copy_(update(average, value, count))

    return update_all


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """`get_ema_avg_fn` for lists of tensors, in place.

    Raises ValueError for a decay that is not in [0, 1].

    >>> averages = [torch.zeros(2)]
    >>> optim.swa_utils.get_ema_multi_avg_fn(0.75)(averages, [torch.ones(2)], 1)
    >>> averages
    [tensor([0.2500, 0.2500])]
    """
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """`get_swa_avg_fn` for lists of tensors, in place.

    >>> averages = [torch.zeros(2)]
    >>> optim.swa_utils.get_swa_multi_avg_fn()(averages, [torch.ones(2)], 3)
    >>> averages
    [tensor([0.2500, 0.2500])]
    """
    return _in_place(lambda average, value, count: average + (value - average) * (1 / (count + 1)))


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of those of the model.

    avg_fn: a function of (average, value, count) that returns the new average; multi_avg_fn: one of
    lists of them, in place; without either, the mean of all. use_buffers: average buffers too,
    which are copied otherwise.

    Raises AssertionError for both functions.

    >>> model = nn.Linear(1, 1)
    >>> averaged = optim.swa_utils.AveragedModel(model)
    >>> for k in range(3):
    ...     _ = nn.init.constant_(model.weight, k)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item(), averaged.n_averaged.item()
    (1.0, 3)
    """

    n_averaged: Tensor

    def __init__(self, model: Module, device: Any = None,
                 avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
                 multi_avg_fn: Callable[..., None] | None = None, use_buffers: bool = False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def _averaged(self, model: Module) -> Iterator[Tensor]:
        return chain(model.parameters(), model.buffers() if self.use_buffers else ())

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the parameters that the model has now into the averages."""
        groups: dict[Any, tuple[list, list]] = {}
        pairs = zip(self._averaged(self.module), self._averaged(model), strict=False)
        for average, value in pairs:
            lists = groups.setdefault((average.device, average.dtype), ([], []))
            lists[0].append(average.detach())
            lists[1].append(value.detach().to(average.device))
        update = self.multi_avg_fn or _in_place(self.avg_fn or get_swa_avg_fn())
        first = bool(self.n_averaged == 0)
        for (where, _), (averages, values) in groups.items():
            if first:
                for average, value in zip(averages, values, strict=True):
                    average.copy_(value)
            else:
                update(averages, values, self.n_averaged.to(where))
        if not self.use_buffers:
            for mine, other in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(other.detach().to(mine.device))
        self.n_averaged.add_(1)


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Find the running means and variances of a model's batch norms, by all batches of `loader`:
    tensors, or lists or tuples whose first is the input.

    >>> model = nn.BatchNorm1d(1)
    >>> optim.swa_utils.update_bn([torch.ones(4, 1), 3 * torch.ones(4, 1)], model)
    >>> model.running_mean
    tensor([2.])
    """
    norms = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not norms:
        return
    training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    try:
        for batch in loader:
            batch = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(batch if device is None else batch.to(device))
    finally:
        for norm, momentum in norms.items():
            norm.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """To swa_lr in `anneal_epochs` epochs, along half a cosine ("cos") or a line ("linear").

    Izmailov et al. (2018). swa_lr: one, or a list with one for each group.

    Raises ValueError for an unknown strategy and a number of epochs below 0; TypeError for what is
    no optimizer.

    >>> optimizer = optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = optim.swa_utils.SWALR(optimizer, swa_lr=0.1, anneal_epochs=2)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    ...     print(round(schedule.get_last_lr()[0], 4))
    0.55
    0.1
    0.1
    """

    def __init__(self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10,
                 anneal_strategy: str = "cos", last_epoch: int = -1):
        for group, rate in zip(
            optimizer.param_groups, each("swa_lr", optimizer, swa_lr), strict=True
        ):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
            )
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        """How far the way to swa_lr is gone after a step."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def rate(self, group: Group, i: int) -> Any:
        step, end = self._step_count - 1, group["swa_lr"]
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
        return end * now + start * (1 - now)
