"""The API reference, written while the site is built: a line

    names: tracegrad.nn.functional

on a page becomes an entry for each public function and class of that module, unless `tracegrad`
itself has it; `own names:` leaves out what the module imports. Tensor has a page of its own.
Examples in docstrings become blocks of code.
"""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import griffe

import tracegrad

LINE = re.compile(r"^(own )?names: ([\w.]+)$", re.MULTILINE)

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)  # up to an empty line


def fenced(docstring: str) -> str:
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", docstring)


class Examples(griffe.Extension):
    """Fences the examples of every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def origin(value: Any) -> str:
    """The module that defines a function or a class of ours; "" for everything else."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return ""
    module = inspect.unwrap(value).__module__
    return module if module.startswith("tracegrad") else ""


def public(module: ModuleType, own: bool) -> list[str]:
    """The functions and classes that a module offers, by name."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    seen = {} if module is tracegrad else vars(tracegrad)
    found = {n: getattr(module, n) for n in sorted(names)}
    return [
        name
        for name, value in found.items()
        if (origin(value) == module.__name__ if own else origin(value))
        and value is not tracegrad.Tensor
        and seen.get(name) is not value
    ]


def is_defined_by_name(value: Any) -> bool:
    """Whether there is a definition where a value says that it comes from: not of one that a table
    made.
    """
    return hasattr(import_module(origin(value)), inspect.unwrap(value).__qualname__)


def entry(module: ModuleType, name: str) -> str:
    path, value = f"{module.__name__}.{name}", getattr(module, name)
    if is_defined_by_name(value):
        return f"::: {path}.{name}" if path in sys.modules else f"::: {path}"
    signature = f"{name}{inspect.signature(value)}"
    return f"## `{path}`\n\n```python\n{signature}\n```\n\n{fenced(inspect.getdoc(value) or '')}"


def entries(found: re.Match) -> str:
    module = import_module(found[2])
    return "\n\n".join(entry(module, name) for name in public(module, bool(found[1])))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for every page."""
    return LINE.sub(entries, markdown)
