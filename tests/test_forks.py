"""Processes forked in the middle of anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from processes import prints

import tracegrad as tg


def child(work) -> int:
    """How a forked process ends that does some work: 0 if it does, 9 if it hangs."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_VIRTUAL, 60)
        threading.Timer(60, os._exit, (8,)).start()
        try:
            work()
        except BaseException as error:
            sys.stderr.write(repr(error) + "\n")
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@prints("0\n[3.0, 3.0, 3.0]\n")
def test_a_process_forked_while_another_thread_traces_does_not_hang():
    tracing, go = threading.Lock(), threading.Lock()  # held: not yet
    tracing.acquire(), go.acquire()

    def slow(x):
        y = x * 2
        tracing.release()
        go.acquire(timeout=50)
        return y + 1

    f, g = tg.compile(slow), tg.compile(lambda x: x * 5 + 1)
    g(tg.ones(2))
    thread = threading.Thread(target=f, args=(tg.ones(3),))
    thread.start()
    tracing.acquire()

    def work():
        go.release()
        assert g(tg.ones(2)).tolist() == [6, 6]
        assert g(tg.ones(4)).tolist() == [6] * 4  # another program
        assert tg.compile(lambda x: x.tan() * 7)(tg.zeros(4)).tolist() == [0] * 4  # another kernel
        assert f(tg.ones(3)).tolist() == [3] * 3

    print(child(work))
    go.release()
    thread.join()
    print(f(tg.ones(3)).tolist())


@prints("0\n[2.0, 2.0] [2.0, 2.0]\n")
def test_a_child_finds_the_world_as_it_is_without_a_trace():
    tracing, go = threading.Lock(), threading.Lock()  # held: not yet
    tracing.acquire(), go.acquire()

    class Config:
        rate = 1.0

    config = Config()
    config.rate, printed = 1.0, print

    def slow(x):
        y = x * config.rate
        config.seen = y
        if config.rate > 1:
            tracing.release()
            go.acquire(timeout=50)
        return y

    f = tg.compile(slow)
    f(tg.ones(2))
    config.rate = 2.0  # a second value: it is exchanged for a stand-in while it is traced
    thread = threading.Thread(target=f, args=(tg.ones(2),))
    thread.start()
    tracing.acquire()

    def work():
        assert type(config.rate) is float and print is printed
        assert "__getattribute__" not in vars(Config)
        assert config.seen.tolist() == [1, 1]

    print(child(work))
    go.release()
    thread.join()
    print(f(tg.ones(2)).tolist(), config.seen.tolist())


@prints("{0}\n")
def test_a_process_forked_while_another_thread_replays_or_draws_does_not_hang():
    w = tg.ones(200_000, requires_grad=True)
    f = tg.compile(lambda x: (w.exp() * x + tg.rand(200_000)).sum())
    x = tg.ones(200_000)
    f(x).backward()
    stop = []

    def turn():
        while not stop:
            f(x).backward()
            w.grad = None
            tg.rand(3)

    thread = threading.Thread(target=turn)
    thread.start()

    def work():
        for _ in range(3):
            loss = f(x)
            loss.backward()
            tg.rand(3)
            assert 543_000 < loss.item() < 744_000

    print({child(work) for _ in range(25)})
    stop.append(1)
    thread.join()


@pytest.mark.slow
@prints("{0}\n")
def test_a_process_forked_while_another_thread_compiles_does_not_hang():
    os.environ["TRACEGRAD_CACHE_DIR"] = "/dev/null/none"
    stop = []

    def turn():
        k = 0
        while not stop:
            k += 1
            tg.compile(lambda x, k=k: (x * k).tan().sum(0) + k)(tg.ones(3, k))

    thread = threading.Thread(target=turn)
    thread.start()
    time.sleep(1)

    def work():
        for k in range(1000, 1002):
            f = tg.compile(lambda x, k=k: (x * k).tanh().sum(1) * k)
        assert f(tg.zeros(3, 2)).tolist() == [0] * 3

    print({child(work) for _ in range(8)})
    stop.append(1)
    thread.join()


_LOGS_WHILE_IT_COMPILES = """
import tracegrad, logging, os, threading, time
from tracegrad.runtime.cpu.compiler import compiling
inside = threading.Event()

def turn():
    with compiling():
        inside.set()
        time.sleep(0.5)
        logging.getLogger("another").debug("as Numba does")

threading.Thread(target=turn).start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_process_forked_while_another_thread_compiles_and_logs_does_not_hang():
    """In a process without pytest, which imports logging."""
    command = [sys.executable, "-c", _LOGS_WHILE_IT_COMPILES]
    assert subprocess.run(command, timeout=60, capture_output=True).stdout == b"0\n"


@prints("0\n[3.0, 3.0] [3.0, 3.0]\n[3.0, 3.0]\n")
def test_a_handler_may_fork_in_the_middle_of_a_call():
    f = tg.compile(lambda x: x * 3)
    x = tg.ones(2)
    f(x)
    entry = f.tracegrad_state.programs.last()
    walk = entry.replay.__globals__["walk"]

    def work():
        assert f(tg.full((2,), 5.0)).tolist() == [15, 15]

    def walked(span):
        entry.replay.__globals__["walk"] = walk
        print(child(work))
        return walk(span)

    entry.replay.__globals__["walk"] = walked
    print(f(x).tolist(), f(x).tolist())
    thread = threading.Thread(target=lambda: print(f(x).tolist()))
    thread.start()
    thread.join()
