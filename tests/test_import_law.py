"""The import law: who may know whom, read from the source with `ast`.

Takes every module of the rooms and of the public face; gives a list of violations in words.
It never imports the code that it judges.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from sys import stdlib_module_names

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Law:
    """What the modules of one folder may import, as dotted prefixes."""

    inside: tuple[str, ...]
    outside: tuple[str, ...]
    relative_only: bool = True
    never: tuple[str, ...] = ()  # exceptions from `inside`


_TRACER = ("tracegrad.ir",) + tuple(
    f"tracegrad.tracer.{m}" for m in ("mode", "change_counter", "pytree", "signals", "tensor")
)
LAWS = {
    "ir": Law(("tracegrad.ir",), ("numpy", "scipy")),
    "tracer": Law(("tracegrad.tracer", "tracegrad.ir"), ("numpy", "scipy")),
    "tracer/tensor": Law(
        (*_TRACER, *(f"tracegrad.tracer.autograd.{m}" for m in ("graph", "recording"))),
        ("numpy", "scipy"),
    ),
    "tracer/autograd": Law((*_TRACER, "tracegrad.tracer.autograd"), ("numpy", "scipy")),
    "codegen": Law(("tracegrad.codegen", "tracegrad.ir"), ("numpy", "scipy", "llvmlite")),
    "codegen/schedule": Law(("tracegrad.codegen.schedule", "tracegrad.ir"), ("numpy", "scipy")),
    "codegen/gemm": Law(
        (
            "tracegrad.codegen.gemm",
            "tracegrad.codegen.schedule",
            "tracegrad.codegen.program",
            "tracegrad.codegen.text",
            "tracegrad.ir",
        ),
        ("numpy", "scipy", "llvmlite"),
    ),
    "runtime": Law(
        (
            "tracegrad.runtime",
            "tracegrad.codegen.program",
            "tracegrad.ir.cached",
            "tracegrad.ir.device_array",
            "tracegrad.ir.dtype",
            "tracegrad.ir.faults",
            "tracegrad.ir.handlers",
            "tracegrad.ir.locks",
            "tracegrad.ir.progress",
            "tracegrad.ir.sampling",
        ),
        ("numpy", "scipy", "llvmlite", "numba"),
    ),
    "tracegrad": Law(
        ("tracegrad",),
        ("numpy", "scipy"),
        relative_only=False,
        never=("tracegrad.codegen", "tracegrad.runtime"),
    ),
    "tracegrad/functions": Law(
        ("tracegrad.functions", "tracegrad.tracer", "tracegrad.ir"), ("numpy", "scipy")
    ),
    "tracegrad/driver": Law(("tracegrad",), ("numpy",)),
}
ROOMS = ("ir", "tracer", "codegen", "runtime", "tracegrad")


def law_of(path: Path) -> tuple[str, Law]:
    """The law of the innermost folder that has one, and the name of that folder."""
    return next((str(f), LAWS[str(f)]) for f in path.parents if str(f) in LAWS)


# May be absent, so these are imported where they are used; nothing else is.
OPTIONAL = (
    "matplotlib", "graphviz", "tqdm", "torch", "jax", "IPython", "sklearn", "mlxtend",
    "safetensors", "numba.cuda", "pytest", "rich",
)

# A file of flat functions with docstrings may be longer.
LONGEST = (
    dict.fromkeys(ROOMS, 400)
    | dict.fromkeys(("tests", "benchmarks", "examples"), 500)
    | {"tracegrad/functions": 600}
)


def longest_folder(path: Path) -> str:
    """The innermost folder of a file that has a limit."""
    return next(str(f) for f in path.parents if str(f) in LONGEST)


@dataclass(frozen=True)
class Import:
    line: int
    targets: tuple[str, ...]  # absolute dotted names, `from a import b` giving `a.b`
    relative: bool
    in_function: bool


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def module_name(path: Path) -> str:
    """The installed name of a source file, given relative to the repository root."""
    parts = path.with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts if parts[0] == "tracegrad" else ("tracegrad", *parts))


def imports(path: Path, tree: ast.AST) -> Iterator[Import]:
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                names = tuple(alias.name for alias in child.names)
                yield Import(child.lineno, names, False, in_function)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                source = ".".join((*base, *filter(None, [child.module])))
                names = tuple(f"{source}.{alias.name}" for alias in child.names)
                yield Import(child.lineno, names, child.level > 0, in_function)
            else:
                functions = (ast.FunctionDef, ast.AsyncFunctionDef)
                yield from visit(child, in_function or isinstance(child, functions))

    return visit(tree, False)


def violations(path: Path, source: str) -> list[str]:
    """What is wrong with the module at `path` (relative to the root), in words."""
    room, law = law_of(path)
    found = []
    for item in imports(path, ast.parse(source)):
        where = f"{path}:{item.line}"
        for target in item.targets:
            if within(target, ("tracegrad",)):
                if not within(target, law.inside) or within(target, law.never):
                    found.append(f"{where}: {room}/ must not know {target}")
                if law.relative_only and not item.relative:
                    found.append(f"{where}: {target} is imported by its absolute name")
                if item.in_function:
                    found.append(f"{where}: {target} is imported inside a function")
            elif within(target, OPTIONAL):
                if not item.in_function:
                    found.append(f"{where}: {target} is optional, import it where it is used")
                if within(target, ("numba",)) and not within(target, law.outside):
                    found.append(f"{where}: {room}/ must not import {target}")
            else:
                if not within(target, (*law.outside, *stdlib_module_names)):
                    found.append(f"{where}: {room}/ must not import {target}")
                if item.in_function:
                    found.append(f"{where}: {target} is imported inside a function")
    return found


def cycle(sources: dict[Path, str]) -> list[str] | None:
    """Modules that import one another in a ring, if there are any."""
    names = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    for path, source in sources.items():
        targets = {t for item in imports(path, ast.parse(source)) for t in item.targets}
        # `from a import b` is a.b where that is a module, and else a name out of a.
        owners = {t if t in names else t.rpartition(".")[0] for t in targets}
        graph[module_name(path)] = owners & names
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def python_files(*folders: str) -> list[Path]:
    return sorted(p.relative_to(ROOT) for f in folders for p in (ROOT / f).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_knows_only_whom_it_may_know(room):
    found = [v for p in python_files(room) for v in violations(p, (ROOT / p).read_text())]
    assert not found, "\n" + "\n".join(found)


def test_no_modules_import_one_another_in_a_ring():
    assert cycle({p: (ROOT / p).read_text() for p in python_files(*ROOMS)}) is None


@pytest.mark.parametrize("folder", LONGEST)
def test_no_file_has_more_than_one_job(folder):
    mine = [p for p in python_files(folder) if longest_folder(p) == folder]
    lengths = {p: len((ROOT / p).read_text().splitlines()) for p in mine}
    assert {p: n for p, n in lengths.items() if n > LONGEST[folder]} == {}


@pytest.mark.parametrize(
    "path, source, complaint",
    [
        ("ir/node.py", "from ..tracer.tensor.tensor import Tensor", "must not know"),
        ("ir/ops/reduce.py", "from ... import tracer", "must not know"),
        ("ir/node.py", "import numba", "must not import numba"),
        ("ir/node.py", "import tracegrad.ir.graph", "absolute name"),
        ("tracer/tensor/tensor.py", "from ...codegen.fuse import legal", "must not know"),
        ("codegen/schedule/lower.py", "from numba import njit", "must not import numba"),
        ("codegen/schedule/lower.py", "from ..templates import row", "must not know"),
        ("codegen/cuda.py", "def f():\n    import numba.cuda", "must not import numba"),
        ("runtime/cpu/launch_list.py", "from ...codegen.fuse import legal", "must not know"),
        ("runtime/cpu/launch_list.py", "from ...ir.node import Node", "must not know"),
        ("tracer/tensor/views.py", "from ..capture import trace", "must not know"),
        ("tracer/autograd/vmap.py", "from ..capture import trace", "must not know"),
        ("codegen/gemm/tile.py", "from ..templates import row", "must not know"),
        ("tracegrad/functions/torch/reduction.py", "from ...nn import init", "must not know"),
        ("tracegrad/nn/linear.py", "from ..runtime.cpu import threads", "must not know"),
        ("tracegrad/__init__.py", "from .codegen import lower", "must not know"),
        ("tracegrad/viz.py", "import graphviz", "optional"),
        ("tracegrad/viz.py", "import pandas", "must not import pandas"),
        (
            "tracer/capture/trace.py",
            "def f():\n    from ..tensor.tensor import Tensor",
            "inside a function",
        ),
        (
            "tracer/capture/trace.py",
            "class A:\n    def f(self):\n        import os",
            "inside a function",
        ),
    ],
)
def test_a_planted_violation_is_caught(path, source, complaint):
    assert complaint in "\n".join(violations(Path(path), source))


@pytest.mark.parametrize(
    "path, source",
    [
        ("ir/ops/reduce.py", "import math\nimport numpy as np\nfrom ..node import Node"),
        ("tracer/tensor/tensor.py", "from __future__ import annotations\nfrom ...ir import ops"),
        ("codegen/gemm/kernel.py", "import llvmlite.ir as ll\nfrom ...ir.node import Node"),
        (
            "runtime/cpu/launch_list.py",
            "from ...codegen.program import Program\nfrom numba import njit",
        ),
        ("runtime/cpu/launch_list.py", "from ...ir import dtype\nfrom ...ir.dtype import float32"),
        ("runtime/cuda.py", "def load():\n    from numba import cuda"),
        (
            "tracegrad/driver/api.py",
            "from ..codegen import build\nfrom ..runtime.cpu import threads",
        ),
        ("tracegrad/driver/replay/launches.py", "from ...runtime.cpu import threads"),
        ("tracegrad/viz.py", "from .driver.api import compile\ndef f():\n    import graphviz"),
    ],
)
def test_a_lawful_import_passes(path, source):
    assert violations(Path(path), source) == []


def test_a_planted_ring_is_caught():
    sources = {
        Path("ir/node.py"): "from .graph import Graph",
        Path("ir/graph.py"): "from . import node",
    }
    assert set(cycle(sources) or ()) == {"tracegrad.ir.node", "tracegrad.ir.graph"}
