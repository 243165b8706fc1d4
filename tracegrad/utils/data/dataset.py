"""Data sets: `dataset[i]` and `len(dataset)`, or an iterable of samples."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from ...functions.torch.random_sampling import randperm
from ...tracer.tensor.generator import Generator
from ...tracer.tensor.tensor import Tensor

__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset",
    "TensorDataset", "random_split",
]

_T_co = TypeVar("_T_co", covariant=True)


class Dataset(Generic[_T_co]):
    """Base of data sets that are read by key: a subclass has `__getitem__`, and most have
    `__len__`. With `__getitems__(indices)` the samples of a batch are read at once.

    Raises NotImplementedError when a sample is read and the subclass has no `__getitem__`.

    >>> class Squares(torch.utils.data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return float(i * i)
    >>> next(iter(torch.utils.data.DataLoader(Squares(), batch_size=4)))
    tensor([0., 1., 4., 9.], dtype=tracegrad.float64)
    """

    def __getitem__(self, index: Any) -> _T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> Dataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[_T_co], Iterable[_T_co]):
    """Base of data sets that are read in their own order: a subclass has `__iter__`.

    Each worker of a loader iterates over its own copy, so `__iter__` asks `get_worker_info` which
    samples are its own. Raises TypeError when one without `__iter__` is made.

    >>> class Count(torch.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(5))
    >>> list(torch.utils.data.DataLoader(Count(), batch_size=3))
    [tensor([0, 1, 2]), tensor([3, 4])]
    """

    def __add__(self, other: Dataset) -> Dataset:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors whose rows are the samples: sample i is `tuple(t[i] for t in tensors)`.

    With the default collation a DataLoader cuts batches out of the tensors by one index each.

    Shape: the first dimensions are equal. Raises AssertionError if they differ.

    >>> dataset = torch.utils.data.TensorDataset(torch.arange(6).view(3, 2), torch.arange(3))
    >>> dataset[1]
    (tensor([2, 3]), tensor(1))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor):
        if len({t.size(0) for t in tensors}) > 1:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise AssertionError(f"Size mismatch between tensors: shapes {shapes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


def _samples(dataset: Any, indices: list) -> Sequence:
    """The samples of these keys, read at once where the data set can."""
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[i] for i in indices]
    return dataset.__getitems__(indices)


class StackDataset(Dataset):
    """Data sets side by side: a sample is the tuple of their samples, or a dict for keywords.

    Raises ValueError for data sets of different length, for none, or for both kinds.

    >>> stack = torch.utils.data.StackDataset(x=[1, 2], y=["a", "b"])
    >>> stack[1], len(stack)
    ({'x': 2, 'y': 'b'}, 2)
    """

    datasets: tuple | dict

    def __init__(self, *args: Any, **kwargs: Any):
        if args and kwargs:
            raise ValueError("Supported either ``tuple``- (via ``args``) or ``dict``- (via "
                             "``kwargs``) like input/output, but both types are given.")
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed")
        self.datasets = args or kwargs
        lengths = {len(d) for d in self._parts()}
        if len(lengths) > 1:
            raise ValueError("Size mismatch between datasets")
        self._length = lengths.pop()

    def _parts(self) -> tuple:
        return tuple(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, parts: tuple) -> tuple | dict:
        kinds = self.datasets
        return dict(zip(kinds, parts, strict=True)) if isinstance(kinds, dict) else parts

    def __getitem__(self, index: Any) -> tuple | dict:
        return self._sample(tuple(d[index] for d in self._parts()))

    def __getitems__(self, indices: list) -> list:
        columns = [_samples(d, indices) for d in self._parts()]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError("Nested dataset's output size mismatch. "
                                 f"Expected {len(indices)}, got {len(column)}")
        return [self._sample(row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[_T_co]):
    """Data sets one after the other; `a + b` makes one.

    Raises AssertionError for none or for an IterableDataset, and ValueError for a negative index
    beyond the start.

    >>> both = torch.utils.data.ConcatDataset([[1, 2], [3]])
    >>> both[2], both[-3], both.cumulative_sizes
    (3, 1, [2, 3])
    """

    datasets: list
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable):
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Iterable) -> list[int]:
        """The sums of the lengths so far."""
        return list(accumulate(len(d) for d in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> _T_co:
        if idx < -len(self):
            raise ValueError("absolute value of index should not exceed dataset length")
        if idx < 0:
            idx += len(self)
        part = bisect.bisect_right(self.cumulative_sizes, idx)
        if part == len(self.datasets):
            raise IndexError(f"index {idx} is out of range for {len(self)} samples")
        return self.datasets[part][idx - (self.cumulative_sizes[part - 1] if part else 0)]


class ChainDataset(IterableDataset):
    """Iterable data sets one after the other; `a + b` makes one.

    Raises AssertionError while iterating, for what is no IterableDataset.

    >>> class Count(torch.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(2))
    >>> list(torch.utils.data.ChainDataset([Count(), Count()]))
    [0, 1, 0, 1]
    """

    def __init__(self, datasets: Iterable):
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield d

    def __iter__(self) -> Iterator:
        for d in self._checked():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._checked())


class Subset(Dataset[_T_co]):
    """The samples of a data set with these indices, in this order.

    Raises NotImplementedError for a subclass that has its own `__getitem__` and no `__getitems__`.

    >>> torch.utils.data.Subset("abcd", [3, 1])[0]
    'd'
    """

    dataset: Any
    indices: Sequence

    def __init__(self, dataset: Any, indices: Sequence):
        own = type(self)
        if (own.__getitem__ is not Subset.__getitem__
                and own.__getitems__ is Subset.__getitems__):
            raise NotImplementedError(
                f"{own.__name__} overrides __getitem__ but not __getitems__, which a DataLoader "
                "calls for a batch: let it return [self[i] for i in indices]"
            )
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list) -> Sequence:
        return _samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Split a data set at random into parts of these lengths, or of these fractions if they sum to
    1: the samples that rounding leaves over go to the first parts.

    Raises ValueError if the lengths do not sum to that of the data set, or for a fraction outside
    0 to 1.

    >>> train, test = torch.utils.data.random_split(range(10), [0.75, 0.25])
    >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
    (8, 2, True)
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _of_fractions(lengths, total)
    if sum(lengths) != total:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset! "
                         f"It is {sum(lengths)}, and there are {total} samples")
    order = randperm(total, generator=generator).tolist()
    ends = [int(end) for end in accumulate(lengths)]
    return [Subset(dataset, order[end - int(n) : end])
            for end, n in zip(ends, lengths, strict=True)]


def _of_fractions(fractions: Sequence[float], total: int) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {i} is not between 0 and 1")
    lengths = [math.floor(total * fraction) for fraction in fractions]
    for i in range(total - sum(lengths)):
        lengths[i % len(lengths)] += 1
    for i, length in enumerate(lengths):
        if length == 0:
            warnings.warn(f"Length of split at index {i} is 0. "
                          "This might result in an empty dataset.", stacklevel=3)
    return lengths
