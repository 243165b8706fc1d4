"""Samplers for several processes that train together."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np

from ...distributed import get_rank, get_world_size, is_available
from ...functions.torch.random_sampling import randperm
from ...tracer.tensor.generator import Generator
from .sampler import Ordered

__all__ = ["DistributedSampler"]


class DistributedSampler(Ordered):
    """Every `num_replicas`-th key from `rank` on, of an order that is the same in all processes.

    The order begins again until it can be divided evenly; with `drop_last` its end is left out.
    `set_epoch` before each epoch gives another shuffle. Raises ValueError for a rank outside
    0 to num_replicas - 1, and RuntimeError where they are not given: there is no torch.distributed
    to ask.

    >>> sampler = torch.utils.data.DistributedSampler(range(5), 2, 1, shuffle=False)
    >>> list(sampler)
    [1, 3, 0]
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None,
                 shuffle: bool = True, seed: int = 0, drop_last: bool = False):
        if (num_replicas is None or rank is None) and not is_available():
            raise RuntimeError("Requires distributed package to be available: "
                               "pass num_replicas and rank")
        replicas = get_world_size() if num_replicas is None else num_replicas
        rank = get_rank() if rank is None else rank
        if not 0 <= rank < replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        count = len(dataset)
        self.num_samples = count // replicas if drop_last else -(-count // replicas)
        self.total_size = self.num_samples * replicas

    def portions(self) -> Iterator[np.ndarray]:
        count = len(self.dataset)
        generator = Generator().manual_seed(self.seed + self.epoch)
        keys = randperm(count, generator=generator).numpy() if self.shuffle else np.arange(count)
        return iter([np.resize(keys, self.total_size)[self.rank :: self.num_replicas]])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins."""
        self.epoch = epoch
