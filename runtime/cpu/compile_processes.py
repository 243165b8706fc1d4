"""Processes that compile beside this one: LLVM lets one thread of a process in at a time.

A team lives as long as one program's kernels are compiled. Its processes run object_code.py by its
path, so nothing of the user's program is imported there; they know llvmlite alone. Whatever goes
wrong with one (it cannot be started, dies, hangs) only means that the others do its work: who has
a team compiles, too, and takes the last source that no process has begun.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

import llvmlite
import llvmlite.binding as llvm

from ...ir.handlers import handlers_later
from . import object_code
from .cores import cores

WORTH = 0.25  # seconds of work that are worth a process: starting one takes 0.06
_MOST = 8  # processes, this one included, if TRACEGRAD_COMPILE_PROCESSES does not say otherwise
PATIENCE = 1.0  # seconds after which what a process has begun is done by who waits for it
_AHEAD = 3  # sources that a process has, lest it waits while who feeds it compiles
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # if it has died


def processes_for(seconds: float) -> int:
    """How many processes to start for that much work."""
    allowed = min(cores(), _MOST)
    with suppress(KeyError, ValueError):
        allowed = int(os.environ["TRACEGRAD_COMPILE_PROCESSES"])
    if allowed < 2 or _command() is None:
        return 0
    return max(0, min(allowed - 1, int(seconds / WORTH) - 1))


def _command() -> list[str] | None:
    """What starts a process; None if there is no Python to run, as in an application that embeds
    it, or if it would make other code.
    """
    python, script = Path(sys.executable or ""), Path(object_code.__file__)
    if getattr(sys, "frozen", False) or not python.name.lower().startswith("python"):
        return None
    if llvm.targets.has_svml():  # which Numba's import may tell LLVM to use, in this process alone
        return None
    home = Path(llvmlite.__file__).parents[1]
    command = [str(python), "-I", "-S", str(script), str(home), llvmlite.__version__]
    return command if script.is_file() else None


class _Process:
    """One of a team: what it was handed, first that which it is at."""

    def __init__(self, command: list[str]):
        self.handed: deque[int] = deque()
        self.outgoing, self.incoming = bytearray(), bytearray()
        self.socket, other = socket.socketpair()
        self.owner = os.getpid()
        try:
            self.socket.setblocking(False)
            nobody = subprocess.DEVNULL
            # a session of its own: Ctrl-C is for who started it, who then ends it
            self.child = subprocess.Popen(
                command, stdin=other.fileno(), stdout=nobody, stderr=nobody, start_new_session=True
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            other.close()

    def pass_on(self) -> None:
        """Send what it has room for."""
        with suppress(BlockingIOError):
            while self.outgoing:
                sent = self.socket.send(self.outgoing, _NO_SIGNAL)
                del self.outgoing[:sent]

    def take(self) -> list[tuple[int, bytes]]:
        """Receive what has come: the answers that are complete."""
        with suppress(BlockingIOError):
            while True:
                new = self.socket.recv(1 << 20)
                if not new:
                    raise ConnectionError
                self.incoming += new
        return list(iter(self._answer, None))

    def _answer(self) -> tuple[int, bytes] | None:
        head = object_code.ANSWER
        if len(self.incoming) < head.size:
            return None
        number, size = head.unpack_from(self.incoming)
        if len(self.incoming) < head.size + size:
            return None
        code = bytes(self.incoming[head.size : head.size + size])
        del self.incoming[: head.size + size]
        if number not in self.handed:  # this is another program
            raise ConnectionError
        self.handed.remove(number)
        return number, code

    def end(self) -> None:
        self.socket.close()
        if self.owner == os.getpid():  # and not in a child that was forked meanwhile
            self.child.kill()
            self.child.wait()


class Team:
    """Some processes; who starts them ends them."""

    def __init__(self, count: int):
        self.processes: list[_Process] = []
        command = _command() if count else None
        _teams.add(self)
        try:
            while command and len(self.processes) < count:
                with handlers_later():
                    self.processes.append(_Process(command))
        except Exception:  # there may be no more, or who tests a program forbids it
            pass
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        with handlers_later():
            while self.processes:
                self.processes.pop().end()

    def hand(self, number: int, source: object_code.Source) -> None:
        """Have the process that has least to do compile a source."""
        process = min(self.processes, key=lambda process: len(process.handed))
        process.handed.append(number)
        process.outgoing += object_code.packed(number, source)
        with suppress(OSError):  # it has died: `finished` will see that, too
            process.pass_on()

    def has_room(self) -> bool:
        """Whether a process may soon have nothing to do."""
        return any(len(process.handed) < _AHEAD for process in self.processes)

    def begun(self) -> set[int]:
        """What processes are at."""
        return {process.handed[0] for process in self.processes if process.handed}

    def finished(self, patience: float = 0.0) -> list[tuple[int, bytes]]:
        """The object code of sources by their numbers, of those that have come; waits for the first
        one for a while.
        """
        if patience and self.processes:
            waiting = select.poll()
            for process in self.processes:
                waiting.register(process.socket, select.POLLIN)
            waiting.poll(1000 * patience)
        answers = []
        for process in list(self.processes):
            try:
                process.pass_on()
                answers += process.take()
            except OSError:  # it has died
                with handlers_later():
                    self.processes.remove(process)
                    process.end()
        return answers


_teams: WeakSet[Team] = WeakSet()


def _after_fork() -> None:
    """A child has nothing to do with its parent's processes."""
    for team in list(_teams):
        team.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
