"""torch.cuda: the GPUs of this process, their memory, and the streams in which they work."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..driver.gpus import OutOfMemoryError, Unavailable, gpus
from ..tracer.tensor.device import device as Device
from ..tracer.tensor.tensor import Tensor
from . import nvtx
from .memory import (
    empty_cache,
    ipc_collect,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_max_memory_allocated,
    reset_peak_memory_stats,
)
from .random import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from .streams import (
    Event,
    ExternalStream,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    is_current_stream_capturing,
    set_stream,
    stream,
    synchronize,
)

__all__ = [
    "Event", "ExternalStream", "OutOfMemoryError", "Stream", "StreamContext",
    "can_device_access_peer", "current_device", "current_stream", "default_stream", "device",
    "device_count", "device_of", "empty_cache", "get_arch_list", "get_device_capability",
    "get_device_name", "get_device_properties", "get_rng_state", "get_rng_state_all", "init",
    "initial_seed", "ipc_collect", "is_available", "is_bf16_supported",
    "is_current_stream_capturing", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated",
    "memory_reserved", "memory_stats", "memory_summary", "nvtx", "reset_max_memory_allocated",
    "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_rng_state",
    "set_rng_state_all", "set_stream", "stream", "synchronize", "why_not",
]


# ---- which there are
def is_available() -> bool:
    """Whether tensors can live on a GPU; `why_not()` tells why not.

    >>> torch.cuda.is_available()
    False
    """
    return device_count() > 0


def device_count() -> int:
    """How many GPUs tensors can live on.

    >>> torch.cuda.device_count()
    0
    """
    return 0 if why_not() else len(gpus.devices())


def why_not() -> str:
    """Why there is no GPU, in words; empty if there is one. torch has no such function.

    >>> torch.cuda.is_available() or torch.cuda.why_not() != ""
    True
    """
    try:
        gpus.devices()
    except Unavailable as error:
        return str(error)
    return ""


def init() -> None:
    """Ask for the GPUs now. Raises RuntimeError if there are none.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.init()
    """
    gpus.devices()


def is_initialized() -> bool:
    """Whether somebody has asked for the GPUs, and there are some.

    >>> torch.cuda.is_initialized()
    False
    """
    return bool(gpus.opened)


# ---- the current one
def current_device() -> int:
    """The number of this thread's GPU. Raises RuntimeError if there is none.

    >>> if torch.cuda.is_available():
    ...     assert torch.cuda.current_device() < torch.cuda.device_count()
    """
    return gpus.index(None)


def set_device(device: Any) -> None:
    """Make a GPU that of this thread: a number, or a device. A negative number does nothing.

    Raises RuntimeError for one that is not there.

    >>> torch.cuda.set_device(-1)
    """
    if not isinstance(device, int) or device >= 0:
        gpus.current = gpus.chosen(device)


class device:
    """Within it, a GPU is that of this thread: a number, or a device.

    Raises RuntimeError for one that is not there.

    >>> if torch.cuda.is_available():
    ...     with torch.cuda.device(0):
    ...         x = torch.ones(2, device="cuda")
    """

    def __init__(self, device: Any):
        self.idx = device if isinstance(device, int) or device is None else Device(device).index
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = gpus.index(None)
        if self.idx is not None and self.idx >= 0:
            gpus.current = gpus.index(self.idx)

    def __exit__(self, *_: Any) -> None:
        gpus.current = self.prev_idx


class device_of(device):
    """Within it, the GPU of a tensor is that of this thread; of the CPU, nothing changes.

    Raises RuntimeError if that GPU is not there any more.

    >>> with torch.cuda.device_of(torch.ones(2)):
    ...     pass
    """

    def __init__(self, obj: Tensor):
        super().__init__(obj.get_device())
        self._anywhere = not obj.is_cuda

    def __enter__(self) -> None:
        if not self._anywhere:
            super().__enter__()

    def __exit__(self, *_: Any) -> None:
        if not self._anywhere:
            super().__exit__()


# ---- what they are
class Properties(NamedTuple):
    """What `get_device_properties` tells."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device: Any = None) -> Properties:
    """The name, compute capability, memory in bytes and number of multiprocessors of a GPU.

    Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     assert torch.cuda.get_device_properties(0).total_memory > 0
    """
    own = gpus.device(gpus.chosen(device)).properties
    major, minor = own.capability
    return Properties(own.name, major, minor, own.total_memory, own.multiprocessors)


def get_device_name(device: Any = None) -> str:
    """The name of a GPU. Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     assert torch.cuda.get_device_name()
    """
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, as (9, 0). Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     assert torch.cuda.get_device_capability() >= (7, 0)
    """
    own = get_device_properties(device)
    return own.major, own.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes with bfloat16 itself, or by way of float32.

    >>> torch.cuda.is_bf16_supported()
    False
    """
    return is_available() and (including_emulation or get_device_properties().major >= 8)


def get_arch_list() -> list[str]:
    """The compute capabilities that kernels are compiled for: those of the GPUs here.

    >>> all(name.startswith("sm_") for name in torch.cuda.get_arch_list())
    True
    """
    capabilities = {get_device_capability(k) for k in range(device_count())}
    return [f"sm_{major}{minor}" for major, minor in sorted(capabilities)]


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """False: memory goes from one GPU to another by way of the host.

    Raises RuntimeError for a GPU that is not there.

    >>> if torch.cuda.device_count() > 1:
    ...     assert not torch.cuda.can_device_access_peer(0, 1)
    """
    for one in (device, peer_device):
        gpus.chosen(one)  # raises
    return False
