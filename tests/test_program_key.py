"""Which programs on disk are taken for which calls: never one that was made for something else."""

from __future__ import annotations

import linecache
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

import tracegrad as tg
from tracegrad.driver import program_store
from tracegrad.driver.places import HOST
from tracegrad.ir.dtype import float32, float64, int64
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.structure import NoStructure, exact, structure
from tracegrad.ir.value import REGISTRY
from tracegrad.runtime.cpu import object_cache

pytestmark = pytest.mark.usefixtures("cache_folder")


def outcome(call: Callable, make: Callable[[], tuple]) -> str:
    """What a call gives and what it does to its arguments, as text that tells all bits."""
    args = make()
    try:
        result = call(*args)
    except Exception as error:
        return str(error)
    flat = result if isinstance(result, tuple) else (result,)
    tensors = [t for t in (*flat, *args) if isinstance(t, tg.Tensor)]
    tensors += [t.grad for t in tensors if t.is_leaf and t.grad is not None]
    return str([(str(t.dtype), tuple(t.shape), t.detach()._array.tobytes().hex()) for t in tensors])


def loaded(compiled: Any) -> bool:
    (entry,) = compiled.tracegrad_state.programs
    return entry.low.loaded


def matrix() -> tg.Tensor:
    return tg.arange(9.0).reshape(3, 3) - 4


def two() -> tuple:
    return matrix(), matrix() * 0.5


def leaf() -> tuple:
    return (matrix().requires_grad_(),)


def into(x):
    x.add_(1)
    return x * 2


def not_into(x):
    y = x + 1
    return y * 2


def returned_gradient(x):
    return tg.autograd.grad((x**3).sum(), x)[0]


def left_gradient(x):
    (x**3).sum().backward()


def guarded(x):
    return x * 2 if x.sum() > -100 else x


SAME = {  # one program for both
    "returned or left in .grad": [(returned_gradient, leaf), (left_gradient, leaf)],
    "another function": [(lambda x: x + 1, lambda: (matrix(),)),
                         (lambda y: 1 + y, lambda: (matrix(),))],
}

# calls that differ in one thing each, which lowering must see
APART = {
    "strides": [(lambda x: (x * 2).sum(0), lambda: (matrix(),)),
                (lambda x: (x * 2).sum(0), lambda: (matrix().t(),)),
                (lambda x: (x * 2).sum(0), lambda: (tg.zeros(3).expand(3, 3),)),
                (lambda x: (x * 2).sum(0), lambda: (tg.arange(36.0).reshape(6, 6)[::2, ::2],))],
    "what is written in place": [(into, lambda: (matrix(),)), (not_into, lambda: (matrix(),))],
    "whose memory is written": [(lambda x, y: x.add_(y) * 1.5, two),
                                (lambda x, y: y.add_(x) * 1.5, two)],
    "the order of results": [(lambda x: (x + 1, x * 2), lambda: (matrix(),)),
                             (lambda x: (x * 2, x + 1), lambda: (matrix(),))],
    "how often a result is returned": [(lambda x: (x + 1, x + 1), lambda: (matrix(),)),
                                       (lambda x: (x + 1,), lambda: (matrix(),))],
    "which argument is read": [(lambda x, y: x + 1, two), (lambda x, y: y + 1, two)],
    "both zeros": [(lambda x: x * 0 + 0.0, lambda: (-matrix(),)),
                   (lambda x: x * 0 + -0.0, lambda: (-matrix(),))],
    "constants of one shape": [(lambda x: x + tg.full((3,), 2.0), lambda: (matrix(),)),
                               (lambda x: x + tg.full((3,), 3.0), lambda: (matrix(),))],
    "numbers and bools": [(lambda x: x + tg.full((3,), 1), lambda: (matrix().long(),)),
                          (lambda x: x + tg.full((3,), True), lambda: (matrix().long(),))],
    "dtypes": [(lambda x: x * 2, lambda d=d: (matrix().to(d),))
               for d in (tg.float32, tg.float64, tg.bfloat16, tg.float16, tg.int64, tg.int32)],
    "types of numbers": [(lambda x: x * 2, lambda: (matrix().long(),)),
                         (lambda x: x * 2.0, lambda: (matrix().long(),)),
                         (lambda x: x * True, lambda: (matrix().long(),))],
    "shapes": [(lambda x: x.sum(-1), lambda: (matrix(),)),
               (lambda x: x.sum(-1), lambda: (matrix()[:2],)),
               (lambda x: x.sum(-1), lambda: (matrix()[0],))],
    "how terms are combined": [
        (lambda x, k, how=how: x.scatter_reduce(0, k, x * 2, how), lambda: (matrix(), places()))
        for how in ("sum", "prod", "amax", "amin", "mean")],
    "axes": [(lambda x: x.cumsum(0), lambda: (matrix(),)),
             (lambda x: x.cumsum(1), lambda: (matrix(),))],
    "what is checked": [
        (lambda x, k: x[k], lambda: (matrix(), tg.tensor(5))),
        (lambda x, k: x[:, k], lambda: (matrix(), tg.tensor(5))),
        (lambda x, k: x[:, :2][k], lambda: (matrix(), tg.tensor(5))),
        (lambda x, k: tg.linalg.cholesky(x[: 3 + 0 * k.numel()]), lambda: (matrix(), tg.tensor(5))),
        (lambda x, k: tg.linalg.inv(x), lambda: (x0(), tg.tensor(5))),
        (lambda x, k: tg.linalg.solve(x, x), lambda: (x0(), tg.tensor(5)))],
    "values that Python looks at": [(guarded, lambda: (matrix(),)),
                                    (lambda x: x * 2, lambda: (matrix(),))],
    "a generator's state": [(lambda x: x + tg.rand(3), lambda: (seeded(),)),
                            (lambda x: x + tg.randint(0, 9, (3,)), lambda: (seeded(),))],
}


def places() -> tg.Tensor:
    return tg.tensor([[0, 0, 2], [0, 1, 2], [2, 2, 2]])


def x0() -> tg.Tensor:
    return matrix() * 0


def seeded() -> tg.Tensor:
    tg.manual_seed(5)
    return matrix()


@pytest.mark.parametrize("what", APART | SAME)
def test_what_lowering_sees_tells_programs_apart(what):
    for _ in range(2):  # from the disk, the second time
        for function, make in (APART | SAME)[what]:
            expected, compiled = outcome(function, make), tg.compile(function)
            assert outcome(compiled, make) == expected


@pytest.mark.parametrize("what", APART)
def test_each_of_these_has_a_program_of_its_own(what):
    for function, make in APART[what]:
        compiled = tg.compile(function)
        outcome(compiled, make)
        assert not loaded(compiled)
    for function, make in APART[what]:
        compiled = tg.compile(function)
        outcome(compiled, make)
        assert loaded(compiled)


def test_fast_math_has_programs_of_its_own():
    def f(x):
        return (x * 3.0 / 3.0).sum()

    made = [tg.compile(f, fast_math=fast) for fast in (False, True)]
    for compiled in made:
        compiled(matrix())
    assert [loaded(compiled) for compiled in made] == [False, False]


def test_numbers_are_told_apart_by_their_bits():
    nans = [struct.unpack("<d", struct.pack("<q", 0x7FF8 << 48 | k))[0] for k in (0, 1, 1 << 40)]
    values = [0.0, -0.0, 0, False, 1, 1.0, True, None, "1", (1,), (True,), (1.0,), ((1,),), *nans]
    assert len({exact(v) for v in values}) == len(values)
    x = input_node((3,), float64)
    graphs = [Graph((x,), (x * constant(v, float64),)) for v in (0.0, -0.0, *nans[:1])]
    assert len({structure(g).text for g in graphs}) == len(graphs)


def test_an_unknown_type_of_parameter_has_no_structure():
    for value in (np.float32(1), np.int64(1), [1], {1}, object()):
        with pytest.raises(NoStructure):
            exact(value)


def test_programs_with_a_primitive_of_somebody_else_are_not_kept(monkeypatch):
    """Its name does not say what it does."""
    for words, expected in (("{0} + {0}", 2.0), ("{0} * 4", 4.0)):
        mine = replace(REGISTRY["tanh"], name="mine", expr=words, ref=None)
        monkeypatch.setitem(REGISTRY, "mine", mine)
        f = tg.compile(lambda x, mine=mine: mine(x) + 0)
        assert f(tg.ones(2)).tolist() == [expected] * 2 and not loaded(f)


def test_lowering_looks_at_nothing_but_its_input():
    """Neither at the environment nor at the machine, but by what is part of the key."""
    root = Path(tg.__file__).parent
    texts = {p: p.read_text() for room in ("ir", "codegen") for p in (root / room).rglob("*.py")}
    asked = {p.name for p, text in texts.items()
             if re.search(r"environ|getenv|cpu_count|platform|getrandom|uname", text)}
    assert asked == {"progress.py"}  # it prints


def test_what_is_not_part_of_a_graph_is_not_part_of_its_structure():
    """Names and numbers of inputs, and nodes that nothing needs."""
    def graph(name: str) -> Graph:
        x, y = input_node((3,), float32, name), input_node((3,), int64, name)
        x.exp() if hasattr(x, "exp") else x * 3
        return Graph((x, y), (x * 2,))

    assert structure(graph("a")).text == structure(graph("b")).text


def written_at(line: int) -> Any:
    """A function whose operation is on this line of a file of the user."""
    text = "\n" * (line - 2) + "def f(x, k):\n    return x.exp()[k]\n"
    name = f"user_{line}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space: dict[str, Any] = {}
    exec(compile(text, name, "exec"), space)
    return tg.compile(space["f"])


def test_the_lines_are_those_of_the_present_user():
    for line, there in ((10, False), (20, True), (30, True)):
        f = written_at(line)
        f(matrix(), tg.tensor(1))
        assert loaded(f) is there
        assert f"user_{line}.py:{line}" in f.source()
        assert "user_" not in f.source().replace(f"user_{line}.py:{line}", "")


def test_no_program_is_kept_by_a_library_whose_source_has_changed(monkeypatch):
    f = tg.compile(lambda x: x + 1)
    monkeypatch.setattr(program_store, "_IMPORTED", 0.0)
    program_store.source.cache_clear()
    try:
        for _ in range(2):
            f = tg.compile(lambda x: x + 1)
            f(matrix())
            assert not loaded(f)
    finally:
        program_store.source.cache_clear()


def test_another_library_processor_or_numba_has_other_programs(monkeypatch):
    names = {program_store.name_of("a", HOST), program_store.name_of("b", HOST)}
    for library in (np, scipy):  # which fold constants
        with monkeypatch.context() as changed:
            changed.setattr(library, "__version__", "another")
            names.add(program_store.name_of("a", HOST))
    monkeypatch.setattr(program_store, "source", lambda: "another")
    names.add(program_store.name_of("a", HOST))
    monkeypatch.setattr(object_cache, "machine", lambda: "another")
    names.add(program_store.name_of("a", HOST))
    assert len(names) == 6
