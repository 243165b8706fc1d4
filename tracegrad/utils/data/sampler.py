"""Samplers: the keys of the samples, in the order in which a loader reads them.

Where the order is known beforehand it comes as arrays (`portions`), so that a loader can cut
batches out of them without a Python object for each sample. An order may be longer than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain, islice
from typing import Any, Generic, TypeVar

import numpy as np

from ...functions.torch.creation import as_tensor
from ...functions.torch.random_sampling import multinomial, randint, randperm
from ...ir.dtype import float64
from ...tracer.tensor.generator import Generator

__all__ = [
    "BatchSampler", "RandomSampler", "Sampler", "SequentialSampler", "SubsetRandomSampler",
    "WeightedRandomSampler",
]

PORTION = 1 << 20  # keys in one array
_T_co = TypeVar("_T_co", covariant=True)


class Sampler(Generic[_T_co]):
    """Base of samplers: a subclass has `__iter__`, and `__len__` where the length is known.

    Raises NotImplementedError when iterated without `__iter__`.

    >>> class Backwards(torch.utils.data.Sampler):
    ...     def __init__(self, data):
    ...         self.data = data
    ...     def __iter__(self):
    ...         return reversed(range(len(self.data)))
    >>> list(torch.utils.data.DataLoader([1, 2, 3], batch_size=2, sampler=Backwards([1, 2, 3])))
    [tensor([3, 2]), tensor([1])]
    """

    def __iter__(self) -> Iterator[_T_co]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class Ordered(Sampler[int]):
    """A sampler that knows its whole order beforehand."""

    def portions(self) -> Iterator[np.ndarray]:
        """The keys of the samples in arrays, one after the other, drawn anew at each call."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(keys.tolist() for keys in self.portions())


def _boolean(name: str, value: Any, kind: type[Exception] = ValueError) -> bool:
    if not isinstance(value, bool):
        raise kind(f"{name} should be a boolean value, but got {name}={value}")
    return value


def _positive(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
    return value


class SequentialSampler(Ordered):
    """0, 1, 2 and so on. Raises TypeError when iterated over a data set without a length.

    >>> list(torch.utils.data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized):
        self.data_source = data_source

    def portions(self) -> Iterator[np.ndarray]:
        count = len(self.data_source)
        return (
            np.arange(begin, min(begin + PORTION, count)) for begin in range(0, count, PORTION)
        )

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Ordered):
    """The keys shuffled, or drawn with replacement; `num_samples` of them, by default as many as
    there are. Without replacement more than there are come as one shuffle after the other.

    Raises TypeError unless `replacement` is a bool, ValueError unless there is a sample to draw.

    >>> sampler = torch.utils.data.RandomSampler("abcd", generator=torch.Generator())
    >>> sorted(sampler)
    [0, 1, 2, 3]
    """

    def __init__(self, data_source: Sized, replacement: bool = False,
                 num_samples: int | None = None, generator: Generator | None = None):
        self.data_source = data_source
        self.replacement = _boolean("replacement", replacement, TypeError)
        self._num_samples = num_samples
        self.generator = generator
        _positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many keys an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def portions(self) -> Iterator[np.ndarray]:
        count = len(self.data_source)
        if not count:
            raise ValueError("RandomSampler has no samples to draw from")
        generator = self.generator
        if generator is None:  # of its own: what else is drawn during the epoch changes no key
            generator = Generator().manual_seed(int(randint(2**63 - 1, ())))
        longest = PORTION if self.replacement else count
        return (
            randint(0, count, (length,), generator=generator).numpy() if self.replacement
            else randperm(count, generator=generator).numpy()[:length]
            for begin in range(0, self.num_samples, longest)
            for length in [min(longest, self.num_samples - begin)]
        )

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """These keys, shuffled. Raises TypeError when iterated if they have no length.

    >>> sorted(torch.utils.data.SubsetRandomSampler([5, 2, 9]))
    [2, 5, 9]
    """

    def __init__(self, indices: Sequence, generator: Generator | None = None):
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator:
        for i in randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Ordered):
    """`num_samples` keys, drawn in proportion to these weights.

    Shape: weights (samples). Raises ValueError for another shape, for a `num_samples` that is not
    positive or a `replacement` that is no bool; RuntimeError for weights that cannot be drawn from.

    >>> list(torch.utils.data.WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(self, weights: Sequence[float], num_samples: int, replacement: bool = True,
                 generator: Generator | None = None):
        self.num_samples = _positive("num_samples", num_samples)
        self.replacement = _boolean("replacement", replacement)
        self.weights = as_tensor(weights, dtype=float64)
        if self.weights.dim() != 1:
            raise ValueError("weights should be a 1d sequence but given weights have shape "
                             f"{tuple(self.weights.shape)}")
        self.generator = generator

    def portions(self) -> Iterator[np.ndarray]:
        keys = multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter([keys.numpy()])

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list]):
    """Lists of `batch_size` keys of another sampler; the last is shorter, or dropped.

    Raises ValueError for a `batch_size` that is not positive or a `drop_last` that is no bool.

    >>> list(torch.utils.data.BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable, batch_size: int, drop_last: bool):
        self.sampler = sampler
        self.batch_size = _positive("batch_size", batch_size)
        self.drop_last = _boolean("drop_last", drop_last)

    def __iter__(self) -> Iterator[list]:
        keys = iter(self.sampler)
        while batch := list(islice(keys, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
