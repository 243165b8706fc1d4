"""Loaders whose workers are processes: order, seeds, failures, and how they end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.utils import data

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


class Samples(data.Dataset):
    """What `sample(i)` gives."""

    def __init__(self, count, sample):
        self.count, self.sample = count, sample

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.sample(i)


class Shares(data.IterableDataset):
    """The numbers below `count`, of which each worker has its share."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        info = data.get_worker_info()
        return iter(range(info.id, self.count, info.num_workers))


class TwoArguments(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


def fails(kind, *arguments):
    def sample(i):
        if i == 3:
            raise kind(*arguments)
        return i
    return sample


def children():
    """The living processes that this one has started."""
    own = f"/proc/{os.getpid()}/task"
    return {c for t in os.listdir(own) for c in open(f"{own}/{t}/children").read().split()}


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    before, files = children(), len(os.listdir("/proc/self/fd"))
    yield
    if "start" in request.fixturenames:
        return  # Python keeps its own processes
    if not children() <= before:
        gc.collect()  # a traceback keeps the loop
    assert children() <= before and len(os.listdir("/proc/self/fd")) <= files + 2  # Python's heap


def sample(i):
    return {"x": tg.full((300,), i), "y": np.arange(i, i + 2), "name": str(i), "half": tg.ones(
        2, dtype=tg.bfloat16), "empty": tg.ones(0, 2), "n": (i, float(i))}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("prefetch", [1, 2, 200])
def test_batches_are_those_of_one_process(workers, prefetch):
    dataset = Samples(23, sample)
    one = data.DataLoader(dataset, 4)
    many = data.DataLoader(dataset, 4, num_workers=workers, prefetch_factor=prefetch)
    assert len(many) == 6
    for a, b in zip(one, many, strict=True):
        assert a.keys() == b.keys() and a["name"] == b["name"]
        for key in ("x", "y", "half", "empty"):
            assert tg.equal(a[key], b[key]) and a[key].dtype is b[key].dtype
        assert [v.tolist() for v in a["n"]] == [v.tolist() for v in b["n"]]
        b["x"].add_(1)  # a batch has memory of its own, which can be written


def test_workers_share_an_iterable_data_set():
    loader = data.DataLoader(Shares(11), 2, num_workers=3)
    parts = [b.tolist() for b in loader]
    assert sorted(n for part in parts for n in part) == list(range(11))
    assert parts[:3] == [[0, 3], [1, 4], [2, 5]]
    ends = data.DataLoader(Shares(1), 2, num_workers=3)
    assert [b.tolist() for b in ends] == [[0]] == [b.tolist() for b in ends]


def test_the_order_is_the_same_with_workers_or_without():
    def order(**options):
        loader = data.DataLoader(data.TensorDataset(tg.arange(20)), 3, shuffle=True,
                                 generator=tg.Generator().manual_seed(2), **options)
        return [b.tolist() for _ in range(3) for (b,) in loader]

    assert order() == order(num_workers=2) == order(num_workers=1, persistent_workers=True)


def drawn(i):
    info = data.get_worker_info()
    return tg.rand(()).item(), np.random.rand(), info.seed, info.id, info.num_workers


def test_each_worker_has_its_seed_which_the_generator_fixes():
    def values(seed):
        generator = tg.Generator().manual_seed(seed)
        loader = data.DataLoader(Samples(4, drawn), 2, num_workers=2, generator=generator)
        return [[column.tolist() for column in batch] for batch in loader]

    first, second = values(1)
    assert [first, second] == values(1) != values(2)
    assert first[0] != second[0] and first[1] != second[1]
    assert second[2][0] == first[2][0] + 1 and second[3:] == [[1, 1], [2, 2]]


def test_persistent_workers_read_all_epochs():
    loader = data.DataLoader(Samples(6, lambda i: os.getpid()), 1, num_workers=2,
                             persistent_workers=True)
    epochs = [[b.item() for b in loader] for _ in range(3)]
    assert len({pid for epoch in epochs for pid in epoch}) == 2
    next(iter(loader))  # left in the middle
    assert [b.item() for b in loader] == epochs[0]
    again = data.DataLoader(Shares(6), 2, num_workers=2, persistent_workers=True)
    assert [b.tolist() for b in again] == [b.tolist() for b in again] == [[0, 2], [1, 3], [4], [5]]


@pytest.mark.parametrize("kind, arguments", [
    (ValueError, ("wrong",)), (KeyError, ("key",)), (TwoArguments, (1, 2)),
    (type("Local", (Exception,), {}), ("local",)),
])
def test_what_a_worker_raises_is_raised_with_its_traceback(kind, arguments):
    batches = iter(data.DataLoader(Samples(6, fails(kind, *arguments)), 2, num_workers=2))
    assert next(batches).tolist() == [0, 1]
    expected = kind if kind in (ValueError, KeyError) else RuntimeError
    with pytest.raises(expected) as caught:
        next(batches)
    text = str(caught.value)
    assert text.startswith(f"Caught {kind.__name__} in DataLoader worker process 1.\nOriginal Tr")
    assert "raise kind(*arguments)" in text
    assert next(batches).tolist() == [4, 5]  # as torch goes on


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_that_raises_stop_iteration_does_not_end_the_loop_silently(workers):
    loader = data.DataLoader(Samples(6, fails(StopIteration)), 2, num_workers=workers)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(loader)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_idle_workers_wait_however_they_were_started(start):
    loader = data.DataLoader(data.TensorDataset(tg.arange(4)), 1, num_workers=1,
                             multiprocessing_context=start)
    values = []
    for (batch,) in loader:
        time.sleep(7 if not values else 0)
        values.append(batch.item())
    assert values == [0, 1, 2, 3]


def test_loops_run_in_several_threads():
    def loop(number):
        loader = data.DataLoader(Samples(9, lambda i: i * number), 2, num_workers=2)
        return [n for _ in range(2) for b in loader for n in b.tolist()]

    with ThreadPoolExecutor(3) as pool:
        for number, values in enumerate(pool.map(loop, range(3))):
            assert values == [i * number for i in range(9)] * 2


def test_after_a_timeout_the_late_batch_still_comes():
    sleeps = data.DataLoader(Samples(3, lambda i: time.sleep(1.3 * (i == 1)) or i), 1,
                             num_workers=1, timeout=0.8)
    batches = iter(sleeps)
    assert next(batches).item() == 0
    with pytest.raises(RuntimeError, match="timed out"):
        next(batches)
    time.sleep(0.5)
    assert [b.item() for b in batches] == [1, 2]


def raises(number):
    raise OSError("no disk")


@pytest.mark.parametrize("options, dataset, message", [
    ({"worker_init_fn": raises}, [1, 2], "Caught OSError in DataLoader worker process 0"),
    ({"collate_fn": lambda samples: lambda: 0}, [1, 2], "pickle"),
    ({}, Samples(2, lambda i: os._exit(3)), r"DataLoader worker \(pid.*unexpectedly.*code 3"),
    ({}, Samples(2, lambda i: os.kill(os.getpid(), signal.SIGKILL)), "by signal: Killed"),
    ({}, Samples(2, lambda i: sys.exit(2)), "exited unexpectedly"),
    ({"timeout": 0.2}, Samples(2, lambda i: time.sleep(0.7)), "DataLoader timed out after 0.2 sec"),
])
def test_a_worker_that_cannot_go_on_is_an_error_that_says_so(options, dataset, message):
    with pytest.raises(Exception, match=message):
        list(data.DataLoader(dataset, 1, num_workers=1, **options))


def test_worker_init_fn_is_called_with_the_number():
    def init(number):
        data.get_worker_info().dataset.sample = lambda i: number * 10 + i

    loader = data.DataLoader(Samples(4, None), 1, num_workers=2, worker_init_fn=init)
    assert [b.item() for b in loader] == [0, 11, 2, 13]


def test_a_loop_that_is_left_ends_its_workers_though_others_were_forked_since():
    first = iter(data.DataLoader(Samples(9, lambda i: i), num_workers=2))
    second = iter(data.DataLoader(Samples(9, lambda i: i), num_workers=2))
    next(first), next(second)
    begin = time.monotonic()
    del first
    gc.collect()
    assert time.monotonic() - begin < 3
    assert next(second).item() == 1


def test_workers_compute_after_a_parallel_program_ran_here():
    step = tg.compile(lambda x: (x.exp() + 1).sum())
    x = tg.ones(2000, 1000)
    expected = step(x).item()
    loader = data.DataLoader(Samples(2, lambda i: step(x + 0)), 1, num_workers=2)
    assert [b.item() for b in loader] == pytest.approx([expected] * 2, rel=1e-5)


def test_batches_are_many_and_large():
    loader = data.DataLoader(Samples(300, lambda i: tg.full((20_000,), float(i))), 1, num_workers=2)
    assert [b[0, -1].item() for b in list(loader)] == list(range(300))


def test_keys_are_many():
    dataset = data.TensorDataset(tg.arange(400_000))
    loader = data.DataLoader(dataset, 100_000, shuffle=True, num_workers=2)
    assert sorted(n for (b,) in loader for n in b.tolist()) == list(range(400_000))


SCRIPT = """
import os, signal, sys, time
import tracegrad as torch
from tracegrad.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        time.sleep(0.05)
        return torch.ones(1000)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    loader = DataLoader(Slow(), 2, num_workers=2, multiprocessing_context=sys.argv[2])
    for i, batch in enumerate(loader):
        if i == 0:
            print(*[p.pid for p in __import__("multiprocessing").active_children()], flush=True)
        if sys.argv[1] == "finish" and i == 2:
            break
"""


@pytest.mark.parametrize("end, start", [
    (signal.SIGINT, "fork"), (signal.SIGKILL, "fork"),
    pytest.param(signal.SIGTERM, "fork", marks=pytest.mark.slow),
    pytest.param("finish", "spawn", marks=pytest.mark.slow),
])
def test_workers_end_with_the_program(tmp_path, end, start):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(end), start]
    program = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.PIPE, start_new_session=True)
    pids = program.stdout.readline().split()
    assert len(pids) == 2
    if end == signal.SIGINT:
        os.killpg(program.pid, end)  # as Ctrl-C does
    elif end != "finish":
        program.send_signal(end)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == (0 if end == "finish" else -end) or end == signal.SIGINT
    assert ("Traceback" in errors) == (end == signal.SIGINT), errors
    until = time.monotonic() + 15
    while (alive := [p for p in pids if os.path.exists(f"/proc/{p}")]) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive
