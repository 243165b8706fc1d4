"""torch.xpu: a kind of device that is not here."""

from .missing_device import (
    current_device,
    device_count,
    empty_cache,
    is_available,
    manual_seed,
    seed,
    set_device,
    synchronize,
)

__all__ = [
    "current_device", "device_count", "empty_cache", "is_available", "manual_seed", "seed",
    "set_device", "synchronize",
]
