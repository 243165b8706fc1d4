"""GradScaler: losses are scaled so that gradients in float16 do not become zero.

The rule is torch's: a step whose gradients overflow is skipped and the scale reduced; after
`growth_interval` good steps it grows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from .. import cuda
from ..functions.torch.creation import full, tensor
from ..functions.torch.gather import where
from ..ir.dtype import float16, float32
from ..optim.optimizer import Optimizer
from ..tracer.mode import no_grad
from ..tracer.tensor.tensor import Tensor


class OptState(Enum):
    """What was done with an optimizer's gradients since `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class GradScaler:
    """Scales losses, and unscales gradients before a step.

    device: 'cpu' or 'cuda' (without a GPU a warning, and nothing is scaled); init_scale,
    growth_factor, backoff_factor, growth_interval: torch's; enabled: if False, `step` is the
    optimizer's and nothing else happens. Shapes: any. Raises RuntimeError for calls in a wrong
    order, and for gradients in float16.

    >>> scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    >>> scaler.scale(torch.tensor(2.0)), scaler.get_scale()
    (tensor(16.), 8.0)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16,
                 growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True):
        if device == "cuda" and enabled and not cuda.is_available():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            enabled = False
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._device, self._enabled, self._init_scale = device, enabled, init_scale
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale = full((), init_scale, dtype=float32)
        self._growth_tracker = tensor(0)
        self._stages: WeakKeyDictionary[Optimizer, OptState] = WeakKeyDictionary()
        self._overflows: WeakKeyDictionary[Optimizer, Tensor] = WeakKeyDictionary()

    def scale(self, outputs: Any) -> Any:
        """The outputs, or tuples and lists of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale.to(outputs.dtype)
        if isinstance(outputs, (tuple, list)):
            return type(outputs)(self.scale(x) for x in outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, in place."""
        if not self._enabled:
            return
        stage = self._stages.get(optimizer, OptState.READY)
        if stage is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        overflow = tensor(False)
        with no_grad():
            inverse = self._scale.double().reciprocal().float()
            for grad in _gradients(optimizer):
                if grad.dtype is float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                grad.mul_(inverse.to(grad.dtype))
                overflow = overflow | ~grad.isfinite().all()
        self._overflows[optimizer] = overflow
        self._stages[optimizer] = OptState.UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step, unless a gradient is infinite or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stages.get(optimizer, OptState.READY)
        if stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage is OptState.READY:
            self.unscale_(optimizer)
        if next(_gradients(optimizer), None) is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        self._stages[optimizer] = OptState.STEPPED
        return None if self._overflows[optimizer] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Choose the scale of the next step, or set it."""
        if not self._enabled:
            return
        with no_grad():
            if new_scale is not None:
                self._scale.fill_(new_scale)
            elif not self._overflows:
                raise AssertionError("No inf checks were recorded prior to update.")
            else:
                self._choose()
        self._stages.clear()
        self._overflows.clear()

    def _choose(self) -> None:
        overflow = tensor(False)
        for one in self._overflows.values():
            overflow = overflow | one
        steps = where(overflow, 0, self._growth_tracker + 1)
        grown = steps == self._growth_interval
        larger = self._scale * self._growth_factor
        larger = where(larger.isfinite(), larger, self._scale)
        kept = where(grown, larger, self._scale)
        self._scale.copy_(where(overflow, self._scale * self._backoff_factor, kept))
        self._growth_tracker.copy_(where(grown, 0, steps))

    # ---- settings
    def get_scale(self) -> float:
        """The scale; 1 if nothing is scaled."""
        return self._scale.item() if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What a growing scale is multiplied by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what a growing scale is multiplied by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by after an overflow."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many good steps the scale grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale and the settings, with torch's keys; empty if nothing is scaled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
            "_growth_tracker": int(self._growth_tracker),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave. Raises RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_scale = state_dict["scale"]
        self._scale.fill_(state_dict["scale"])
        self._growth_tracker.fill_(state_dict["_growth_tracker"])


def _gradients(optimizer: Optimizer) -> Iterator[Tensor]:
    params = (p for group in optimizer.param_groups for p in group["params"])
    return (p.grad for p in params if p.grad is not None)
