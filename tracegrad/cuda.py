"""torch.cuda's questions, answered: there is no CUDA device here that tensors could live on."""

from typing import Any

from .tracer.tensor.device import usable


def is_available() -> bool:
    """Whether tensors can live on a GPU.

    >>> torch.cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """How many GPUs tensors can live on.

    >>> torch.cuda.device_count()
    0
    """
    return 0


def current_device() -> int:
    """The GPU in use; a RuntimeError where there is none."""
    usable("cuda")
    return 0


def synchronize(device: Any = None) -> None:
    """Wait for the GPU; nothing to wait for.

    >>> torch.cuda.synchronize()
    """


def empty_cache() -> None:
    """Give unused GPU memory back; nothing to give.

    >>> torch.cuda.empty_cache()
    """


def manual_seed(seed: int) -> None:
    """Seed the GPU's generator; there is none.

    >>> torch.cuda.manual_seed(0)
    """


def manual_seed_all(seed: int) -> None:
    """Seed all GPUs' generators; there are none.

    >>> torch.cuda.manual_seed_all(0)
    """
