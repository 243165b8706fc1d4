"""Programs on a GPU that a driver in plain Python plays: memory, streams, graphs, loops, faults."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from graphs import floats, integers

from tracegrad.codegen.build import build
from tracegrad.codegen.cuda.backend import CUDA
from tracegrad.codegen.program_file import decode, encode
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.index import index
from tracegrad.ir.ops.linalg import cholesky
from tracegrad.ir.ops.loop import branch, loop, loop_while
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify
from tracegrad.runtime.cuda import executable
from tracegrad.runtime.cuda.device import CudaDevice
from tracegrad.runtime.cuda.fake_driver import FakeDriver


class Called:
    """A program on a GPU of its own, and the memory of its last call."""

    def __init__(self, graph: Graph, writes=None, guarded=False, **options):
        self.driver = FakeDriver(**options)
        self.device = CudaDevice(self.driver, 0, caching=False)
        self.graph, self.checks = graph, graph.checks
        self.program = build(
            simplify(verify(graph)), writes, backend=CUDA(), guarded=guarded
        )
        assert str(decode(encode(self.program, []), [])) == str(self.program)
        self.executable = self.device.executable(self.program)

    def bind(self, *inputs):
        program, table = self.program, self.executable.table
        self.inputs = [self.device.from_host(np.array(x)) for x in inputs]
        self.outputs = []
        for slot, array in zip(program.inputs, self.inputs, strict=True):
            table[slot] = array.address
        for slot in program.outputs:
            buffer = program.buffers[slot]
            if slot in program.inputs:
                self.outputs.append(self.inputs[program.inputs.index(slot)])
            else:
                self.outputs.append(self.device.empty(buffer.shape, buffer.dtype.storage))
                table[slot] = self.outputs[-1].address

    def __call__(self, *inputs):
        self.bind(*inputs)
        self.driver.log.clear()
        self.executable.run()
        self.called = list(self.driver.log)
        return [self.device.to_host(y) for y in self.outputs]


def agrees(graph: Graph, *inputs, times=2) -> Called:
    """A program whose results were compared with the interpreter's."""
    called = Called(graph)
    for _ in range(times):
        for result, wanted in zip(called(*inputs), interpret(graph, *inputs), strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-6)
    return called


def numbers(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_a_call_is_one_copy_and_one_graph():
    x, w = floats(5, 7), floats(7, 3)
    y = el.tanh(dot(x, w))
    called = agrees(Graph((x, w), (y, sum_(y, dims=(0, 1)))), numbers(5, 7), numbers(7, 3))
    assert [line.split()[0] for line in called.called] == ["copy_in", "graph"]
    first = called.executable
    called.driver.log.clear()
    first.run()  # the same memory
    assert [line.split()[0] for line in called.driver.log] == ["graph"]


def test_a_loop_of_known_length_is_in_the_graph():
    c, x, w = floats(3), floats(4, 3), floats(3)
    inner = floats(3), floats(3), floats(3)
    new = el.tanh(inner[0] * inner[2] + inner[1])
    body = Graph(inner, (new, new * 2.0))
    how = {"body": body, "carried": 1, "sliced": 1, "length": 4, "reverse": False}
    results = tuple(loop(c, x, w, **how, result=k) for k in range(2))
    called = agrees(Graph((c, x, w), results), numbers(3), numbers(4, 3), numbers(3))
    assert [line.split()[0] for line in called.called] == ["copy_in", "graph"]


def test_a_while_loop_reads_its_condition():
    n, c = integers(), floats(3)
    m, d = integers(), floats(3)
    body = Graph((n, c), (n + 1, c * 2.0))
    cond = Graph((m, d), (el.lt(m, constant(5, dt.int64)),))
    start, x = integers(), floats(3)
    results = tuple(
        loop_while(start, x, body=body, cond=cond, carried=2, capacity=None, result=k)
        for k in range(2)
    )
    called = agrees(Graph((start, x), results), np.int64(1), numbers(3))
    assert called.called.count("synchronize") == 5


def test_a_branch_takes_one_side():
    p, x = input_node((), dt.bool_), floats(4)
    a, b = floats(4), floats(4)
    y = branch(p, x, then=Graph((a,), (a * 2.0,)), other=Graph((b,), (b - 1.0,)), result=0)
    for truth in (True, False):
        agrees(Graph((p, x), (y,)), np.bool_(truth), numbers(4))


def test_a_factorisation_runs_on_the_host():
    x = floats(3, 3)
    a = numbers(3, 3)
    a = a @ a.T + 3 * np.eye(3)
    agrees(Graph((x,), (el.exp(cholesky(x * 1.0, check=None)),)), a)


def test_an_index_out_of_range_is_reported_and_nothing_is_written():
    x, i, target = floats(4), integers(2), floats(2)
    at = el.check_index(i, size=4, dim=0)
    graph = Graph((x, i, target), (target + index(x, at, axes=(0,)),), (at,))
    called = Called(graph, {0: target})
    values = numbers(4), np.array([1, 9]), numbers(2)
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        called(*values)
    np.testing.assert_array_equal(called.device.to_host(called.inputs[2]), values[2])
    result, = called(values[0], np.array([1, -1]), values[2])
    np.testing.assert_array_equal(result, values[2] + values[0][[1, -1]])


def test_numbers_of_python_and_values_that_it_reads_are_memory_of_the_host():
    x, s = floats(5), floats()
    called = Called(Graph((x, s), (sum_(x, dims=(0,)) * s,)))
    called.bind(numbers(5), np.float64(0))
    number = called.executable.number(called.program.inputs[1])
    value = called.executable.readable(called.program.outputs[0])
    for k in (2.0, 3.0):
        number[...] = k
        called.executable.run()
        np.testing.assert_allclose(value, numbers(5).sum() * k, rtol=1e-5)


def test_a_kernel_that_reaches_freed_memory_is_found():
    x = floats(5)
    called = Called(Graph((x,), (x * 2.0,)))
    called.bind(numbers(5))
    called.executable.run()
    called.inputs.clear()
    called.device.allocator.empty_cache()
    called.executable.run()
    with pytest.raises(MemoryError):
        called.device.synchronize()


def test_streams_wait_for_each_other():
    x = floats(5)
    called = Called(Graph((x,), (el.exp(x),)))
    called.bind(numbers(5))
    called.executable.run()
    first = called.outputs[0]
    with called.device.on_stream(called.driver.stream(0)):
        called.bind(numbers(5, seed=1))
        called.executable.run()
        second = called.device.to_host(called.outputs[0])
    np.testing.assert_allclose(second, np.exp(numbers(5, seed=1)), rtol=1e-6)
    np.testing.assert_allclose(called.device.to_host(first), np.exp(numbers(5)), rtol=1e-6)


def test_an_error_of_the_device_tells_which_kernels_may_have_failed(monkeypatch):
    def failing(stream):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    x, w = floats(5, 4), floats(4, 3)
    called = Called(Graph((x, w), (sum_(el.tanh(dot(x, w)), dims=(0, 1)),)))
    called.bind(numbers(5, 4), numbers(4, 3))
    called.executable.run()
    monkeypatch.setattr(called.driver, "synchronize", failing)
    names = [launch.kernel.name for launch in called.program.launches]
    with pytest.raises(RuntimeError, match="illegal memory access") as error:
        called.device.synchronize(called.program.launches)
    assert all(name in str(error.value) for name in names)
    assert "CUDA_LAUNCH_BLOCKING=1" in str(error.value)
    monkeypatch.setattr(executable, "BLOCKING", True)
    with pytest.raises(RuntimeError, match="The kernel that failed") as error:
        called.executable.run()
    assert [name in str(error.value) for name in names] == [True] + [False] * (len(names) - 1)


def test_a_capture_that_fails_leaves_the_stream_as_it_was(monkeypatch):
    x = floats(5)
    called = Called(Graph((x,), (x * 2.0,)))
    called.bind(numbers(5))
    with monkeypatch.context() as changed:
        changed.setattr(called.executable, "_one", lambda launch, stream: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            called.executable.run()
    result, = called(numbers(5))
    np.testing.assert_array_equal(result, 2 * numbers(5))


# ---- threads
def test_what_another_thread_does_meanwhile_is_no_part_of_a_graph(monkeypatch):
    x, record = floats(3), executable.Executable._one

    def recorded_slowly(self, launch, stream):
        data = np.arange(4.0)
        other = threading.Thread(target=lambda: arrays.append(called.device.from_host(data)))
        other.start()
        other.join()
        record(self, launch, stream)

    called, arrays = Called(Graph((x,), (el.exp(x),))), []
    monkeypatch.setattr(executable.Executable, "_one", recorded_slowly)
    for _ in range(2):
        (y,) = called(np.zeros(3))
        assert y.tolist() == [1, 1, 1]
    assert "graph 1" in called.called and len(arrays) == 1
    assert called.device.to_host(arrays[0]).tolist() == [0, 1, 2, 3]
