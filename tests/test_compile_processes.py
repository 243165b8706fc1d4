"""Processes that compile beside this one: what they do, and whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import prints, run

import tracegrad as tg
from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import (
    code_generator,
    compile_processes,
    compiler,
    object_cache,
    object_code,
)
from tracegrad.runtime.cpu.cores import cores

F = tg.nn.functional


def kernels_of(function, *args) -> list[Kernel]:
    """Those of a compiled function, as they come from the templates."""
    kernels: list[Kernel] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEGRAD_COMPILE_PROCESSES", "1")
        patch.setattr(compiler, "_ready", {})
        patch.setattr(object_cache, "read", lambda name: None)
        inner = compiler._keep
        patch.setattr(compiler, "_keep", lambda k, *rest: (kernels.append(k), inner(k, *rest)))
        tg.compile(function)(*args)
    return kernels


def loss(x, w, y):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    value = F.cross_entropy(F.gelu(F.layer_norm(x, x.shape[-1:]) @ w), y)
    value.backward()
    return value.detach(), x.grad, w.grad


def numbers() -> tuple:
    rng = tg.Generator().manual_seed(3)
    return (tg.randn(9, 40, generator=rng), tg.randn(40, 7, generator=rng),
            tg.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1]))


def test_the_object_code_is_the_same_wherever_it_is_made():
    """Of products, loops, kernels that call functions of Numba's or of SciPy."""
    others = (lambda x: (x.gcd(6), x**3, x.double().digamma(), x.double().cumsum(0).tan()))
    kernels = kernels_of(loss, *numbers()) + kernels_of(others, tg.arange(20))
    sources = [code_generator.written(kernel) for kernel in kernels]
    assert len(sources) > 6 and any(s.called for s in sources) and not all(s.loops for s in sources)
    theirs: dict[int, bytes] = {}
    with compile_processes.Team(2) as team:
        assert len(team.processes) == 2
        for number, source in enumerate(sources):
            team.hand(number, source)
        while len(theirs) < len(sources):
            theirs.update(team.finished(60.0))
    assert theirs == {n: object_code.object_code(source) for n, source in enumerate(sources)}


def test_a_source_that_llvm_refuses_is_answered_with_nothing():
    good = code_generator.source_of("define void @f() {\n  ret void\n}")
    with compile_processes.Team(1) as team:
        team.hand(0, good._replace(text="no module"))
        team.hand(1, good)
        answers: dict[int, bytes] = {}
        while len(answers) < 2:
            answers.update(team.finished(60.0))
    assert answers[0] == b"" and b"ELF" in answers[1][:4]


def children() -> int:
    """How many this process has, dead or alive."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


HAPPENS = {  # to each process, when it has been started
    "nothing": lambda process: None,
    "it is killed at once": lambda process: process.child.kill(),
    "it is killed later": lambda process: threading.Timer(0.2, process.child.kill).start(),
    "it is stopped": lambda process: process.child.send_signal(signal.SIGSTOP),
    "its connection is closed": lambda process: process.socket.shutdown(2),
}


@pytest.fixture
def started(cache_folder, monkeypatch) -> list:
    """The processes that are started from now on, in a process that has no kernels."""
    monkeypatch.setattr(compiler, "_ready", {})
    monkeypatch.setenv("TRACEGRAD_COMPILE_PROCESSES", "3")
    monkeypatch.setattr(compile_processes, "WORTH", 0.01)
    monkeypatch.delenv("TRACEGRAD_DUMP", raising=False)
    processes: list = []
    inner = compile_processes._Process.__init__

    def start(process, command):
        inner(process, command)
        processes.append(process)

    monkeypatch.setattr(compile_processes._Process, "__init__", start)
    return processes


def compiles(folder: Path) -> bool:
    """Whether a program's first call is right, and what it has compiled is kept."""
    expected, before = loss(*numbers()), children()
    results = tg.compile(loss)(*numbers())
    assert children() == before
    same = all(x.allclose(y, rtol=1e-4, atol=1e-6) for x, y in zip(results, expected, strict=True))
    return same and len(list(folder.glob("*.o"))) > 5


@pytest.mark.parametrize("what", HAPPENS)
def test_a_program_is_compiled_whatever_happens_to_a_process(
    what, started, cache_folder, monkeypatch
):
    inner = compile_processes._Process.__init__
    monkeypatch.setattr(
        compile_processes._Process, "__init__",
        lambda process, command: (inner(process, command), HAPPENS[what](process))[0],
    )
    assert compiles(cache_folder)
    assert len(started) == 2 and all(process.child.returncode is not None for process in started)


NO_PROCESS = {
    "no more processes": ("subprocess.Popen", BlockingIOError),
    "no more files": ("socket.socketpair", OSError),
    "no sockets in tests": ("socket.socketpair", RuntimeError),
}


@pytest.mark.parametrize("what", NO_PROCESS)
def test_a_program_is_compiled_where_there_can_be_no_more(what, started, cache_folder, monkeypatch):
    where, error = NO_PROCESS[what]

    def refused(*args, **options):
        raise error(what)

    monkeypatch.setattr(f"tracegrad.runtime.cpu.compile_processes.{where}", refused)
    assert compiles(cache_folder) and not started


@pytest.mark.parametrize("executable", ["", None, "/nowhere/python3", "/usr/bin/env"])
def test_a_program_is_compiled_where_there_is_no_python_to_start(
    executable, started, cache_folder, monkeypatch
):
    monkeypatch.setattr(sys, "executable", executable)
    assert compiles(cache_folder) and not started
    monkeypatch.undo()


def test_a_frozen_application_starts_none(started, cache_folder, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert compiles(cache_folder) and not started


@pytest.mark.parametrize("script", ["printf '%0999d' 7 >&0; sleep 9", "exit 3", "sleep 9"])
def test_a_program_is_compiled_where_python_is_something_else(
    script, started, cache_folder, tmp_path, monkeypatch
):
    path = tmp_path / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))
    assert compiles(cache_folder) and len(started) == 2


def test_no_process_is_started_for_little_work_or_one_core(monkeypatch):
    monkeypatch.delenv("TRACEGRAD_COMPILE_PROCESSES", raising=False)
    allowed = {0, 1, 2, 3}
    monkeypatch.setattr(compile_processes, "cores", lambda: len(allowed))
    assert [compile_processes.processes_for(s) for s in (0.1, 0.3, 0.6, 100)] == [0, 0, 1, 3]
    allowed.clear()
    allowed.add(2)
    assert compile_processes.processes_for(100) == 0
    for value, count in {"1": 0, "0": 0, "-3": 0, "3": 2, "many": 0, "": 0}.items():
        monkeypatch.setenv("TRACEGRAD_COMPILE_PROCESSES", value)
        assert compile_processes.processes_for(100) == count


@pytest.mark.parametrize("files, count", [
    ({"cpu.max": "250000 100000\n"}, 3), ({"cpu.max": "50000 100000\n"}, 1),
    ({"cpu.max": "max 100000\n"}, 4), ({"cpu.max": "9900000 100000\n"}, 4),
    ({"cpu.max": ""}, 4), ({"cpu.max": "0 0"}, 4), ({}, 4),
    ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
])
def test_a_container_has_as_many_cores_as_it_has_time_for(monkeypatch, tmp_path, files, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == count


# ---- in processes of their own
def cold(tmp_path: Path, processes: int = 2) -> dict[str, str]:
    return {"TRACEGRAD_CACHE_DIR": str(tmp_path / "cache"),
            "TRACEGRAD_COMPILE_PROCESSES": str(processes)}


def interrupted():
    """Ctrl-C comes at any moment of a compilation, until one is done."""
    compile_processes.WORTH = 0.01
    step, stops = tg.compile(loss), 0

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, stop)
    results = None
    while results is None:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05 + 0.03 * stops)
            results = step(*numbers())
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            stops += 1
            assert children() == 0, children()
    expected = loss(*numbers())
    print(stops > 1, children(), results[0].allclose(expected[0], rtol=1e-4))


@pytest.mark.slow
def test_an_interrupted_compilation_leaves_no_process(tmp_path):
    assert run(interrupted, env=cold(tmp_path)) == "True 0 True\n"


def forks():
    """While another thread compiles; the child compiles, too, and then the parent goes on."""
    compile_processes.WORTH = 0.01
    started, inner = threading.Event(), compile_processes.Team.hand

    def hand(team, number, source):
        inner(team, number, source)
        started.set()

    compile_processes.Team.hand = hand
    results: list = []
    thread = threading.Thread(target=lambda: results.append(tg.compile(loss)(*numbers())))
    thread.start()
    assert started.wait(60)
    expected = loss(*numbers())[0]
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os._exit(not tg.compile(loss)(*numbers())[0].allclose(expected, rtol=1e-4))
    thread.join()
    print(os.waitpid(pid, 0)[1], results[0][0].allclose(expected, rtol=1e-4), children())


def test_a_process_may_fork_while_a_thread_compiles(tmp_path):
    assert run(forks, env=cold(tmp_path, 3)) == "0 True 0\n"


def in_threads():
    """Several programs, some of them equal, compiled at the same time."""
    compile_processes.WORTH = 0.01
    expected, right = loss(*numbers())[0], []

    def one(n):
        step = tg.compile(lambda *x: loss(*x)[0] * (n % 2 + 1))
        right.append((step(*numbers()) / (n % 2 + 1)).allclose(expected, rtol=1e-4))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(right, children())


@pytest.mark.slow
def test_threads_may_compile_at_the_same_time(tmp_path):
    assert run(in_threads, env=cold(tmp_path, 3)) == f"{[True] * 6} 0\n"


@prints("True 0\n")
def test_a_process_that_dies_sends_no_signal():
    """Where that signal would end the process."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with compile_processes.Team(1) as team:
        team.processes[0].child.kill()
        team.processes[0].child.wait()
        team.hand(0, code_generator.source_of("no module"))
        print(team.finished(1.0) == [], len(team.processes))


PROGRAM = """
print("once")
import tracegrad as tg
from tracegrad.runtime.cpu import compile_processes
compile_processes.WORTH = 0.001
inner, started = compile_processes._Process.__init__, []
def start(process, command):
    inner(process, command)
    started.append(process)
compile_processes._Process.__init__ = start
x = tg.ones(8, 8)
f = tg.compile(lambda x: (x @ x).softmax(0).cumsum(1).sum())
print(round(f(x).item(), 3), len(started))
"""
WAYS = {
    "a script without a guard": lambda path: ([str(path)], None),
    "-c": lambda path: (["-c", PROGRAM], None),
    "standard input": lambda path: (["-"], PROGRAM),
    "a safe path": lambda path: (["-P", str(path)], None),
    "isolated": lambda path: (["-I", str(path)], None),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_process_runs_nothing_of_the_users(way, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    command, text = WAYS[way](path)
    done = subprocess.run(
        [sys.executable, *command], input=text, text=True, capture_output=True, cwd=tmp_path,
        env=os.environ | cold(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("once\n36.0 1\n", "")
