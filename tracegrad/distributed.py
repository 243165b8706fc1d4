"""torch.distributed, as in a build of torch without it: not available, and what asks says so.

A process is alone: world size and rank are those of torch where nothing was initialised.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .refusals import refused

__all__ = ["get_rank", "get_world_size", "is_available", "is_initialized"]


def is_available() -> bool:
    """False: training runs in one process.

    >>> torch.distributed.is_available(), torch.distributed.is_initialized()
    (False, False)
    """
    return False


def is_initialized() -> bool:
    """False."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_initialized
is_torchelastic_launched = is_initialized


def _alone(group: Any = None) -> int:
    raise ValueError("Default process group has not been initialized: tracegrad has no "
                     "torch.distributed, and is_initialized() is False")


get_rank = get_world_size = _alone
ReduceOp = SimpleNamespace(**{k: k for k in "SUM PRODUCT MIN MAX AVG BAND BOR BXOR".split()})
group = SimpleNamespace(WORLD=None)
globals().update(refused(
    "distributed",
    "DeviceMesh DTensor ProcessGroup Store TCPStore FileStore Work all_gather all_gather_object "
    "all_gather_into_tensor all_reduce barrier broadcast broadcast_object_list "
    "destroy_process_group gather "
    "get_backend init_device_mesh init_process_group irecv isend new_group recv reduce "
    "reduce_scatter scatter send",
    "training runs in one process",
))
