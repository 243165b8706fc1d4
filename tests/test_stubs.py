"""Editors and type checkers know every public name and its signature."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import tracegrad
from tests.stubs import METHODS, ROOT, STUBS, names_of, texts
from tests.test_docstrings import MODULES

TEXTS = texts()


@pytest.mark.parametrize("path", TEXTS)
def test_a_stub_is_what_would_be_written_now(path):
    assert (ROOT / path).read_text() == TEXTS[path], "run `python -m tests.stubs`"


def known(path: Path, within: str = "") -> set[str]:
    """The names that a source or a stub defines or imports, in a module or in a class of it."""
    tree: ast.Module | ast.ClassDef = ast.parse(path.read_text())
    if within:
        (tree,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == within)
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


@pytest.mark.parametrize("module", (*MODULES, "tracegrad.return_types"))
def test_a_type_checker_knows_every_name_that_dir_lists(module):
    found = importlib.import_module(module)
    source = STUBS.get(module, found.__file__)
    missing = set(names_of(found)) - known(ROOT / source)
    assert not missing


def test_a_type_checker_knows_every_method_of_a_tensor():
    mine = known(ROOT / METHODS, "Methods") | known(ROOT / "tracer/tensor/tensor.py", "Tensor")
    missing = {name for name in dir(tracegrad.Tensor) if not name.startswith("_")} - mine
    assert not missing


RESULTS = "aminmax cummax frexp kthvalue mode qr slogdet sort svd topk".split()


@pytest.mark.parametrize("name", RESULTS)
def test_a_named_result_has_the_type_that_the_stub_says(name):
    x = tracegrad.tensor([[4.0, 2.0], [2.0, 5.0]])
    options = {"cummax": (0,), "kthvalue": (1,), "topk": (1,)}.get(name, ())
    assert type(getattr(tracegrad, name)(x, *options)) is getattr(tracegrad.return_types, name)
    assert type(getattr(x, name)(*options)) is getattr(tracegrad.return_types, name)
    if name in ("qr", "slogdet", "svd"):
        found = getattr(tracegrad.linalg, name)(x)
        assert type(found) is getattr(tracegrad.return_types, f"linalg_{name}")


PROGRAM = """
import tracegrad as torch
import tracegrad.nn.functional as F
from tracegrad import nn, optim

x = torch.ones(2, 3).exp() + 1
x.reshape(3, 2).reshape((2, 3)).permute(1, 0).sum(dim=0, keepdim=True).backward()
torch.exp(x, out=x)
F.relu(torch.cat([x, x], dim=1), inplace=True)
F.conv2d(x, x, stride=2)
model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2, stride=1))
loss: torch.Tensor = nn.CrossEntropyLoss(label_smoothing=0.1)(model(x), x.argmax(1))
optim.SGD(model.parameters(), lr=0.1).step()
values: torch.Tensor = torch.linalg.svd(x).S + x.sort(dim=0).values + torch.topk(x, 1).indices
torch.zeros(2, dtype=torch.float64).to(torch.int)
x.no_such_method()  # error
torch.no_such_function(x)  # error
torch.exp(x, 1)  # error
x.sum(dimension=0)  # error
nn.ReLU(inplce=True)  # error
F.softmax(x, axe=0)  # error
torch.reshape(x, 1.5)  # error
torch.linalg.svd(x).V  # error
"""


@pytest.mark.slow
def test_mypy_accepts_correct_calls_and_no_others(tmp_path):
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    found = {module: names_of(importlib.import_module(module)) for module in MODULES}
    names = "\n".join(f"{module}.{name}" for module in found for name in found[module])
    imports = "\n".join(f"import {module}" for module in MODULES)
    program.write_text(f"{PROGRAM}\n{imports}\n{names}\n")
    settings = tmp_path / "settings.ini"
    settings.write_text(f"[mypy]\nmypy_path = {ROOT / 'src'}\nignore_missing_imports = True\n")
    cache = str(tmp_path / "cache")
    said, trouble, _ = api.run(["--config-file", str(settings), "--cache-dir", cache, str(program)])
    assert not trouble
    lines = program.read_text().splitlines()
    wrong = {lines[int(s.split(":")[1]) - 1] for s in said.splitlines() if ": error:" in s}
    assert wrong == {line for line in lines if line.endswith("# error")}, said
