"""Messages between a loader and its workers: anything that can be pickled, over a socket.

What is more than a few bytes goes through an anonymous file in memory, whose descriptor is sent:
so no sender waits for its reader, arrays are copied once in and once out and never pickled, and
nothing is left behind however a process ends.
"""

from __future__ import annotations

import os
import pickle
from itertools import accumulate
from multiprocessing import reduction
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

_SMALL = 512  # bytes that are sent in the message itself
_DESCRIPTORS = os.name == "posix"  # whether files can be sent


def _memory() -> IO[bytes]:
    """A file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("tracegrad"), "wb")
    return TemporaryFile("wb")


def send(connection: Any, value: Any) -> None:
    """Send a value; its arrays beside the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, 5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(b.raw() for b in buffers)]
    sizes = [part.nbytes for part in parts]
    if sum(sizes) <= _SMALL or not _DESCRIPTORS:
        connection.send((sizes, b"".join(parts)))
        return
    with _memory() as file:
        for part in parts:
            file.write(part)
        file.flush()
        connection.send((sizes, None))
        reduction.send_handle(connection, file.fileno(), None)


def receive(connection: Any) -> Any:
    """The next value; its arrays have memory of their own. Raises EOFError if the sender ended."""
    sizes, content = connection.recv()
    parts = [memoryview(np.empty(size, np.uint8)) for size in sizes]  # type: ignore[arg-type]
    if content is None:
        with os.fdopen(reduction.recv_handle(connection), "rb") as file:
            file.seek(0)
            for part in parts:
                if file.readinto(part) < len(part):
                    raise EOFError("a message is shorter than it says")
    else:
        for part, end in zip(parts, accumulate(sizes), strict=True):
            part[:] = content[end - len(part) : end]
    return pickle.loads(parts[0], buffers=parts[1:])
