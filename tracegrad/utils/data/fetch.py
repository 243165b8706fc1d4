"""Read batches: the samples of some keys, collated.

The rows of a TensorDataset, or of a Subset of one, are cut out of its tensors at once if collation
is torch's own; the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, repeat
from operator import itemgetter
from typing import Any

import numpy as np

from ...functions.torch.random_sampling import randint
from ...ir.dtype import int64
from ...ir.node import user_site
from ...tracer.mode import mode
from ...tracer.tensor.tensor import Tensor, wrap
from .collate import default_collate
from .dataset import IterableDataset, Subset, TensorDataset
from .sampler import BatchSampler, Ordered

Keys = Any  # a list of keys or an array of them; without batches one key


def epoch(loader: Any) -> tuple[int, Iterator[Keys]]:
    """A seed for the workers, and what each step of an epoch reads. Both are drawn whether there
    are workers or not, so that the order is the same.
    """
    seed = int(randint(2**63 - 1, (), generator=loader.generator).item())
    return seed, _keys(loader)


def _keys(loader: Any) -> Iterator[Keys]:
    """What each step reads: an array of keys where the order is known beforehand."""
    if isinstance(loader.dataset, IterableDataset):
        return repeat(loader.batch_size)
    batches = loader.batch_sampler
    if batches is None:
        return iter(loader.sampler)
    if type(batches) is BatchSampler:
        keys: Any = batches.sampler
        if _is(keys, Ordered, "__iter__"):
            return _pieces(keys.portions(), batches.batch_size, batches.drop_last)
    return iter(batches)


def _is(value: Any, base: type, method: str) -> bool:
    """Whether an object has this method from this class."""
    return isinstance(value, base) and getattr(type(value), method) is getattr(base, method)


def _pieces(portions: Iterator[np.ndarray], size: int, drop_last: bool) -> Iterator[np.ndarray]:
    rest = np.empty(0, np.int64)  # fewer than a batch
    for portion in portions:
        keys = np.concatenate([rest, portion])
        whole = len(keys) - len(keys) % size
        for begin in range(0, whole, size):
            yield keys[begin : begin + size]
        rest = keys[whole:]
    if len(rest) and not drop_last:
        yield rest


def refuse_in_trace() -> None:
    """Raise if a function is being compiled: its program would keep the batches of now."""
    if mode.trace is not None:
        raise RuntimeError(
            "a DataLoader was read while a function was compiled: its batches are others at each "
            f"call, so pass them to the compiled function (line {user_site()})"
        )


class Fetch:
    """Reads for one epoch: call it with keys. Raises StopIteration at the end of an
    IterableDataset.
    """

    def __init__(self, dataset: Any, collate_fn: Callable, batches: bool, drop_last: bool):
        self.dataset, self.collate = dataset, collate_fn
        self.batches, self.drop_last = batches, drop_last
        self._samples = iter(dataset) if isinstance(dataset, IterableDataset) else None
        self._ended = False

    def __call__(self, keys: Keys) -> Any:
        if self._samples is not None:
            return self.collate(self._next(keys))
        try:
            return self._of_keys(keys)
        except StopIteration as error:  # which would end the loop
            raise RuntimeError(f"{type(self.dataset).__name__} raised StopIteration") from error

    def _of_keys(self, keys: Keys) -> Any:
        if not self.batches:
            return self.collate(self.dataset[keys])
        if self.collate is default_collate and (rows := _rows(self.dataset, keys)) is not None:
            return rows
        keys = keys.tolist() if isinstance(keys, np.ndarray) else keys
        if getattr(self.dataset, "__getitems__", None):
            return self.collate(self.dataset.__getitems__(keys))
        return self.collate([self.dataset[key] for key in keys])

    def _next(self, count: int | None) -> Any:
        """The next samples of an iterable; one if there are no batches."""
        assert self._samples is not None
        if self._ended:
            raise StopIteration
        if count is None:
            return next(self._samples)
        samples = list(islice(self._samples, count))
        self._ended = len(samples) < count
        if not samples or (self._ended and self.drop_last):
            raise StopIteration
        return samples


def _rows(dataset: Any, keys: Keys) -> list[Tensor] | None:
    """A collated batch of a TensorDataset; None if it must be read sample by sample."""
    keys = _integers(keys)
    try:
        while _is(dataset, Subset, "__getitems__"):
            keys, dataset = _picked(dataset.indices, keys), dataset.dataset
        plain = _is(dataset, TensorDataset, "__getitem__") and not hasattr(dataset, "__getitems__")
        if keys is None or not plain:
            return None
        return [_cut(t, keys) for t in dataset.tensors]
    except IndexError:  # which reading sample by sample says in torch's words
        return None


def _integers(keys: Any) -> np.ndarray | None:
    """Keys as an array, if all are plain integers."""
    if isinstance(keys, np.ndarray):
        return keys if keys.dtype.kind == "i" and keys.ndim == 1 else None
    return np.array(keys) if set(map(type, keys)) == {int} else None


def _picked(indices: Any, keys: np.ndarray | None) -> np.ndarray | None:
    """`indices[key]` for each key, if these are plain integers."""
    if keys is None or not len(keys):
        return None
    if isinstance(indices, np.ndarray):
        return _integers(indices[keys])
    if not isinstance(indices, (list, tuple, range)):
        return None
    if len(keys) == 1:
        return _integers([indices[int(keys[0])]])
    return _integers(itemgetter(*keys.tolist())(indices))


def _cut(t: Tensor, keys: np.ndarray) -> Tensor:
    array = t._array
    if type(t) is not Tensor or t.requires_grad or type(array) is not np.ndarray:
        return t[wrap(keys, int64)]
    if array.flags.c_contiguous:
        return wrap(array.take(keys, 0), t.dtype)
    return wrap(np.ascontiguousarray(array[keys]), t.dtype)
