"""Data sets, samplers, collation and the loader in one process, against torch's."""

from __future__ import annotations

import collections
import math
from itertools import islice

import numpy as np
import pytest
from compiled import traces

import tracegrad as tg
from tracegrad.utils import data as ours
from tracegrad.utils.data import sampler as samplers

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.utils.data")
Point = collections.namedtuple("Point", "x y")
BOTH = ((tg, ours), (torch, theirs))


def plain(value):
    """A structure with tensors as (type, dtype, numbers)."""
    if isinstance(value, (tg.Tensor, torch.Tensor)):
        return "tensor", str(value.dtype).rpartition(".")[2], value.tolist()
    if isinstance(value, dict):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return "array", value.tolist()
    return value


def same(work):
    """What both libraries do: equal results, or exceptions of torch's class and first words."""
    results = []
    for library, data in BOTH:
        try:
            results.append(plain(work(library, data)))
        except Exception as error:
            results.append(error)
    mine, torchs = results
    if isinstance(torchs, Exception):
        assert isinstance(mine, type(torchs)), mine
        assert str(mine).startswith(str(torchs)[:25])
    else:
        assert mine == torchs


def rows(library, data):
    return data.TensorDataset(library.arange(10.0).view(5, 2), library.arange(5))


def iterable(data, count=5):
    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(count))

        def __len__(self):
            return count

    return Count()


DATASETS = {
    "rows": lambda t, d: [rows(t, d)[3], rows(t, d)[-1], len(rows(t, d)), rows(t, d)[1:3]],
    "mismatch": lambda t, d: d.TensorDataset(t.ones(2), t.ones(3)),
    "outside": lambda t, d: rows(t, d)[5],
    "stack": lambda t, d: [d.StackDataset([1, 2], "ab")[1], len(d.StackDataset(a=[1]))],
    "stack batch": lambda t, d: d.StackDataset(x=range(5), y=rows(t, d)).__getitems__([1, 0]),
    "stack of unequal": lambda t, d: d.StackDataset([1], [1, 2]),
    "stack of nothing": lambda t, d: d.StackDataset(),
    "stack of both": lambda t, d: d.StackDataset([1], x=[1]),
    "concat": lambda t, d: [(d.ConcatDataset([[1, 2], [], [3]]))[i] for i in (0, 2, -1, -3)],
    "concat before": lambda t, d: d.ConcatDataset([[1]])[-2],
    "concat of nothing": lambda t, d: d.ConcatDataset([]),
    "concat of iterables": lambda t, d: d.ConcatDataset([iterable(d)]),
    "sum": lambda t, d: [len(rows(t, d) + rows(t, d)), (rows(t, d) + rows(t, d))[7]],
    "chain": lambda t, d: [list(iterable(d) + iterable(d, 2)), len(iterable(d) + iterable(d, 2))],
    "chain of lists": lambda t, d: list(d.ChainDataset([[1]])),
    "subset": lambda t, d: [d.Subset("abc", [2, 0])[0], d.Subset("abc", [2, 0]).__getitems__([1])],
    "no items": lambda t, d: d.Dataset()[0],
    "no iterator": lambda t, d: list(d.IterableDataset()),
    "split": lambda t, d: [len(s) for s in d.random_split(range(11), [0.5, 0.25, 0.25])],
    "split all": lambda t, d: sorted(i for s in d.random_split(range(9), [4, 5]) for i in s),
    "split wrong": lambda t, d: d.random_split(range(5), [2, 2]),
    "split negative": lambda t, d: d.random_split(range(5), [-0.5, 1.5]),
}


@pytest.mark.parametrize("case", DATASETS)
def test_data_sets(case):
    same(DATASETS[case])


SAMPLERS = {
    "sequential": lambda t, d: list(d.SequentialSampler(range(3))),
    "random": lambda t, d: sorted(d.RandomSampler(range(7))),
    "twice": lambda t, d: sorted(list(d.RandomSampler(range(4), num_samples=10))[:8]),
    "some": lambda t, d: [len(set(d.RandomSampler(range(9), num_samples=4))),
                          len(d.RandomSampler(range(9), num_samples=4))],
    "replaced": lambda t, d: [len(list(d.RandomSampler(range(3), True, 70))),
                              set(d.RandomSampler(range(3), True, 300)) == {0, 1, 2}],
    "endless": lambda t, d: [len(list(islice(d.RandomSampler(range(3), True, 10**13), 70))),
                             len(list(islice(d.RandomSampler(range(3), num_samples=10**13), 70))),
                             list(islice(d.SequentialSampler(range(10**13)), 3))],
    "random of nothing": lambda t, d: d.RandomSampler([]),
    "random replacement": lambda t, d: d.RandomSampler([1], replacement=1),
    "random samples": lambda t, d: d.RandomSampler([1], num_samples=0),
    "subset": lambda t, d: sorted(d.SubsetRandomSampler(["b", "a", "c"])),
    "weighted": lambda t, d: sorted(d.WeightedRandomSampler([0, 2, 1], 2, False)),
    "weighted too many": lambda t, d: len(list(d.WeightedRandomSampler([0, 1.0], 5))),
    "weights": lambda t, d: d.WeightedRandomSampler([[1.0]], 2),
    "weighted samples": lambda t, d: d.WeightedRandomSampler([1.0], -1),
    "weighted replacement": lambda t, d: d.WeightedRandomSampler([1.0], 1, 0),
    "batches": lambda t, d: list(d.BatchSampler(range(7), 3, False)),
    "whole batches": lambda t, d: list(d.BatchSampler(iter(range(7)), 3, True)),
    "lengths": lambda t, d: [len(d.BatchSampler(range(7), 3, drop)) for drop in (True, False)],
    "batch size": lambda t, d: d.BatchSampler(range(7), True, False),
    "drop": lambda t, d: d.BatchSampler(range(7), 2, 1),
    "no iterator": lambda t, d: list(d.Sampler()),
    "replicas": lambda t, d: [list(d.DistributedSampler(range(n), 3, r, False, drop_last=drop))
                              for n in (1, 2, 7, 9) for r in range(3) for drop in (True, False)],
    "rank": lambda t, d: d.DistributedSampler(range(3), 2, 2),
    "shuffled replicas": lambda t, d: sorted(
        i for r in range(2) for i in d.DistributedSampler(range(6), 2, r, seed=3)),
}


@pytest.mark.parametrize("case", SAMPLERS)
def test_samplers(case):
    same(SAMPLERS[case])


class Frozen(collections.abc.Mapping):
    """A mapping that can be neither changed nor made from a dict."""

    def __init__(self, a, b):
        self.inner = {"a": a, "b": b}

    def __getitem__(self, key):
        return self.inner[key]

    def __iter__(self):
        return iter(self.inner)

    def __len__(self):
        return 2


SAMPLES = {
    "tensors": lambda t: [t.ones(2), t.zeros(2)],
    "empty tensors": lambda t: [t.ones(0, 3)] * 2,
    "numbers in tensors": lambda t: [t.tensor(1), t.tensor(2)],
    "half": lambda t: [t.ones(2, dtype=t.bfloat16)] * 2,
    "columns": lambda t: [t.arange(6).view(2, 3).t()] * 2,
    "shapes": lambda t: [t.ones(2), t.zeros(3)],
    "arrays": lambda t: [np.arange(3), np.arange(3)],
    "scalars": lambda t: [np.float32(1), np.float32(2)],
    "array of one": lambda t: [np.array(1.5), np.array(2.5)],
    "bools": lambda t: [True, False],
    "integers": lambda t: [1, 2],
    "floats": lambda t: [1.5, 2],
    "text": lambda t: ["a", "b"],
    "bytes": lambda t: [b"a", b"b"],
    "array of text": lambda t: [np.array(["a"]), np.array(["b"])],
    "tuples": lambda t: [(1, t.ones(1)), (2, t.zeros(1))],
    "lists": lambda t: [[1, [2.0]], [3, [4.0]]],
    "unequal": lambda t: [[1, 2], [1]],
    "named": lambda t: [Point(1, 2), Point(3, 4)],
    "dicts": lambda t: [{"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y"}}],
    "other order": lambda t: [{"a": 1, "b": 2}, {"b": 3, "a": 4}],
    "missing": lambda t: [{"a": 1}, {"b": 3}],
    "ordered": lambda t: [collections.OrderedDict(b=1, a=2)] * 2,
    "default": lambda t: [collections.defaultdict(int, a=2)] * 2,
    "frozen": lambda t: [Frozen(1, 2), Frozen(3, 4)],
    "ranges": lambda t: [range(2), range(2)],
    "nothing": lambda t: [],
    "none": lambda t: [None, None],
    "object": lambda t: [object()],
}


@pytest.mark.parametrize("name", ["default_collate", "default_convert"])
@pytest.mark.parametrize("case", SAMPLES)
def test_collation(case, name):
    if (case, name) == ("object", "default_convert"):
        pytest.skip("two objects are not equal")
    same(lambda library, data: getattr(data, name)(SAMPLES[case](library)))


def test_a_collated_batch_has_gradients():
    x = tg.ones(2, requires_grad=True)
    ours.default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3, 3]


def batches(**options):
    return lambda t, d: list(d.DataLoader(rows(t, d), **options))


LOADERS = {
    "rows": batches(batch_size=2),
    "whole": batches(batch_size=2, drop_last=True),
    "single": batches(),
    "samples": batches(batch_size=None),
    "batch sampler": batches(batch_sampler=[[0, 4], [1]]),
    "outside": batches(batch_sampler=[[0, 5]]),
    "an empty batch": batches(batch_sampler=[[]]),
    "bools as keys": batches(batch_sampler=[[True, False]]),
    "sampler": batches(sampler=[4, 3, -1], batch_size=2),
    "collated": batches(collate_fn=len, batch_size=3),
    "subset": lambda t, d: list(d.DataLoader(d.Subset(d.Subset(rows(t, d), [4, 0, 2]), [2, 1]))),
    "subset outside": lambda t, d: list(d.DataLoader(d.Subset(rows(t, d), [9]))),
    "list": lambda t, d: list(d.DataLoader([1.0, 2.0, 3.0], 2)),
    "length": lambda t, d: [len(d.DataLoader(rows(t, d), 2, drop_last=x)) for x in (True, False)],
    "iterable": lambda t, d: list(d.DataLoader(iterable(d), 2)),
    "iterable whole": lambda t, d: list(d.DataLoader(iterable(d), 2, drop_last=True)),
    "iterable exact": lambda t, d: list(d.DataLoader(iterable(d, 4), 2)),
    "iterable samples": lambda t, d: list(d.DataLoader(iterable(d), batch_size=None)),
    "iterable length": lambda t, d: [len(d.DataLoader(iterable(d), n)) for n in (None, 2)],
    "iterable shuffled": lambda t, d: d.DataLoader(iterable(d), shuffle=True),
    "iterable sampler": lambda t, d: d.DataLoader(iterable(d), sampler=[1]),
    "iterable batches": lambda t, d: d.DataLoader(iterable(d), batch_sampler=[[1]]),
    "empty": lambda t, d: list(d.DataLoader([], 2)),
    "empty shuffled": lambda t, d: list(d.DataLoader([], 2, shuffle=True)),
    "sampler and shuffle": batches(sampler=[1], shuffle=True),
    "batches and size": batches(batch_sampler=[[1]], batch_size=2),
    "no batches and drop": batches(batch_size=None, drop_last=True),
    "size": batches(batch_size=0),
    "workers": batches(num_workers=-1),
    "timeout": batches(timeout=-1),
    "prefetch": batches(prefetch_factor=2),
    "negative prefetch": batches(prefetch_factor=-2, num_workers=1),
    "persistent": batches(persistent_workers=True),
    "context": batches(multiprocessing_context="fork"),
    "wrong context": batches(multiprocessing_context="none", num_workers=1),
    "context of a wrong type": batches(multiprocessing_context=3, num_workers=1),
    "fixed": lambda t, d: setattr(d.DataLoader([1]), "batch_size", 3),
}


@pytest.mark.parametrize("case", LOADERS)
def test_loaders(case):
    same(LOADERS[case])


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9])
def test_batches_are_cut_across_portions_of_an_order(size, monkeypatch):
    monkeypatch.setattr(samplers, "PORTION", 4)
    data = tg.arange(10)
    assert [b.tolist() for b in ours.DataLoader(data, size)] == [
        b.tolist() for b in data.split(size)
    ]
    drawn = ours.RandomSampler(data, True, 10, tg.Generator().manual_seed(1))
    keys = list(drawn)
    drawn.generator.manual_seed(1)
    batches = list(ours.DataLoader(data, size, sampler=drawn, drop_last=True))
    assert [int(k) for b in batches for k in b] == keys[: 10 - 10 % size]


def test_a_generator_fixes_the_order():
    dataset = ours.TensorDataset(tg.arange(100))

    def order(seed):
        loader = ours.DataLoader(dataset, 7, shuffle=True,
                                 generator=tg.Generator().manual_seed(seed))
        return [b.tolist() for _ in range(2) for (b,) in loader]

    assert order(1) == order(1) != order(2)
    assert order(1)[:15] != order(1)[15:]
    tg.manual_seed(3)
    first = [b.tolist() for (b,) in ours.DataLoader(dataset, 50, shuffle=True)]
    tg.manual_seed(3)
    assert first == [b.tolist() for (b,) in ours.DataLoader(dataset, 50, shuffle=True)]


class Slow(ours.TensorDataset):
    def __getitem__(self, index):
        return super().__getitem__(index)


@pytest.mark.parametrize("tensor", [
    tg.arange(24).view(6, 4), tg.arange(24).view(4, 6).t(), tg.ones(6, dtype=tg.bfloat16),
    tg.ones(6, 0), tg.ones(6, 2, requires_grad=True), tg.ones(1, 2).expand(6, 2) > 0,
])
def test_rows_cut_at_once_are_those_read_one_by_one(tensor):
    pairs = [ours.DataLoader(kind(tensor, tg.arange(6)), 4) for kind in (ours.TensorDataset, Slow)]
    for (x, i), (y, j) in zip(*pairs, strict=True):
        assert x.dtype is y.dtype and x.requires_grad == y.requires_grad
        assert x.tolist() == y.tolist() and i.tolist() == j.tolist()
        assert x.stride() == y.stride() and x.is_contiguous()
    if not tensor.requires_grad and tensor.numel() and tensor.dtype is tg.int64:
        x.fill_(7)
        assert not (tensor == 7).all()  # a batch has memory of its own


def test_a_compiled_step_takes_batches_with_a_ragged_last_one():
    model, losses = tg.nn.Linear(3, 1), {}
    optimizer = tg.optim.SGD(model.parameters(), 0.01)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = tg.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    loader = ours.DataLoader(ours.TensorDataset(tg.randn(50, 3), tg.ones(50, 1)), 8, shuffle=True)
    for epoch in range(5):
        losses[epoch] = sum(step(x, y).item() for x, y in loader)
    assert losses[4] < losses[0] and math.isfinite(losses[4])
    assert traces(step) == 2


def test_a_loader_is_not_read_in_a_compiled_function():
    loader = ours.DataLoader(ours.TensorDataset(tg.ones(4)), 2)
    batches = iter(loader)
    for read in (lambda: next(batches)[0], lambda: sum(x.sum() for (x,) in loader)):
        with pytest.raises(RuntimeError, match=r"a DataLoader was read .*line test_data.py"):
            tg.compile(read)()
    assert next(batches)[0].tolist() == [1, 1]


def test_samples_are_collated_in_a_compiled_function():
    x = tg.ones(2)
    collated = tg.compile(lambda: ours.default_collate([x, x]) * 2)
    assert collated().tolist() == [[2, 2], [2, 2]]
    x.add_(1)
    assert collated().tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize("indices", [
    [3, 1, -1], (3, 1, 0), range(1, 4), np.array([3, 1, 0]), tg.tensor([3, 1, 0]),
    [3], np.array([[3, 1], [0, 2]]),
])
def test_indices_of_a_subset_may_be_any_sequence(indices):
    x = tg.arange(8).view(4, 2)
    results = [
        [batch[0].tolist() for batch in ours.DataLoader(ours.Subset(kind(x), indices), 2)]
        for kind in (ours.TensorDataset, Slow)
    ]
    assert results[0] == results[1]
