"""Calls of CUDA's driver library, to one that is played by a few lines of C; and its allocator."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import subprocess
from ctypes import c_uint64
from pathlib import Path
from secrets import token_hex

import numpy as np
import pytest
from graphs import floats, integers

from tracegrad.codegen.build import build
from tracegrad.codegen.cuda.backend import CUDA
from tracegrad.codegen.program import Grid, Kernel, from_word
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.index import index
from tracegrad.ir.ops.loop import loop
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.runtime.cpu.python_builtins import Pointer
from tracegrad.runtime.cuda import compiler, machine_code, plain
from tracegrad.runtime.cuda.allocator import LARGE, Allocator, Memory, OutOfMemoryError
from tracegrad.runtime.cuda.cuda_driver import CudaDriver
from tracegrad.runtime.cuda.device import CudaDevice
from tracegrad.runtime.cuda.driver import OutOfMemory
from tracegrad.runtime.cuda.fake_driver import FakeDriver, Misuse, arguments_of
from tracegrad.runtime.cuda.gpu import Gpu


def new_kernel(line="return"):
    """One whose machine code nobody has kept."""
    return Kernel("map", f"    # {token_hex()}\n    {line}\n", backend="cuda")


with_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    path = tmp_path_factory.mktemp("stub") / "libcuda.so"
    source = Path(__file__).with_name("stub_cuda.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", path, source], check=True)
    return ctypes.CDLL(str(path))


@pytest.fixture
def driver(stub):
    return CudaDriver(stub)


def test_without_a_driver_the_error_is_that_of_torch(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(RuntimeError, match="^Found no NVIDIA driver on your system"):
        CudaDriver()


@with_a_compiler
def test_an_old_driver_and_no_device_are_told(stub, monkeypatch):
    monkeypatch.setenv("STUB_DRIVER", "11020")
    with pytest.raises(RuntimeError, match=r"driver on your system is too old \(found version 11"):
        CudaDriver(stub)
    monkeypatch.setenv("STUB_DRIVER", "13000")
    monkeypatch.setenv("STUB_DEVICES", "0")
    with pytest.raises(RuntimeError, match="^No CUDA GPUs are available$"):
        CudaDriver(stub)


@with_a_compiler
def test_memory_streams_and_events(driver):
    assert driver.devices() == 2
    assert driver.properties(1) == ("Stub 1", (9, 0), 1 << 30, 132)
    stream, free = driver.stream(1), driver.free_memory(1)
    address = driver.allocate(1, 4096)
    assert driver.free_memory(1) == free - 4096
    data = np.arange(8.0)
    driver.copy_in(stream, address, data)
    driver.copy(stream, address + 128, address, 64)
    back = np.zeros(8)
    driver.copy_out(stream, back, address + 128)
    np.testing.assert_array_equal(back, data)
    driver.release(1, address)
    with pytest.raises(OutOfMemory):
        driver.allocate(1, 2 << 30)
    first, second = driver.event(stream), driver.event(stream)
    driver.wait(driver.stream(1), first)
    assert driver.done(first)
    assert driver.elapsed(first, second) == 2.5
    driver.release_event(first)
    array, where = driver.mapped(0, 16)
    assert array.ctypes.data == where
    assert not array.any()
    del array
    gc.collect()


class Kernels:
    """What the stub calls for a kernel: it runs in plain Python."""

    def __init__(self, stub, monkeypatch):
        self.all, self.launched, self.errors = [], [], []
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], c_uint64)
        self.callback = kind(self.run)
        ctypes.c_void_p.in_dll(stub, "stub_kernel").value = ctypes.cast(
            self.callback, ctypes.c_void_p).value
        monkeypatch.setattr(machine_code, "of", lambda kernels, capability: {
            kernel: self.code(kernel) for kernel in kernels})

    def code(self, kernel):
        self.all.append(kernel)
        return f"{len(self.all) - 1}".encode() + b"\0"

    def run(self, function, blocks, threads, args):
        kernel = self.all[int(ctypes.string_at(function))]
        self.launched.append(kernel.template)
        try:
            words = (ctypes.c_int64 * 64).from_address(args)
            values = [
                Pointer(c_uint64.from_address(word).value, 0, 1 << 62)
                if kind.startswith("pointer") else from_word(word) if kind == "number" else word
                for kind, word in zip(arguments_of(kernel), words, strict=False)
            ]
            plain.run(kernel, values, Grid(blocks, threads))
        except BaseException as error:
            self.errors.append(error)


@with_a_compiler
def test_programs_run_by_the_calls_of_the_library(stub, driver, monkeypatch):
    kernels = Kernels(stub, monkeypatch)
    c, x = floats(3), floats(4, 3)
    inner = floats(3), floats(3)
    new = el.tanh(inner[0] + inner[1])
    body = Graph(inner, (new, new * 2.0))
    how = {"body": body, "carried": 1, "sliced": 1, "length": 4, "reverse": False}
    last, rows = (loop(c, x, **how, result=k) for k in range(2))
    graph = Graph((c, x), (last, sum_(rows, dims=(0, 1))))
    device = CudaDevice(driver, 1)
    executable = device.executable(build(simplify(graph), backend=CUDA()))
    draw = np.random.default_rng(0)
    for _ in range(3):
        values = [draw.standard_normal(node.shape) for node in (c, x)]
        inputs = [device.from_host(value) for value in values]
        outputs = [device.empty(y.shape, np.dtype(float)) for y in graph.outputs]
        slots = (*executable.program.inputs, *executable.program.outputs)
        for slot, array in zip(slots, (*inputs, *outputs), strict=True):
            executable.table[slot] = array.address
        executable.run()
        assert not kernels.errors
        for y, wanted in zip(outputs, interpret(graph, *values), strict=True):
            np.testing.assert_allclose(device.to_host(y), wanted, rtol=1e-12)
    assert kernels.launched.count("moves") == 3 * 5
    with device.on_stream(driver.stream(1)):
        executable.run()
        np.testing.assert_array_equal(
            device.to_host(device.copy(outputs[0])), device.to_host(outputs[0])
        )
    del executable
    gc.collect()


@with_a_compiler
def test_an_error_of_the_device_has_the_words_of_torch(driver, monkeypatch):
    monkeypatch.setenv("STUB_FAULT", "700")
    with pytest.raises(RuntimeError) as error:
        driver.synchronize(driver.stream(0))
    assert str(error.value).startswith("CUDA error: an illegal memory access was encountered\n")
    assert "CUDA_LAUNCH_BLOCKING=1" in str(error.value)


def test_without_a_compiler_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(compiler, "import_module", missing)
    with pytest.raises(RuntimeError, match=r'pip install "tracegrad\[cuda\]"'):
        machine_code.of([new_kernel()], (9, 0))


def test_machine_code_is_kept_by_text_and_capability(monkeypatch):
    kernel, compiled = new_kernel(), []
    monkeypatch.setattr(
        machine_code, "compiled", lambda kernel, capability: compiled.append(capability) or b"code"
    )
    for capability in ((9, 0), (9, 0), (8, 0), (9, 0)):
        assert machine_code.of([kernel], capability) == {kernel: b"code"}
    assert compiled == [(9, 0), (8, 0)]


@pytest.mark.slow
def test_processes_compile_what_this_one_would(monkeypatch):
    pytest.importorskip("numba_cuda")
    monkeypatch.setenv("TRACEGRAD_COMPILE_PROCESSES", "3")
    kernels = [new_kernel(f"store_i8(pointer_i8(args, 0), 0, {k}, 0)") for k in range(4)]
    kernels.append(new_kernel("no_such_word()"))
    beside = compiler.compiled_beside(kernels, (9, 0))
    assert beside.keys() == set(kernels[:-1])
    assert all(beside.values())


# ---- the allocator
def bytes_of(allocator):
    counted = allocator.statistics()
    return counted["allocated"], counted["peak"], counted["reserved"]


def memory(allocator, nbytes, stream=1):
    return Memory(None, allocator, nbytes, stream)


def test_blocks_are_used_again_and_grow_together():
    driver = FakeDriver(total=64 << 20)
    allocator = Allocator(driver, 0)
    first, second = memory(allocator, 1000), memory(allocator, 5000)
    assert second.address == first.address + 1024
    assert bytes_of(allocator) == (6144, 6144, 2 << 20)
    address = first.address
    del first
    assert memory(allocator, 600).address == address
    del second
    whole = memory(allocator, 1 << 20)
    assert whole.address == address
    assert memory(allocator, 100, stream=2).address != address  # which has blocks of its own
    del whole
    assert allocator.statistics()["allocated"] == 0
    allocator.empty_cache()
    assert allocator.statistics()["reserved"] == 0
    assert driver.free_memory(0) == 64 << 20


def test_any_order_of_requests_gives_blocks_that_do_not_overlap():
    draw = np.random.default_rng(0)
    allocator, held = Allocator(FakeDriver(total=1 << 30), 0), []
    for _ in range(2000):
        if held and draw.random() < 0.5:
            held.pop(draw.integers(len(held)))
        else:
            held.append(memory(allocator, int(2 ** draw.uniform(0, 23)), int(draw.integers(1, 3))))
        if _ % 200 == 0:
            spans = sorted((m.address, m.address + m.nbytes) for m in held)
            assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    peak = allocator.statistics()["peak"]
    held.clear()
    assert 0 < peak <= allocator.statistics()["reserved"]
    allocator.empty_cache()
    assert bytes_of(allocator) == (0, peak, 0)


def test_without_room_the_error_says_what_was_asked_and_what_is_free():
    allocator = Allocator(FakeDriver(total=40 << 20), 0)
    held = memory(allocator, 20 << 20)
    kept = memory(allocator, LARGE)
    del kept
    again = memory(allocator, 20 << 20)  # what is only kept is given back first
    with pytest.raises(OutOfMemoryError) as error:
        memory(allocator, 30 << 20)
    assert str(error.value) == (
        "CUDA out of memory. Tried to allocate 30.00 MiB. GPU 0 has a total capacity of 40.00 MiB "
        "of which 0 bytes is free. Of the allocated memory 40.00 MiB is allocated by tracegrad, "
        "and 0 bytes is reserved by tracegrad but unallocated."
    )
    del held, again


def test_the_fake_driver_refuses_what_a_capture_must_not_do():
    gpu = Gpu(FakeDriver(), 0)
    held = gpu.memory(8)
    gpu.driver.begin_capture(gpu.stream)
    for misuse in (
        gpu.synchronize, lambda: gpu.driver.allocate(0, 8),
        lambda: gpu.write(held.address, np.zeros(1)), lambda: gpu.read(np.zeros(1), held.address),
    ):
        with pytest.raises(Misuse):
            misuse()


@with_a_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_refused_in_torchs_words_and_frees_nothing(driver):
    held = [driver.pinned(0, 64), driver.mapped(0, 64)[0]]
    event = driver.event(driver.stream(0))
    child = os.fork()
    if child == 0:
        try:
            held.clear()
            gc.collect()
            driver.release_event(event)
            driver.allocate(0, 8)
        except RuntimeError as error:
            os._exit(0 if "Cannot re-initialize CUDA in forked subprocess" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    driver.release_event(event)


@with_a_compiler
def test_copies_from_pinned_memory_by_the_calls_of_the_library(driver):
    stream, where = driver.stream(0), driver.allocate(0, 64)
    source, target = (driver.pinned(0, 64).view(np.float64) for _ in range(2))
    source[:] = range(8)
    driver.copy_in_later(stream, where, source)
    driver.copy_out_later(stream, target, where)
    event = driver.event(stream)
    driver.synchronize_event(event)
    np.testing.assert_array_equal(source, target)
    driver.release_event(event)


@with_a_compiler
def test_checks_are_seen_late_by_the_calls_of_the_library(stub, driver, monkeypatch):
    kernels = Kernels(stub, monkeypatch)
    x, i = floats(4), integers(2)
    at = el.check_index(i, size=4, dim=0)
    graph = Graph((x, i), (index(x, at, axes=(0,)),), (at,))
    device = CudaDevice(driver, 0)
    executable = device.executable(build(simplify(graph), backend=CUDA()))
    values, y = device.from_host(np.arange(4.0)), device.empty((2,), np.dtype(float))
    for rows, former in ((0, 3), False), ((1, 9), False), ((2, 2), True), ((3, 1), False):
        picked = device.from_host(np.array(rows))
        slots = (*executable.program.inputs, *executable.program.outputs)
        for slot, array in zip(slots, (values, picked, y), strict=True):
            executable.table[slot] = array.address
        assert executable.walk(executable.whole) is former
        if former:
            with pytest.raises(IndexError, match="index 9 .* former call"):
                executable.fail()
    assert device.to_host(y).tolist() == [3.0, 1.0] and not kernels.errors
