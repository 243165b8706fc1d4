"""torch.nn.parallel on one device."""

from __future__ import annotations

from typing import Any

from ..refusals import refused
from .module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """Calls the module, as torch does where there are no devices to share a batch.

    The module is `module`, so names of parameters begin with `module.`. Shapes are the module's.
    Raises RuntimeError for more than one device.

    >>> model = nn.parallel.DataParallel(nn.Linear(2, 1))
    >>> model(torch.ones(3, 2)).shape, list(model.state_dict())
    (tracegrad.Size([3, 1]), ['module.weight', 'module.bias'])
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None,
                 dim: int = 0):
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise RuntimeError(
                f"DataParallel: device_ids is {list(device_ids)}, and a batch is computed on one "
                "device"
            )
        self.module = module
        self.device_ids = list(device_ids or ())
        self.output_device, self.dim = output_device, dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


globals().update(refused(
    "nn.parallel", "DistributedDataParallel", "training runs in one process"
))
