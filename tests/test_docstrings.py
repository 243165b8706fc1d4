"""Public names are documented: shapes, errors and an example that runs.

The examples use the names that a user has: `import tracegrad as torch`, `nn`, `F`, `optim`.
"""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from functools import reduce
from types import FunctionType, ModuleType
from typing import Any

import pytest

import tracegrad
from tracegrad import nn, optim

MODULES = (
    "tracegrad", "tracegrad.autograd", "tracegrad.autograd.functional", "tracegrad.cuda",
    "tracegrad.func", "tracegrad.linalg", "tracegrad.masked", "tracegrad.nn",
    "tracegrad.nn.functional", "tracegrad.nn.init", "tracegrad.nn.utils", "tracegrad.optim",
    "tracegrad.optim.lr_scheduler", "tracegrad.special", "tracegrad.testing",
    "tracegrad.utils.checkpoint",
)  # fmt: skip

# the names that are used most; elementwise functions of one row of a table are all here
NAMES = {
    "": """
        %s
    """,
}


def public(module: ModuleType) -> dict[str, Any]:
    """What a module offers: no modules, nothing private, nothing from elsewhere."""
    found = {}
    for name in getattr(module, "__all__", dir(module)):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or ""
        if name[0] != "_" and isinstance(value, (type, FunctionType)):
            if home.startswith("tracegrad"):
                found[name] = value
    return found


def documented() -> Iterator[tuple[str, Any]]:
    """Every public object once, by the first of its names; methods of Tensor last."""
    seen: set[str] = set()
    places: list[tuple[str, dict]] = [
        (name, public(importlib.import_module(name))) for name in MODULES
    ]
    places.append(("Tensor", {n: f for n, f in vars(tracegrad.Tensor).items() if n[0] != "_"}))
    for place, names in places:
        for name, value in names.items():
            doc = getattr(value, "__doc__", None)
            if doc and doc not in seen:
                seen.add(doc)
                yield f"{place}.{name}", value


EXAMPLES = {name: value for name, value in documented() if ">>>" in value.__doc__}


def namespace() -> dict[str, Any]:
    return {
        "torch": tracegrad, "tracegrad": tracegrad, "nn": nn, "F": nn.functional, "optim": optim,
    }  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_and_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracegrad.manual_seed(0)
    finder, said = doctest.DocTestFinder(recurse=isinstance(EXAMPLES[name], type)), []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(EXAMPLES[name], name, module=False, globs=namespace()):
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert runner.tries


def text_of(path: str) -> str:
    return reduce(getattr, path.split("."), tracegrad).__doc__ or ""


LISTED = [f"{space}.{n}".lstrip(".") for space, names in NAMES.items() for n in names.split()]


@pytest.mark.parametrize("path", LISTED)
def test_a_name_that_is_used_much_says_its_shapes_errors_and_an_example(path):
    text = text_of(path)
    missing = [word for word in ("Shape", "Raises", ">>>") if word not in text]
    assert not missing, text


def test_the_list_has_the_200_most_used_names():
    assert len(set(LISTED)) == len(LISTED) >= 200
