"""DataLoader: batches of a data set, read in this process or by workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

from ...tracer.tensor.generator import Generator
from .collate import default_collate, default_convert, pinning
from .dataset import IterableDataset
from .fetch import Fetch, epoch, refuse_in_trace
from .sampler import BatchSampler, RandomSampler, SequentialSampler
from .worker import get_worker_info
from .workers import _MultiProcessingDataLoaderIter

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

_T_co = TypeVar("_T_co", covariant=True)
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[_T_co]):
    """Iterates over the batches of a data set; each `iter` is one epoch.

    With `num_workers` that many processes read ahead, `prefetch_factor` batches each, and batches
    still come in order; `worker_init_fn(number)` is called in each. What a worker raises is raised
    here with its traceback, and a worker that dies or is silent for `timeout` seconds is a
    RuntimeError. Workers are forked where the system can, and compute with one thread.
    With `pin_memory`, and a GPU, batches lie in pinned memory, so that `to("cuda",
    non_blocking=True)` need not wait. `in_order` is accepted and changes nothing: batches come in
    order.

    A `generator` fixes the order of the samples and the seeds of workers. `batch_size=None` gives
    samples instead of batches; `batch_sampler` says the keys of each batch.

    Shape: (batch, *) of the samples' shapes. Raises ValueError for options that exclude each other.

    >>> x, y = torch.arange(10.0).view(5, 2), torch.arange(5)
    >>> loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=2)
    >>> [(a.shape[0], b.tolist()) for a, b in loader]
    [(2, [0, 1]), (2, [2, 3]), (1, [4])]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable | None = None, batch_sampler: Iterable | None = None,
        num_workers: int = 0, collate_fn: Callable | None = None, pin_memory: bool = False,
        drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable | None = None,
        multiprocessing_context: Any = None, generator: Generator | None = None, *,
        prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ):
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if isinstance(dataset, IterableDataset):
            _check_iterable(shuffle, sampler, batch_sampler)
        _check_batches(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = _context(multiprocessing_context, num_workers)
        self.in_order = in_order
        self.generator = generator
        self.drop_last = drop_last
        if sampler is None and not isinstance(dataset, IterableDataset):
            sampler = (RandomSampler(dataset, generator=generator) if shuffle
                       else SequentialSampler(dataset))
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None:
            batch_sampler = BatchSampler(() if sampler is None else sampler, batch_size, drop_last)
        self.batch_size, self.sampler, self.batch_sampler = batch_size, sampler, batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None
                                         else default_collate)
        self.persistent_workers = persistent_workers
        self._iterator: Any = None
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and getattr(self, "_made", False):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "_iterator"} | {"_iterator": None}

    def __iter__(self) -> Iterator[_T_co]:
        refuse_in_trace()
        if not self.num_workers:
            return _SingleProcessDataLoaderIter(self)
        if self._iterator is not None and self._iterator.alive:
            self._iterator.again(self)
            return self._iterator
        batches = _MultiProcessingDataLoaderIter(self)
        if self.persistent_workers:
            self._iterator = batches
        return batches

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self.sampler if self.batch_sampler is None  # type: ignore[arg-type]
                       else self.batch_sampler)
        count, size = len(self.dataset), self.batch_size or 1  # type: ignore[arg-type]
        return count // size if self.drop_last else -(-count // size)


def _check_workers(workers: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if workers < 0:
        raise ValueError("num_workers option should be non-negative; "
                         "use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if workers == 0 and prefetch is not None:
        raise ValueError("prefetch_factor option could only be specified in multiprocessing. "
                         "Let num_workers > 0 to enable multiprocessing, otherwise set "
                         "prefetch_factor to None.")
    if prefetch is not None and prefetch < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    options = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} "
                             f"option, but got {name}={value}")


def _check_batches(
    batch_size: int | None, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None
                                      or drop_last):
        raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, "
                         "sampler, and drop_last")
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive "
                         "with drop_last")


def _context(context: Any, workers: int) -> Any:
    """Python's multiprocessing with one way to start processes; None if nobody chose."""
    if context is None:
        return None
    if not workers:
        raise ValueError("multiprocessing_context can only be used with multi-process loading "
                         f"(num_workers > 0), but got num_workers={workers}")
    ways = multiprocessing.get_all_start_methods()
    if isinstance(context, str) and context not in ways:
        raise ValueError("multiprocessing_context option should specify a valid start method in "
                         f"{ways!r}, but got multiprocessing_context={context!r}")
    if isinstance(context, str):
        return multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError("multiprocessing_context option should be a valid context object or a "
                        "string specifying the start method, but got "
                        f"multiprocessing_context={context}")
    return context


class _SingleProcessDataLoaderIter:
    """One epoch, read in this process."""

    def __init__(self, loader: DataLoader):
        _, self._keys = epoch(loader)
        self._pinned = pinning(loader)
        self._length = loader.__len__
        self._fetch = Fetch(loader.dataset, loader.collate_fn, loader.batch_sampler is not None,
                            loader.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        refuse_in_trace()
        return self._pinned(self._fetch(next(self._keys)))

    def __len__(self) -> int:
        return self._length()
