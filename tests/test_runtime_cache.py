"""The cache of compiled kernels: whatever happens to it, programs run."""

from __future__ import annotations

import ast
import os
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
from machine_code import address_of
from processes import run, start

import tracegrad as tg
from tracegrad.codegen.gemm import kernel as gemm
from tracegrad.codegen.program import Kernel
from tracegrad.ir import faults, sampling
from tracegrad.ir.value import REGISTRY
from tracegrad.runtime.cpu import code_generator, compiler, object_cache

SOURCE = """\
    p0 = pointer_f4(args, 0)
    for i in range(start, stop):
        store_f4(p0, i, f4({}), 0)
"""


@pytest.fixture
def folder(cache_folder, monkeypatch) -> Path:
    """An empty cache, and nothing in memory of what this process has loaded."""
    monkeypatch.setattr(compiler, "_ready", {})
    return cache_folder


def loads(number: float) -> str:
    """How a kernel came to be, in a process that has not met it: 'compiled' or 'loaded'."""
    compiler._ready.clear()
    before = compiler.statistics.compiled, compiler.statistics.loaded
    assert address_of(Kernel("map", SOURCE.format(number)))
    after = compiler.statistics.compiled, compiler.statistics.loaded
    return {(1, 0): "compiled", (0, 1): "loaded"}[after[0] - before[0], after[1] - before[1]]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.o"))


def test_a_kernel_is_compiled_once_per_machine(folder):
    assert [loads(1.0) for _ in range(3)] == ["compiled", "loaded", "loaded"]
    assert len(entries(folder)) == 1


def test_a_kernel_is_compiled_once_per_process(folder):
    kernel = Kernel("map", SOURCE.format(3.0))
    before = compiler.statistics.compiled
    assert address_of(kernel) == address_of(kernel)
    assert compiler.statistics.compiled == before + 1


def test_entries_are_for_the_owner_only(folder):
    loads(1.0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entries(folder)[0].stat().st_mode) & 0o077 == 0


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "cut in the head": lambda data: data[:10],
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "a wrong digest": lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    "a flipped bit of code": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "a text": lambda data: b"not an object\n",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_entry_is_compiled_again_and_mended(folder, how):
    loads(1.0)
    (path,) = entries(folder)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    assert loads(1.0) == "compiled"
    assert loads(1.0) == "loaded"


def test_a_sound_entry_of_another_make_is_compiled_again(folder):
    """The digest is right, what is inside is not an object."""
    loads(1.0)
    (path,) = entries(folder)
    object_cache.write(path.stem, b"symbol", b"name", b"not machine code", b"not bitcode")
    assert loads(1.0) == "compiled"
    object_cache.write(path.stem, b"only one part")
    assert loads(1.0) == "compiled"


def test_an_entry_that_is_a_folder_does_no_harm(folder):
    loads(1.0)
    (path,) = entries(folder)
    path.unlink()
    path.mkdir()
    assert loads(1.0) == "compiled"
    assert list(folder.glob("*.tmp")) == []


def test_a_folder_removed_while_running_does_no_harm(folder):
    loads(1.0)
    shutil.rmtree(folder)
    assert loads(1.0) == "compiled"
    assert loads(2.0) == "compiled"


@pytest.mark.skipif(os.getuid() == 0, reason="root writes where it pleases")
def test_a_read_only_folder_is_read_and_not_written(folder):
    loads(1.0)
    folder.chmod(0o500)
    try:
        assert loads(1.0) == "loaded"
        assert loads(2.0) == "compiled"
        assert len(entries(folder)) == 1
    finally:
        folder.chmod(0o700)


def test_a_folder_that_is_a_file_does_no_harm(folder):
    folder.write_text("in the way")
    assert loads(1.0) == "compiled"
    assert folder.read_text() == "in the way"


def test_a_folder_that_cannot_be_written_does_no_harm(folder, monkeypatch):
    loads(1.0)

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(object_cache, "_put", refuse)
    assert loads(2.0) == "compiled"
    assert loads(1.0) == "loaded"


def test_no_home_does_no_harm(monkeypatch):
    for name in ("TRACEGRAD_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(object_cache.Path, "home", homeless)
    monkeypatch.setattr(compiler, "_ready", {})
    object_cache.folder.cache_clear()
    try:
        assert object_cache.folder() is None
        assert loads(1.0) == "compiled"
        assert loads(1.0) == "compiled"
    finally:
        object_cache.folder.cache_clear()


def test_a_folder_that_others_may_write_to_is_not_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("TRACEGRAD_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        for mode, wanted in ((0o700, True), (0o777, False), (0o755, True)):
            (tmp_path / "tracegrad").mkdir(exist_ok=True)
            (tmp_path / "tracegrad").chmod(mode)
            object_cache.folder.cache_clear()
            with nullcontext() if wanted else pytest.warns(UserWarning, match="chmod go-w"):
                assert (object_cache.folder() is not None) is wanted
    finally:
        object_cache.folder.cache_clear()


def test_the_key_depends_on_source_and_machine(monkeypatch):
    assert object_cache.key("a") != object_cache.key("b")
    before = object_cache.key("a")
    monkeypatch.setattr(object_cache, "machine", lambda: "another")
    assert object_cache.key("a") != before


def test_the_key_depends_on_all_that_writes_machine_code():
    """On every module that the compiler imports, but for what only runs on plain Python."""
    room = Path(compiler.__file__).parent
    waiting, written_by = ["code_generator"], set()
    while waiting:
        if (name := waiting.pop()) not in written_by:
            written_by.add(name)
            for node in ast.walk(ast.parse((room / f"{name}.py").read_text())):
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    waiting += [node.module] if node.module else [x.name for x in node.names]
    assert written_by - {"python_builtins"} == set(compiler._MEANING)


@pytest.mark.parametrize(
    "module, change",
    [(faults, ("FACTOR = 1, 2", "FACTOR = 1, 3")), (sampling, ("SMALL = ", "SMALL = 1 + "))],
    ids=["numbers that kernels report", "formulas of samplers"],
)
def test_the_key_depends_on_modules_outside_of_the_room(module, change, tmp_path, monkeypatch):
    before, text = compiler.meaning.__wrapped__(), Path(module.__file__).read_text()
    other = tmp_path / "other.py"
    other.write_text(text.replace(*change))
    assert other.read_text() != text
    monkeypatch.setattr(module, "__file__", str(other))
    assert compiler.meaning.__wrapped__() != before


def test_a_product_written_by_another_file_is_another(tmp_path, monkeypatch):
    mine = Path(gemm.__file__)
    monkeypatch.setattr(gemm, "__file__", str(tmp_path / mine.name))
    shutil.copytree(mine.parent, tmp_path, dirs_exist_ok=True)
    assert gemm.revision.__wrapped__() == gemm.revision()
    for path in tmp_path.glob("*.py"):
        text = path.read_text()
        path.write_text(text + "#")
        assert gemm.revision.__wrapped__() != gemm.revision()
        path.write_text(text)


def test_a_kernel_that_numba_refuses_is_named_with_its_source_and_operations(folder, tmp_path):
    kernel = Kernel("map", "    v = no_such_word(args)\n")
    with pytest.raises(code_generator.CompileError) as caught:
        address_of(kernel, "tanh  float32[3]  train.py:41")
    message = str(caught.value)
    assert kernel.name in message and "no_such_word" in message and "train.py:41" in message
    path = next(word for word in message.split() if word.endswith(".py;")).rstrip(";")
    assert "no_such_word" in Path(path).read_text()
    assert entries(folder) == []


def bad_operation():
    object.__setattr__(REGISTRY["tanh"], "expr", "{0}.no_such_method()")
    x = tg.ones(2)
    try:
        tg.compile(lambda x: x.tanh() + 1)(x)
    except RuntimeError as error:
        print(type(error).__name__, error)
    print(tg.compile(lambda x: x + 1)(x).tolist())


def test_an_operation_that_does_not_compile_is_named(folder):
    out = run(bad_operation)
    assert "CompileError" in out and "map_" in out and "tanh" in out and ".py" in out
    assert "[2.0, 2.0]" in out


def checked_powers():
    f = tg.compile(lambda x: (x**x, x // (x - 1), x % 3))
    print([t.tolist() for t in f(tg.tensor([2, 3, 4]))])


def test_kernels_with_an_error_path_can_be_loaded(folder):
    """LLVM ends the process where an object needs Numba's runtime and that is not there."""
    assert run(checked_powers) == run(checked_powers) == "[[4, 27, 256], [2, 1, 1], [2, 0, 1]]\n"


def step():
    f = tg.compile(lambda x: (x @ x.t()).tanh().sum(0) + x.exp().sum(1))
    print(f(tg.ones(30, 30)).sum().item(), compiler.statistics.compiled, compiler.statistics.loaded)


@pytest.mark.slow
def test_processes_share_a_cache_at_once(folder):
    together = [start(step) for _ in range(3)]
    answers = [p.communicate(timeout=200)[0].split() for p in together]
    later = run(step).split()
    assert {a[0] for a in answers} == {later[0]}
    assert later[1] == "0" and int(later[2]) > 0
    assert list(folder.glob("*.tmp")) == []


def print_machine():
    print(object_cache.machine())


def test_objects_are_for_one_python_and_one_processor(monkeypatch):
    mine = object_cache.machine.__wrapped__()
    monkeypatch.setattr(object_cache.sysconfig, "get_config_var", lambda name: "cpython-399t-moon")
    assert object_cache.machine.__wrapped__() != mine
    for env in (
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, {"NUMBA_ENABLE_AVX": "0"},
    ):
        assert run(print_machine, env=env).strip() not in ("", mine)
