"""Programs on disk that are damaged, foreign or cut off: always an answer, at worst slower."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from processes import run, start

import tracegrad as tg
from tracegrad.codegen import program_file
from tracegrad.codegen.program_file import Unreadable, decode, encode
from tracegrad.driver import lowering, program_store
from tracegrad.runtime.cpu import compiler, object_cache


def called() -> tuple[list, Any]:
    """What a function computes that is compiled anew: matrix products, a check, a sum."""
    f = tg.compile(lambda x, k: ((x @ x.t()).tanh() @ x, x[k], (x * 2.5).sum(0)))
    x = (tg.arange(12.0) / 7).reshape(4, 3)
    results = [y.tolist() for y in f(x, tg.tensor(2))]
    return results, f.tracegrad_state.latest().low


def programs(cache_folder: Path) -> list[Path]:
    """The files that are programs and not kernels, which have another first part."""
    entries = cache_folder.glob("*.o")
    return [p for p in entries if object_cache.read(p.stem)[0].startswith((b"[", b"n"))]


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "a flipped bit": lambda data: data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_program_is_lowered_again_and_mended(cache_folder, how):
    expected, low = called()
    assert not low.loaded
    (path,) = programs(cache_folder)
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    for loaded in (False, True):
        results, low = called()
        assert results == expected and low.loaded is loaded


WRONG_FACTS = (
    None, [], {}, "text", [[], [], [], 1, ""], [[99], [], [], 1, ""], [[-1], [], [], 1, ""],
    [[0, 1], [], [[[3], "float32"]], 1, ""], [[1, 0], [], [], 1, ""], [[0, 1], [7], [], 1, ""],
    [[0, 1], [], [[["a"], "float32"]], 1, ""], [[0, 1], [], [[[3], "complex128"]], 1, ""],
    [[0.0, 1.0], [], [], 1, ""],
)


def test_sound_files_with_wrong_facts_are_not_believed(cache_folder):
    expected, low = called()
    parts = object_cache.read(low.name)
    assert json.loads(parts[0])[:3] == [[0, 1], [], []]
    for facts in WRONG_FACTS:
        object_cache.write(low.name, json.dumps(facts).encode(), *parts[1:])
        results, low = called()
        assert results == expected and not low.loaded


def test_a_sound_file_with_the_program_of_another_graph_is_not_believed(cache_folder):
    expected, low = called()
    other = tg.compile(lambda x, k: (x + k, k, x.sum(1)))
    other(tg.ones(2, 3), tg.tensor(2))
    parts = object_cache.read(other.tracegrad_state.latest().low.name)
    object_cache.write(low.name, *parts)
    results, low = called()
    assert results == expected and not low.loaded


def test_no_bytes_break_the_decoder(cache_folder):
    """What is changed at random is unreadable, or still a program that prints."""
    program = called()[1].executable.program
    words, numbers = encode(program, [])
    assert str(decode((words, numbers), [])) == str(program)
    rng, survived = Random(1), 0
    array = np.frombuffer(numbers, "<i8")
    for _ in range(3000):
        changed = array.copy()
        changed[rng.randrange(len(changed))] = rng.choice(
            (-1, 0, 1, 2, 7, 1 << 20, 1 << 62, -(1 << 63), rng.randrange(-99, 99))
        )
        data = changed.tobytes()[: rng.choice((None, None, rng.randrange(8 * len(changed))))]
        try:
            survived += bool(str(decode((words, data), [])))
        except Unreadable:
            pass
    assert survived > 100
    for _ in range(1000):
        k = rng.randrange(len(words))
        try:
            decode((words[:k] + bytes([rng.randrange(256)]) + words[k + 1 :], numbers), [])
        except Unreadable:
            pass
    for parts in ((), (b"",), (b"", b""), (b"{}", b""), (b"[]", b""), (b"null", numbers),
                  (b"[" * 100_000, numbers), (words, b""), (words, numbers, b"")):
        with pytest.raises(Unreadable):
            decode(parts, [])


def test_a_program_whose_machine_code_has_gone_is_lowered_again(cache_folder, monkeypatch):
    expected, low = called()
    for path in cache_folder.glob("*.o"):
        if path.stem != low.name:
            path.unlink()
    monkeypatch.setattr(compiler, "_ready", {})
    results, low = called()
    assert results == expected and not low.loaded
    monkeypatch.setattr(compiler, "_ready", {})
    results, low = called()
    assert results == expected and low.loaded


def test_the_graph_of_a_loaded_program_must_be_the_one_it_was_made_of(cache_folder):
    def loss(x):
        return (x.exp() * 3).sum()

    x = tg.ones(3, requires_grad=True)
    f = tg.compile(loss)
    f(x)
    low = f.tracegrad_state.latest().low
    facts, *program = object_cache.read(low.name)
    changed = [*json.loads(facts)[:4], "0" * 64]
    object_cache.write(low.name, json.dumps(changed).encode(), *program)
    y = tg.compile(loss)(x)
    with pytest.raises(RuntimeError, match="cache --clear"):
        y.backward()


def test_programs_are_kept_by_no_folder_and_a_full_disk(cache_folder, monkeypatch):
    monkeypatch.setattr(compiler, "_ready", {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        expected, low = called()
        assert called()[0] == expected and not low.loaded
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache_folder.glob("*.o")) == list(cache_folder.glob("*.tmp")) == []
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", "/dev/null/none")
    object_cache.folder.cache_clear()
    assert called()[0] == expected and not called()[1].loaded


@pytest.mark.skipif(os.getuid() == 0, reason="root writes where it pleases")
def test_a_read_only_folder_is_read(cache_folder):
    expected, _ = called()
    cache_folder.chmod(0o500)
    try:
        results, low = called()
        assert results == expected and low.loaded
    finally:
        cache_folder.chmod(0o700)


def together(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))
    for _ in range(3):
        results, low = called()
    print(results, low.loaded)


@pytest.mark.slow
def test_ten_processes_share_a_folder(cache_folder):
    at = time.time() + 8
    several = [start(together, at) for _ in range(10)]
    said = {p.communicate(timeout=300)[0] for p in several}
    assert len(said) == 1 and said == {run(together, 0.0)}
    assert list(cache_folder.glob("*.tmp")) == []


def die_writing(k: int) -> None:
    """Lose the process at the k-th file that is written."""
    put, count = object_cache._put, iter(range(99))

    def deadly(at, name, content, replace):
        if next(count) == k:
            put(at, name + ".half", content[: len(content) // 2], replace)
            os._exit(0)
        put(at, name, content, replace)

    object_cache._put = deadly
    called()


@pytest.mark.slow
def test_a_writer_that_is_killed_does_no_harm(cache_folder):
    expected = called()[0]
    for path in cache_folder.glob("*.o"):
        path.unlink()
    for k in range(6):
        run(die_writing, k)
        results, _ = called()
        assert results == expected


@pytest.mark.parametrize("module", [lowering, program_store, program_file])
def test_nothing_of_it_is_a_pickle(module):
    assert "pickle" not in Path(module.__file__).read_text()
