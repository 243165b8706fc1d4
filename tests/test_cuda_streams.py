"""Streams, pinned memory and the caching allocator, by a driver in plain Python whose work waits
until somebody waits for it.
"""

import gc

import numpy as np
import pytest
from fake_gpu import plain_gpus

import tracegrad as tg
from tracegrad.driver.gpus import gpus as the_gpus
from tracegrad.runtime.cuda.allocator import OutOfMemoryError
from tracegrad.runtime.cuda.device import CudaDevice
from tracegrad.runtime.cuda.fake_driver import FakeDriver, Misuse
from tracegrad.runtime.cuda.pinned import is_pinned


@pytest.fixture
def driver():
    with plain_gpus(2):
        yield the_gpus.device(0).driver


def said(driver, what):
    return [line.split()[0] for line in driver.log].count(what)


# ---- the current stream
def test_a_stream_that_is_set_stays_the_current_one(driver):
    former, side = tg.cuda.current_stream(), tg.cuda.Stream(1)
    tg.cuda.set_stream(side)
    try:
        assert tg.cuda.current_stream() == side and tg.cuda.current_device() == 1
        assert tg.cuda.current_stream(0) == former
        with tg.cuda.stream(former):
            assert tg.cuda.current_stream() == former
        assert tg.cuda.current_stream() == side
        tg.cuda.set_stream(None)
        assert tg.cuda.current_stream() == side
        y = tg.ones(3, device="cuda") * 2
        assert not side.query() and y.tolist() == [2.0] * 3 and side.query()
    finally:
        tg.cuda.set_stream(tg.cuda.default_stream(1))
        tg.cuda.set_stream(former)
    assert tg.cuda.current_stream() == former


# ---- memory that several streams use
def test_memory_that_a_recorded_stream_uses_is_not_handed_out(driver):
    side = tg.cuda.Stream()
    x = tg.ones(1000, device="cuda")
    where = x.data_ptr()
    side.wait_stream(tg.cuda.current_stream())
    with tg.cuda.stream(side):
        y = x * 2
    x.record_stream(side)
    del x
    again = [tg.zeros(1000, device="cuda") for _ in range(3)]
    assert where not in [t.data_ptr() for t in again]
    side.synchronize()  # which has read it only now
    assert y.tolist() == [2.0] * 1000
    again = [tg.zeros(1000, device="cuda") for _ in range(3)]
    assert where in [t.data_ptr() for t in again]


def test_memory_that_nobody_recorded_is_handed_out_at_once(driver):
    x = tg.ones(1000, device="cuda")
    where = x.data_ptr()
    x.record_stream(tg.cuda.current_stream())  # its own
    del x
    assert tg.empty(1000, device="cuda").data_ptr() == where


def test_a_full_gpu_waits_for_recorded_streams():
    driver = FakeDriver(total=40 << 20)
    device = CudaDevice(driver, 0)
    block, side = device.memory(16 << 20), device.new_stream()
    with device.on_stream(side):
        device.write(block.address, np.ones(4))
    block.record(side)
    del block
    assert device.memory(30 << 20).address and driver.idle(side)
    with pytest.raises(OutOfMemoryError, match=r"Tried to allocate 48\.00 MiB. GPU 0 has"):
        device.memory(48 << 20)
    device.allocator.empty_cache()
    assert device.allocator.statistics()["reserved"] == 0


def test_a_program_keeps_its_memory_while_another_stream_runs_it(driver):
    f, side = tg.compile(lambda x: (x @ x).exp().sum()), tg.cuda.Stream()
    x = tg.ones(4, 4, device="cuda")
    f(x)
    with tg.cuda.stream(side):
        side.wait_stream(tg.cuda.default_stream())
        y = f(x)
    del f
    gc.collect()
    noise = [tg.full((64,), 7.0, device="cuda") for _ in range(8)]
    side.synchronize()
    assert y.item() == pytest.approx(16 * np.exp(4.0), rel=1e-5) and len(noise) == 8


def test_a_result_keeps_its_memory_while_another_stream_computes_it(driver):
    f, side, x = tg.compile(lambda x: x * 2), tg.cuda.Stream(), tg.ones(300, device="cuda")
    where = f(x).data_ptr()  # in memory of the default stream, which is used again
    with tg.cuda.stream(side):
        side.wait_stream(tg.cuda.default_stream())
        y = f(x)
        assert y.data_ptr() == where
    del f, y
    gc.collect()
    assert where not in [tg.empty(300, device="cuda").data_ptr() for _ in range(2)]
    side.synchronize()
    kept = [tg.empty(300, device="cuda") for _ in range(4)]
    assert where in [t.data_ptr() for t in kept]


def test_record_stream_is_for_gpus(driver):
    with pytest.raises(NotImplementedError, match="'aten::record_stream'"):
        tg.ones(1).record_stream(tg.cuda.current_stream())


# ---- streams and events
def test_what_waits_and_what_does_not(driver):
    x, side = tg.zeros(4, device="cuda"), tg.cuda.Stream()
    before = tg.cuda.current_stream().record_event()
    assert before.query() in (False, True)
    with tg.cuda.stream(side):
        side.wait_event(before)
        y = x + 1
        done = tg.cuda.Event()
        done.record()
    assert not done.query() and not side.query()
    tg.cuda.current_stream().wait_stream(side)
    z = y * 3
    assert not done.query()
    assert z.tolist() == [3.0] * 4 and done.query() and side.query()


def test_the_time_between_events(driver):
    start, end = (tg.cuda.Event(enable_timing=True) for _ in range(2))
    x = tg.zeros(4, device="cuda")
    start.record()
    for _ in range(3):
        x.add_(1)
    end.record()
    with pytest.raises(RuntimeError, match="must be completed"):
        start.elapsed_time(end)
    end.synchronize()
    assert start.elapsed_time(end) >= 3 and x.tolist() == [3.0] * 4


def test_streams_of_users_are_used_again(driver):
    streams = {tg.cuda.Stream().cuda_stream for _ in range(100)}
    assert len(streams) == 32 and tg.cuda.default_stream().cuda_stream not in streams


# ---- pinned memory
def test_pinned_memory(driver):
    x = tg.arange(6.0).reshape(2, 3)
    p = x.pin_memory()
    assert p.is_pinned() and p.pin_memory() is p and not x.is_pinned()
    assert p[1].is_pinned() and p.t().is_pinned() and not p.clone().is_pinned()
    assert p.tolist() == x.tolist() and x.t().pin_memory().stride() == (1, 3)
    assert tg.empty(3, pin_memory=True).is_pinned() and tg.zeros(0).pin_memory().shape == (0,)
    assert tg.tensor([1, 2], pin_memory=True).is_pinned()
    assert tg.ones(2, dtype=tg.bfloat16).pin_memory().tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        tg.ones(1, device="cuda").pin_memory()
    array = p.numpy()
    del p
    gc.collect()
    assert is_pinned(array)  # NumPy still has it
    del array
    gc.collect()
    assert not is_pinned(np.ones(3))


def test_a_copy_from_pinned_memory_runs_later_and_holds_its_source(driver):
    x = tg.arange(4.0).pin_memory()
    driver.log.clear()
    g = x.to("cuda", non_blocking=True)
    assert said(driver, "synchronize") == 0 and said(driver, "copy_in_later") == 1
    assert not tg.cuda.current_stream().query()
    x.mul_(10)  # a race, as in torch: the copy has not begun
    del x
    gc.collect()
    assert g.tolist() == [0, 10, 20, 30]
    driver.log.clear()
    h = tg.arange(4.0).pin_memory().cuda()  # blocking
    assert said(driver, "synchronize") == 1 and tg.cuda.current_stream().query()
    assert h.tolist() == [0, 1, 2, 3]
    ordinary = tg.arange(4.0)
    g = ordinary.to("cuda", non_blocking=True)
    ordinary.fill_(9)
    assert g.tolist() == [0, 1, 2, 3]  # it was read at once


def test_copy_into_a_tensor_from_pinned_memory(driver):
    g, x = tg.zeros(2, 3, device="cuda"), tg.arange(3.0).pin_memory()
    driver.log.clear()
    g.copy_(x, non_blocking=True)
    assert said(driver, "synchronize") == 0
    assert g.tolist() == [[0, 1, 2]] * 2
    x.copy_(g[0], non_blocking=True)
    assert x.tolist() == [0, 1, 2] and x.is_pinned()


def test_a_compiled_function_takes_pinned_tensors(driver):
    f = tg.compile(lambda x: x.to("cuda", non_blocking=True) * 2)
    x = tg.arange(3.0).pin_memory()
    for k in range(3):
        x.fill_(k)
        assert f(x).tolist() == [2.0 * k] * 3


def test_the_driver_finds_a_source_that_nobody_holds():
    driver = FakeDriver()
    stream, where = driver.stream(0), driver.allocate(0, 64)
    source = driver.pinned(0, 64)
    driver.copy_in_later(stream, where, source)
    del source
    with pytest.raises(Misuse, match="not pinned, or not any more"):
        driver.synchronize(stream)
    with pytest.raises(Misuse):
        driver.copy_in_later(stream, where, np.zeros(64, np.uint8))


def test_a_loader_pins_its_batches(driver):
    x, y = tg.arange(8.0).reshape(4, 2), tg.arange(4)
    dataset = tg.utils.data.TensorDataset(x, y)
    for a, b in tg.utils.data.DataLoader(dataset, batch_size=2, pin_memory=True):
        assert a.is_pinned() and b.is_pinned() and a.cuda(non_blocking=True).tolist() == a.tolist()
    dicts = [{"x": x[k], "name": "n", "n": k} for k in range(4)]
    batch = next(iter(tg.utils.data.DataLoader(dicts, batch_size=2, pin_memory=True)))
    assert batch["x"].is_pinned() and batch["name"] == ["n", "n"] and batch["n"].is_pinned()
    assert not next(iter(tg.utils.data.DataLoader(dataset)))[0].is_pinned()


def test_memory_whose_release_is_interrupted_is_not_handed_out(monkeypatch):
    driver = FakeDriver()
    device = CudaDevice(driver, 0)
    addresses = {device.memory(16 << 20).address for _ in range(2)}
    release, released = driver.release, []

    def interrupted(index, address):
        release(index, address)
        released.append(address)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(driver, "release", interrupted)
        with pytest.raises(KeyboardInterrupt):
            device.allocator.empty_cache()
    assert len(released) == 1 and released[0] in addresses
    block = device.memory(16 << 20)
    device.write(block.address, np.ones(4))
    device.synchronize()
