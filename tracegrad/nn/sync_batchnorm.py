"""SyncBatchNorm: batch normalisation over all processes, of which there is one."""

from __future__ import annotations

from typing import Any

from .module import Module
from .normalization import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, ...).

    Shape: (N, C, *) -> the same; parameters and running statistics (C,).
    Raises ValueError for less than two dimensions.

    >>> model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    >>> type(model[0]).__name__
    'SyncBatchNorm'
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True,
                 process_group: Any = None, device: Any = None, dtype: Any = None):
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype
        )
        self.process_group = process_group

    def _check_input_dim(self, input: Any) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with each batch normalisation replaced by one of these, which takes over its
        parameters and statistics.
        """
        new = module
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            new = cls(module.num_features, module.eps, module.momentum, module.affine,
                      module.track_running_stats, process_group)
            for table in ("_parameters", "_buffers"):
                getattr(new, table).update(getattr(module, table))
            new.training = module.training
        for name, child in module.named_children():
            setattr(new, name, cls.convert_sync_batchnorm(child, process_group))
        return new
