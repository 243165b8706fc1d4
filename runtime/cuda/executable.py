"""A Program bound to the memory of a GPU: argument blocks, pointer table and arena there, its
launches as graphs that are recorded at the first call.

A graph never changes. What changes from call to call, pointers of tensors and numbers, is in the
words: a block of the host that is copied to the device before the launch, if it differs from what
is there. It holds the pointer table, then the small inputs that Python writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from weakref import finalize

import numpy as np

from ...codegen.program import Buffer, Launch, Program, Slot, as_word, fault
from ...ir.locks import Turn
from .allocator import Memory
from .gpu import Gpu
from .host_launch import reach, run_on_host
from .late_checks import BLOCKING, WORDS, LateChecks, of_a_former_call
from .steps import Graph, OnHost, Part, Parts, Repeat

SMALL = 2  # words of an input that can be a number of Python
WHOLE, BEFORE, AFTER = range(3)  # spans


class Executable:
    """See runtime/device.py. A walk begins the work and waits for it only if Python reads what it
    computes, or a kernel may report an error.
    """

    def __init__(self, program: Program, gpu: Gpu):
        self.program, self._gpu, self._driver = program, gpu, gpu.driver
        self.whole, self.before, self.after = WHOLE, BEFORE, AFTER
        self.early: list[int] = []
        self._turn = Turn()
        self.lock, self.busy = self._turn.lock, self._turn.busy
        slots = len(program.buffers)
        self._cells = self._cells_of(program, slots + 2)
        words = max((k + SMALL for k in self._cells.values()), default=slots + 2)
        self._words, self._sent = np.zeros(words, np.int64), b""
        self.table = self._words.data
        self._device_words, self._status = gpu.memory(words * 8), gpu.memory(8 * WORDS)
        self._reported, self._former = np.zeros(WORDS, np.int64), False  # by a call before this one
        gpu.write(self._status.address, self._reported)
        flag, self.table[slots + 1] = self._driver.mapped(gpu.index, 8)
        self._flag = flag.view(np.int64)
        self.table[0], self.table[slots] = self._status.address, self._device_words.address
        self._readable: dict[int, np.ndarray] = {}
        self._arena: Memory | None = None
        self.warm()
        parts = Parts(program, slots, slots + 1)
        end, commit = len(program.launches), program.commit
        spans = ((0, end), (0, commit), (commit, end))
        self._spans = [parts.between(first, last) for first, last in spans]
        # whether a walk waits on its way, so that what is wrong may as well be seen at once
        self._waiting = any(not isinstance(part, Graph) for part in self._spans[WHOLE])
        self._prepare()
        self._graphs: dict[Graph, int] = {}
        self._late: LateChecks | None = None
        self._launched: list[None] = []  # not empty once the last part of a span is in its stream
        self.runs = 0
        self._stream = gpu.stream  # of the last walk

    def _cells_of(self, program: Program, first: int) -> dict[int, int]:
        """Where among the words each small input has its place."""
        small = [k for k in program.inputs if program.buffers[k].nbytes <= 8 * SMALL]
        return {slot: first + SMALL * n for n, slot in enumerate(dict.fromkeys(small))}

    def _prepare(self) -> None:
        """Compile the kernels, and write the argument blocks."""
        launches = dict.fromkeys(one for parts in self._spans for one in _launches(parts))
        self._functions = self._gpu.functions(launches)
        table, words = self._device_words.address, list[int]()
        starts = {}
        for launch in launches:
            starts[launch] = 8 * len(words)
            for a in launch.args:
                words.append(table + 8 * a.index if isinstance(a, Slot) else as_word(a))
        self._blocks = self._gpu.memory(8 * len(words))
        self._gpu.write(self._blocks.address, np.array(words, np.int64))
        self._block_of = {one: self._blocks.address + start for one, start in starts.items()}

    # ---- memory that Python writes and reads
    def number(self, slot: int) -> np.ndarray:
        buffer, at = self.program.buffers[slot], self._cells[slot]
        self.table[slot] = self._device_words.address + 8 * at
        cell = self._words[at : at + SMALL].view(np.uint8)[: buffer.nbytes]
        return cell.view(buffer.dtype.storage).reshape(buffer.shape)

    def readable(self, slot: int) -> np.ndarray:
        if slot not in self._readable:
            buffer = self.program.buffers[slot]
            data, self.table[slot] = self._driver.mapped(self._gpu.index, max(buffer.nbytes, 8))
            array = data[: buffer.nbytes].view(buffer.dtype.storage).reshape(buffer.shape)
            self._readable[slot] = array
        return self._readable[slot]

    def inputs_on_host(self) -> list[np.ndarray]:
        return [self._on_host(self.table[k], self.program.buffers[k]) for k in self.program.inputs]

    def _on_host(self, pointer: int, buffer: Buffer) -> np.ndarray:
        low, high = reach(buffer)
        data = np.zeros(high - low, np.uint8)
        self._gpu.read(data, pointer + low)
        size = buffer.dtype.itemsize
        strides = buffer.strides and tuple(s * size for s in buffer.strides)
        return np.ndarray(buffer.shape, buffer.dtype.storage, data.data, -low, strides)

    def warm(self) -> None:
        if self._arena is None:
            self._arena = self._gpu.memory(self.program.arena_bytes)
            for k, buffer in enumerate(self.program.buffers):
                if buffer.kind == "arena":
                    self.table[k] = self._arena.address + buffer.offset

    def cool(self) -> None:
        self._arena = None

    def memory(self) -> int:
        return 0 if self._arena is None else self._arena.nbytes

    # ---- walks
    def begin(self) -> None:
        self._launched.clear()

    def walk(self, span: int) -> bool:
        """Begin the work of a span. Whether a kernel found something wrong, as far as that is known
        then: of a whole walk that Python reads nothing of, the next one tells, or who waits for it.
        """
        self._submit(span)
        if span == AFTER:
            return False
        waited = span != WHOLE or self._readable or BLOCKING or self._waiting
        if self.program.checked > 0 and waited:
            return self._wrong_now()
        if self.program.checked > 0:
            return self._wrong_before()
        if self._readable:
            self._gpu.synchronize(self.program.launches)
        return False

    def _submit(self, span: int) -> None:
        stream = self._gpu.stream
        if stream != self._stream:  # the words and the arena may be in use on the other one
            event = self._driver.event(self._stream)
            self._driver.wait(stream, event)
            self._driver.release_event(event)
            self._stream = stream
            for memory in (self._device_words, self._status, self._blocks, self._arena):
                if memory is not None:
                    memory.record(stream)
        if (words := self._words.tobytes()) != self._sent:
            self._sent = b""
            self._gpu.write(self._device_words.address, self._words)
            self._sent = words
        if self._gpu.has_several_streams:  # results may lie in memory that is another one's
            for slot in self.program.outputs:
                self._gpu.allocator.record(self.table[slot], stream)
        self._gpu.note(self.program)
        parts = self._spans[span]
        self._do(parts[:-1], stream)
        self._do(parts[-1:], stream, self._launched)
        self._launched[:] = [None]
        self.runs += span != AFTER

    def _wrong_now(self) -> bool:
        self._gpu.read(self._reported, self._status.address, self.program.launches)
        former = None if self._late is None else self._late.take()
        self._former = self._late is not None and self._late.wrong(former)
        return bool(self._reported[0])

    def _wrong_before(self) -> bool:
        if self._late is None:
            self._late = LateChecks(
                self._driver, self._gpu.index, self.program, self._gpu.wait_for, self._forget
            )
        former = self._late.leave(self._gpu.stream, self._status.address)
        self._gpu.look_later(self._late)
        if self._late.wrong(former):
            assert former is not None
            self._reported[:], self._former = former.words, True
        return self._former

    def _do(self, parts: Sequence[Part], stream: int, launched: list[None] | None = None) -> None:
        for part in parts:
            if isinstance(part, Graph):
                self._launch(part, stream, [] if launched is None else launched)
            elif isinstance(part, OnHost):
                self._host_launch(part.launch, stream)
            else:
                self._iterate(part, stream)

    def _launch(self, part: Graph, stream: int, launched: list[None]) -> None:
        if BLOCKING:
            for launch in part.launches:
                self._one(launch, stream)
                self._gpu.synchronize([launch], alone=True)
            return
        if part not in self._graphs:
            graph = self._graphs[part] = self._recorded(part.launches)
            finalize(self, self._driver.release_graph, graph).atexit = False
        self._driver.launch_graph(stream, self._graphs[part], launched)

    def _recorded(self, launches: Sequence[Launch]) -> int:
        with self._gpu.recorder() as stream:
            self._driver.begin_capture(stream)
            try:
                for launch in launches:
                    self._one(launch, stream)
            except BaseException:
                with suppress(RuntimeError):
                    self._driver.end_capture(stream)
                raise
            return self._driver.end_capture(stream)

    def _one(self, launch: Launch, stream: int) -> None:
        assert launch.grid is not None
        self._driver.launch(
            stream, self._functions[launch.kernel], launch.grid, self._block_of[launch]
        )

    def _iterate(self, part: Repeat, stream: int) -> None:
        for _ in range(part.times):
            if part.wanted is not None:
                self._do(part.ahead, stream)
                self._gpu.synchronize(self.program.launches)
                if bool(self._flag[0]) is not part.wanted:
                    return
            self._do(part.body, stream)

    def _host_launch(self, launch: Launch, stream: int) -> None:
        table = np.zeros(len(self.table), np.int64)  # loops have changed it on the device
        self._gpu.read(table, self._device_words.address)
        run_on_host(self._gpu, self.program, launch, table)

    # ---- what kernels report
    def run(self) -> None:
        self._submit(WHOLE)
        if self.program.checked > 0 and self._wrong_now():
            self.fail()
        if self._readable:
            self._gpu.synchronize(self.program.launches)

    def see_at_once(self) -> None:
        self._waiting = True

    def failed(self) -> bool:
        wrong = bool(self._reported[0])
        if wrong:
            self._forget()
        return wrong or not self._launched

    def fail(self) -> None:
        if self._former:
            error = of_a_former_call(self.program, self._reported)
        else:
            error = fault(*(int(word) for word in self._reported))
        self._forget()
        raise error

    def _forget(self) -> None:
        """Clean the status block, for what comes later in the stream."""
        if self._late is not None:
            self._late.wrong(self._late.take())  # that of a call which did nothing either
        self._reported[:], self._former = 0, False
        with self._gpu.on_stream(self._stream):
            self._gpu.write(self._status.address, self._reported)


def _launches(parts: Iterable[Part]) -> Iterator[Launch]:
    for part in parts:
        if isinstance(part, Graph):
            yield from part.launches
        elif isinstance(part, Repeat):
            yield from _launches((*part.ahead, *part.body))
