"""Random numbers on GPUs. They come from the stream of the CPU, so a seed gives the same numbers on
all devices.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..driver.gpus import gpus
from ..tracer.tensor.generator import default_generator
from ..tracer.tensor.tensor import Tensor

__all__ = [
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed",
    "seed_all", "set_rng_state", "set_rng_state_all",
]


def manual_seed(seed: int) -> None:
    """Restart the stream of random numbers, that of all devices.

    Raises TypeError unless the seed is an integer.

    >>> torch.cuda.manual_seed(0)
    """
    default_generator.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """The same as `manual_seed`.

    >>> torch.cuda.manual_seed_all(0)
    """
    default_generator.manual_seed(seed)


def seed() -> None:
    """Restart the stream with a new seed.

    >>> torch.cuda.seed()
    """
    default_generator.seed()


def seed_all() -> None:
    """The same as `seed`.

    >>> torch.cuda.seed_all()
    """
    default_generator.seed()


def initial_seed() -> int:
    """The seed that the stream started with.

    >>> torch.cuda.manual_seed(7)
    >>> torch.cuda.initial_seed()
    7
    """
    return default_generator.initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """The state of the stream, for `set_rng_state`.

    >>> torch.cuda.set_rng_state(torch.cuda.get_rng_state())
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Set the stream to a state that `get_rng_state` returned.

    >>> torch.cuda.set_rng_state(torch.cuda.get_rng_state())
    """
    default_generator.set_state(new_state)


def get_rng_state_all() -> list[Tensor]:
    """The state of the stream, once for each GPU, for `set_rng_state_all`.

    >>> torch.cuda.set_rng_state_all(torch.cuda.get_rng_state_all())
    """
    return [get_rng_state() for _ in gpus.opened or ()]


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Set the stream to states that `get_rng_state_all` returned, of which all are equal.

    >>> torch.cuda.set_rng_state_all([])
    """
    for state in new_states:
        set_rng_state(state)
