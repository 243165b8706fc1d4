"""Streams, the queues in which a GPU works, and events, marks in them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from weakref import finalize

from ..driver.gpus import gpus
from ..tracer.tensor.device import device as Device

__all__ = [
    "Event", "ExternalStream", "Stream", "StreamContext", "current_stream", "default_stream",
    "is_current_stream_capturing", "set_stream", "stream", "synchronize",
]


class Stream:
    """A queue of work on a GPU, the current one if none is named. `stream(...)` has operations put
    there.

    Raises RuntimeError if there is no such GPU. `priority` is accepted and ignored.

    >>> if torch.cuda.is_available():
    ...     stream = torch.cuda.Stream()
    ...     with torch.cuda.stream(stream):
    ...         x = torch.ones(2, device="cuda") * 2
    ...     torch.cuda.current_stream().wait_stream(stream)
    """

    def __init__(self, device: Any = None, priority: int = 0, *, cuda_stream: int | None = None):
        self._gpu = gpus.device(gpus.chosen(device))
        self.cuda_stream = self._gpu.new_stream() if cuda_stream is None else cuda_stream
        self.priority, self._contexts = priority, list[StreamContext]()

    @property
    def device(self) -> Device:
        return Device("cuda", self._gpu.index)

    def synchronize(self) -> None:
        """Wait for all work in the stream."""
        self._gpu.synchronize_stream(self.cuda_stream)

    def query(self) -> bool:
        """Whether all work in the stream is done."""
        return bool(self._gpu.driver.idle(self.cuda_stream))

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event into the stream, a new one if none is given, and return it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Have what comes later in this stream wait for an event of another one."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Have what comes later in this stream wait for what is in another one now."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self._gpu, self.cuda_stream) == (
            other._gpu, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self._gpu.index, self.cuda_stream))

    def __enter__(self) -> Stream:
        self._contexts.append(StreamContext(self))
        self._contexts[-1].__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._contexts.pop().__exit__(*error)

    def __repr__(self) -> str:
        return f"<tracegrad.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream of another library, by its address.

    Raises RuntimeError if there is no such GPU.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.ExternalStream(torch.cuda.Stream().cuda_stream).synchronize()
    """

    def __init__(self, stream_ptr: int, device: Any = None):
        super().__init__(device, cuda_stream=stream_ptr)
        self._gpu.driver.adopt(self._gpu.index, stream_ptr)


class Event:
    """A mark in a stream: when the work before it is done, and with `enable_timing`, at what time.

    Raises RuntimeError for times that were not asked for, or events that are in no stream.

    >>> if torch.cuda.is_available():
    ...     start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    ...     start.record()
    ...     x = torch.ones(2, device="cuda") * 2
    ...     end.record()
    ...     end.synchronize()
    ...     milliseconds = start.elapsed_time(end)
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False,
                 interprocess: bool = False):
        self._timed, self._event = enable_timing, 0
        self._stream: Stream | None = None  # where it was put
        self._forget: Any = lambda: None

    def record(self, stream: Stream | None = None) -> None:
        """Put the event into a stream, the current one if none is given."""
        self._stream = current_stream() if stream is None else stream
        driver = self._stream._gpu.driver
        self._event = driver.event(self._stream.cuda_stream)
        self._forget()
        self._forget = finalize(self, driver.release_event, self._event)
        self._forget.atexit = False

    def query(self) -> bool:
        """Whether the work before the event is done; also true of one that is in no stream."""
        return self._stream is None or self._stream._gpu.driver.done(self._event)

    def wait(self, stream: Stream | None = None) -> None:
        """Have what comes later in a stream, the current one if none is given, wait for the event.
        """
        stream = current_stream() if stream is None else stream
        if self._stream is not None:
            stream._gpu.driver.wait(stream.cuda_stream, self._event)

    def synchronize(self) -> None:
        """Wait for the event."""
        if self._stream is not None:
            self._stream._gpu.synchronize_event(self._event)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another one."""
        if not (self._timed and end_event._timed):
            raise RuntimeError(
                "Both events must be created with argument 'enable_timing=True'."
            )
        if self._stream is None or end_event._stream is None:
            raise RuntimeError(
                "Both events must be recorded before calculating elapsed time."
            )
        if not (self.query() and end_event.query()):
            raise RuntimeError(
                "Both events must be completed before calculating elapsed time."
            )
        return float(self._stream._gpu.driver.elapsed(self._event, end_event._event))


class StreamContext:
    """Within it, operations on a stream's GPU go into that stream; None changes nothing.

    Raises nothing.

    >>> with torch.cuda.StreamContext(None):
    ...     pass
    """

    def __init__(self, stream: Stream | None):
        self.stream = stream
        self._within: AbstractContextManager | None = None
        self._before = 0

    def __enter__(self) -> None:
        if self.stream is None:
            return
        gpu = self.stream._gpu
        self._before, gpus.current = gpus.current, gpu.index
        self._within = gpu.on_stream(self.stream.cuda_stream)
        self._within.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._within is not None:
            self._within.__exit__(*error)
            gpus.current = self._before


def stream(stream: Stream | None) -> StreamContext:
    """A context in which operations go into a stream.

    >>> with torch.cuda.stream(None):
    ...     pass
    """
    return StreamContext(stream)


def current_stream(device: Any = None) -> Stream:
    """The stream into which operations on a GPU go. Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.current_stream().synchronize()
    """
    gpu = gpus.device(gpus.chosen(device))
    return Stream(gpu.index, cuda_stream=gpu.stream)


def default_stream(device: Any = None) -> Stream:
    """The stream into which operations on a GPU go unless another is set. Raises RuntimeError if
    the GPU is not there.

    >>> if torch.cuda.is_available():
    ...     assert torch.cuda.default_stream() == torch.cuda.current_stream()
    """
    gpu = gpus.device(gpus.chosen(device))
    return Stream(gpu.index, cuda_stream=gpu.default_stream)


def set_stream(stream: Stream | None) -> None:
    """Have operations go into a stream from now on; None changes nothing.

    >>> torch.cuda.set_stream(None)
    """
    if stream is not None:
        gpus.current = stream._gpu.index
        stream._gpu.set_stream(stream.cuda_stream)


def is_current_stream_capturing() -> bool:
    """False: a compiled function records its graph in a stream of its own.

    >>> torch.cuda.is_current_stream_capturing()
    False
    """
    return False


def synchronize(device: Any = None) -> None:
    """Wait for all work on a GPU. Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.synchronize()
    """
    gpu = gpus.device(gpus.chosen(device))
    gpu.synchronize_all()
