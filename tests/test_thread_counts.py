"""The same numbers on any number of threads and cores, and right ones on other processors."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import time

import llvmlite.binding as llvm
import numpy as np
import pytest
from processes import run

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import code_generator, compiler

F = nn.functional
X86 = platform.machine() in ("x86_64", "AMD64")


def normal(*shape, dtype=tg.float32):
    rng = np.random.default_rng(sum(shape))
    return tg.tensor(rng.standard_normal(shape), dtype=dtype)


PROGRAMS = {
    "sums": lambda x, y: (x.sum(0), x.sum(1), x.sum(), (x * x).mean(), x.std(0)),
    "rows": lambda x, y: (F.softmax(x, 1), F.layer_norm(x, (x.shape[1],)), x.amax(1)),
    "columns": lambda x, y: (x.amax(0), x.argmax(0), x.cumsum(0)),
    "product": lambda x, y: (x @ y, (x @ y).relu() @ y.t(), x.t() @ x),
    "order": lambda x, y: (*x.sort(1), *x.topk(5, 1), x.t().contiguous()),
    "functions": lambda x, y: (x.exp(), x.sin(), F.gelu(x), x.tanh(), x.abs().log1p()),
}


def training():
    """The parameters after some steps of a compiled loss and of an optimizer."""
    tg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 10))
    optimizer = optim.AdamW(model.parameters(), fused=True)
    x, y = normal(64, 1, 16, 16), tg.arange(64) % 10
    loss_of = tg.compile(lambda x, y: F.cross_entropy(model(x), y))
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(x, y).backward()
        optimizer.step()
    return list(model.parameters())


def print_numbers():
    """Which programs are close to eager ones, and a digest of all numbers."""
    digest = hashlib.sha256()
    for name, f in PROGRAMS.items():
        for dtype in (tg.float32, tg.float64):
            x, y = normal(300, 701, dtype=dtype), normal(701, 130, dtype=dtype)
            for a, b in zip(tg.compile(f)(x, y), f(x, y), strict=True):
                assert tg.allclose(a, b, rtol=1e-4, atol=1e-3), name
                digest.update(a.numpy().tobytes())
    for p in training():
        digest.update(p.detach().numpy().tobytes())
    print(digest.hexdigest())


def on_one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.mark.slow
def test_numbers_are_the_same_on_one_thread_and_on_eight():
    one, eight = (run(print_numbers, env={"NUMBA_NUM_THREADS": n}) for n in ("1", "8"))
    assert one == eight


@pytest.mark.slow
def test_numbers_are_the_same_on_any_threads_cores_and_pool():
    usual = run(print_numbers)
    for env in ({"NUMBA_NUM_THREADS": "2"}, {"NUMBA_NUM_THREADS": "3"},
                {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "3"},
                {"OMP_WAIT_POLICY": "active", "NUMBA_NUM_THREADS": "2"}):
        assert run(print_numbers, env=env) == usual
    if hasattr(os, "sched_setaffinity"):
        assert run(print_numbers, preexec_fn=on_one_core) == usual
        crowded = {"NUMBA_NUM_THREADS": "4"}  # on one core
        assert run(print_numbers, env=crowded, preexec_fn=on_one_core) == usual


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="names of x86 processors")
@pytest.mark.parametrize("name, features", [
    ("x86-64", "+sse2"), ("nehalem", "+sse4.2,+ssse3,+popcnt"),
    ("haswell", "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+sse4.2"),
])
def test_numbers_are_right_on_older_processors(name, features, tmp_path):
    env = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features,
           "TRACEGRAD_CACHE_DIR": str(tmp_path)}
    run(print_numbers, env=env)


def print_arm_code():
    """The machine code, for a processor with NEON, of the kernels of a softmax and a chain."""
    x = normal(64, 300)
    tg.compile(lambda x: (F.softmax(x, 1), x * 2 + x.abs()))(x)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu="neoverse-n1", opt=3)
    for text in list(compiler._ready):
        head, _, body = text.partition("\n")
        kernel = Kernel(head.removeprefix("def ").partition("_")[0], body)
        source = code_generator.written(kernel)
        with llvm.create_context() as context, (
                llvm.parse_assembly(source.text, context)) as module:
            module.triple, module.data_layout = triple, str(machine.target_data)
            for code in source.called:
                module.link_in(llvm.parse_bitcode(code, context))
            tuning = llvm.create_pipeline_tuning_options(speed_level=2)
            tuning.loop_vectorization = True
            with llvm.create_pass_builder(machine, tuning) as builder:
                builder.getModulePassManager().run(module, builder)
            print(machine.emit_assembly(module))


@pytest.mark.slow
def test_kernels_are_vector_code_on_arm():
    code = run(print_arm_code)
    assert ".4s" in code  # four float32 numbers
    for word in ("fmul", "fadd", "fmla"):
        assert any(word in line and ".4s" in line for line in code.splitlines()), word


def test_threads_of_python_call_one_function_while_their_number_is_set():
    f = tg.compile(lambda x, y: (x @ y).relu().sum(0))
    x, y = normal(300, 701), normal(701, 130)
    expected = f(x, y).clone()
    wrong, end = [], time.monotonic() + 0.5

    def work():
        while time.monotonic() < end:
            if not (f(x, y) == expected).all():
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for one in workers:
        one.start()
    count = tg.get_num_threads()
    while time.monotonic() < end:
        tg.set_num_threads(count)
    for one in workers:
        one.join()
    assert not wrong
