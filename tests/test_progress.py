"""The line on a terminal that says what a long compilation is doing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tracegrad as tg
from tracegrad.ir import progress
from tracegrad.runtime.cpu import object_cache

ERASE = "\r\x1b[K"


def compile_slowly() -> None:
    object_cache.read = lambda name: None
    progress.PATIENCE = progress.OFTEN = 0.001

    @tg.compile
    def f(x):
        return (x.softmax(-1).sum(0), x.cumsum(1), x.exp().sum(1))

    f(tg.ones(3, 4))


def compile_in_time() -> None:
    progress.PATIENCE = 100.0
    tg.compile(lambda x: x)(tg.ones(3))


def raise_within() -> None:
    progress.PATIENCE = progress.OFTEN = 0.001

    @tg.compile
    def f(x):
        for _ in range(10000):
            x = x + 1
        raise KeyError(x.shape)

    try:
        f(tg.ones(3))
    except KeyError:
        sys.stderr.write("raised\n")


def compile_in_threads() -> None:
    from threading import Thread

    threads = [Thread(target=compile_slowly) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def seen(program: str, **environment: str) -> str:
    """What a terminal shows of a process's stderr."""
    ours, its = pty.openpty()
    code = f"import test_progress; test_progress.{program}()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=its, cwd=Path(__file__).parent,
        env={**os.environ, "TERM": "xterm", **environment},
    ) as process:
        os.close(its)
        text = b""
        while part := _read(ours):
            text += part
    os.close(ours)
    assert process.returncode == 0, text.decode()
    return text.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 1024)
    except OSError:  # nobody writes any more
        return b""


def test_phases_and_kernels_are_shown_and_the_line_is_erased():
    text = seen("compile_slowly")
    assert "tracegrad: kernel 1 of 2, 0 s" in text and text.endswith(ERASE)
    assert "\n" not in text


def test_the_line_is_erased_when_the_function_raises():
    text = seen("raise_within")
    assert "tracegrad: tracing, " in text and text.endswith(f"{ERASE}raised\r\n")


def test_threads_may_compile_at_once():
    assert "tracegrad: kernel" in seen("compile_in_threads")


@pytest.mark.parametrize("name, value", [("TRACEGRAD_PROGRESS", "0"), ("TERM", "dumb")])
def test_the_line_can_be_turned_off(name, value):
    assert seen("compile_slowly", **{name: value}) == ""


def test_a_short_compilation_shows_nothing():
    assert progress.PATIENCE == 1
    assert seen("compile_in_time") == ""


def test_what_is_no_terminal_gets_nothing():
    code = "import test_progress; test_progress.compile_slowly()"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parent, check=True
    )
    assert process.stderr == b""


@pytest.mark.parametrize("stderr", [None, object()])
def test_any_stderr_will_do(stderr, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr)
    assert tg.compile(lambda x: x + 17)(tg.ones(2)).tolist() == [18, 18]
