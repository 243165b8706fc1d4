"""Stub files for what tables make: `python -m tests.stubs` writes them anew.

A type checker and an editor read the source, and cannot know a function that `accept` gave an
`out`, a layer made from a row of a table, or a method that is attached to Tensor. For those modules
a stub says every public name with its signature, as Python knows it at run time. A name that the
source defines in the ordinary way is imported from there.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import tracegrad
from tracegrad import return_types
from tracegrad.ir.dtype import DType
from tracegrad.ir.value import Value
from tracegrad.nn import Module
from tracegrad.refusals import Refused
from tracegrad.torch_modules import HOMES, PATHS

ROOT = Path(__file__).parent.parent
STUBS = {
    "tracegrad": "tracegrad/__init__.pyi",
    "tracegrad.linalg": "tracegrad/linalg.pyi",
    "tracegrad.masked": "tracegrad/masked.pyi",
    "tracegrad.nn": "tracegrad/nn/__init__.pyi",
    "tracegrad.nn.functional": "tracegrad/nn/functional.pyi",
    "tracegrad.return_types": "tracegrad/return_types.pyi",
    "tracegrad.special": "tracegrad/special.pyi",
}
METHODS = "tracer/tensor/attached_methods.pyi"
_AUGMENTED = "add and floordiv lshift mod mul or pow rshift sub truediv xor"
UNTYPED = {"__getattr__", *(f"__i{name}__" for name in _AUGMENTED.split())}
# functions whose named result comes with a dimension alone
SOMETIMES = ("max", "median", "min", "nanmedian")
# of the package: modules that are imported at their first use, and names that lie in them
LAZY = [p for p, here in PATHS.items() if p == here and "." not in p and p[0] != "_"]
LAZY += [n for n in HOMES if "." not in n]
HEAD = '"""Written by `python -m tests.stubs`."""\n\n'
_KNOWN = {
    "Any": "typing", "Self": "typing", "Callable": "collections.abc", "Iterable": "collections.abc",
    "Iterator": "collections.abc", "Sequence": "collections.abc", "Mapping": "collections.abc",
}
_PLAIN = (type(None), bool, int, float, str)


@lru_cache
def defined(module: str) -> frozenset[str]:
    """The names that the source of a module defines by `def` or `class`."""
    tree = ast.parse(Path(sys.modules[module].__file__ or "").read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


@lru_cache
def home_of_alias(name: str) -> str:
    """The module that says `name = ...` of types, first in the order of the alphabet."""
    for module in sorted(m for m in sys.modules if m.startswith("tracegrad")):
        path = Path(getattr(sys.modules[module], "__file__", None) or "")
        if path.suffix == ".py" and re.search(rf"^{name} = ", path.read_text(), re.M):
            return module
    raise LookupError(f"{name}: which module defines it?")


def names_of(module: ModuleType) -> list[str]:
    """The public names: `__all__`, or all that is not a module or from another package."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    space = module.__name__.removeprefix("tracegrad").lstrip(".")
    homes = [n.rpartition(".")[2] for n in HOMES if n.rpartition(".")[0] == space]
    homes = [] if space == "nn.functional" else homes  # helpers for packages, not for users
    names = LAZY if module is tracegrad else homes
    lazy = {n for n in names if type(getattr(module, n)) is not Refused}
    here = {name for name, value in vars(module).items() if _offered(module, name, value)}
    return sorted(lazy | (here - set(homes)))


def _offered(module: ModuleType, name: str, value: Any) -> bool:
    if name.startswith("_") and name != "__version__":
        return False
    if isinstance(value, ModuleType):
        source = ast.parse(Path(module.__file__ or "").read_text())
        imports = (n for n in source.body if isinstance(n, ast.ImportFrom))
        return any((a.asname or a.name) == name for n in imports for a in n.names)
    home = getattr(value, "__module__", None) or "tracegrad"
    return home.startswith("tracegrad") and name not in ("TYPE_CHECKING", "annotations")


def with_out(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """With the `out` that `accept` gives a public function, before any `**options`."""
    out = inspect.Parameter(
        "out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any"
    )
    kept = [p for p in parameters if p.name != "out"]
    return sorted((*kept, out), key=lambda p: p.kind is p.VAR_KEYWORD)


class Stub:
    """The text of one stub and the imports that it needs."""

    def __init__(self, module: str, taken: list[str]):
        self.module, self.taken = module, set(taken)
        self.imports: set[str] = set()
        self.lines: list[str] = []

    # ---- annotations
    def annotation(self, text: Any, scope: dict[str, Any]) -> str:
        """An annotation with every name in it imported."""
        if text is inspect.Parameter.empty:
            return ""
        if not isinstance(text, str):
            text = inspect.formatannotation(text).replace("tracegrad.Tensor", "Tensor")
        pattern = r"(?<![\w.'\"])[A-Za-z_]\w*"
        return re.sub(pattern, lambda m: self.name(m.group(), scope), text)

    def name(self, name: str, scope: dict[str, Any]) -> str:
        if name in ("None", "True", "False"):
            return name
        if hasattr(builtins, name):
            if name not in self.taken:
                return name
            self.imports.add("import builtins")
            return f"builtins.{name}"
        if name == "np":
            self.imports.add("import numpy as np")
        elif name in _KNOWN:
            self.imports.add(f"from {_KNOWN[name]} import {name}")
        elif name not in self.taken or self.module != "tracegrad":
            self.imports.add(f"from {self.home(name, scope)} import {name}")
        return name

    def home(self, name: str, scope: dict[str, Any]) -> str:
        """The module that defines a class or an alias of types."""
        value = scope[name]
        if value is tracegrad.Tensor:
            return "tracegrad.tracer.tensor.tensor"
        if isinstance(value, type) and value.__name__ in defined(value.__module__):
            return value.__module__
        return home_of_alias(name)

    # ---- signatures
    def signature(self, function: Any, *, method: bool = False, returns: str = "") -> str:
        """What stands between the name of a function and `: ...`."""
        found, inner = inspect.signature(function), inspect.unwrap(function)
        scope = inner.__globals__
        parameters = list(found.parameters.values())[method:]
        if getattr(function, "writes_out", ""):
            parameters = with_out(parameters)
        answer = returns or self.annotation(found.return_annotation, scope) or "Any"
        if answer == "Any":
            answer = self.result(inner.__name__)
        return f"({self.arguments(parameters, scope, method)}) -> {answer}"

    def arguments(self, parameters: list[inspect.Parameter], scope: dict, method: bool) -> str:
        given = ["self"] if method else []
        marked = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY and not marked:
                marked = True
                given.append("*")
            given.append(self.parameter(p, scope))
        return ", ".join(given)

    def result(self, function: str) -> str:
        """The named tuple that a function without an annotation always returns, or Any."""
        space = "linalg_" if self.module == "tracegrad.linalg" else ""
        name = space + function.removeprefix("linalg_")
        if name in return_types.__all__ and name not in SOMETIMES:
            self.imports.add("from tracegrad import return_types")
            return f"return_types.{name}"
        self.imports.add("from typing import Any")
        return "Any"

    def definitions(self, name: str, function: Any, method: bool = False) -> list[str]:
        """One `def`, or two where numbers may also be given one by one."""
        operator = "Tensor" if function.__name__ in ("<lambda>", "operator") else ""
        one = self.signature(function, method=method, returns=operator)
        spread = getattr(function, "spreads", "")
        if not spread:
            return [f"def {name}{one}: ..."]
        self.imports.add("from typing import overload")
        number = self.name("int", {})
        taken = rf"\w+: tuple\[{re.escape(number)}, \.\.\.\]"
        several = re.sub(taken, f"*{spread}: {number}", one)
        sequence = re.sub(taken, f"{spread}: Sequence[{number}]", one)
        self.imports.add("from collections.abc import Sequence")
        return [
            line for text in (sequence, several) for line in ("@overload", f"def {name}{text}: ...")
        ]

    def parameter(self, p: inspect.Parameter, scope: dict[str, Any]) -> str:
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        kind = self.annotation(p.annotation, scope)
        if not kind:
            kind = "Any"
        if kind == "Any":
            self.imports.add("from typing import Any")
        text = f"{star}{p.name}: {kind}"
        if p.default is p.empty:
            return text
        plain = isinstance(p.default, _PLAIN) or p.default in ((), (0, 1), (-2, -1))
        finite = not isinstance(p.default, float) or abs(p.default) < float("inf")
        return f"{text} = {p.default!r}" if plain and finite else f"{text} = ..."

    # ---- entries
    def entry(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            self.offer(*value.__name__.rsplit(".", 1), name)
        elif isinstance(value, type):
            self.type(name, value)
        elif isinstance(value, FunctionType):
            self.function(name, value)
        else:
            kind = type(value)
            text = kind.__name__ if kind.__module__ == "builtins" else self.constant(kind)
            text = "None" if value is None else text
            self.lines.append(f"{name}: {self.name(text, {}) if hasattr(builtins, text) else text}")

    def offer(self, home: str, own: str, name: str) -> None:
        """A name from another module: `import a as a` makes it public, `import a as b` does not."""
        if own == name:
            self.imports.add(f"from {home} import {own} as {own}")
        else:
            self.imports.add(f"from {home} import {own} as _{own}")
            self.lines.append(f"{name} = _{own}")

    def constant(self, kind: type) -> str:
        if kind is DType:
            return "dtype"
        self.imports.add(f"from {kind.__module__} import {kind.__name__}")
        return kind.__name__

    def function(self, name: str, value: FunctionType) -> None:
        """Where the source has a plain definition of what Python has, that one."""
        home = value.__module__
        plain = not hasattr(value, "writes_out") and home != self.module
        if plain and value.__name__ in defined(home):
            self.offer(home, value.__name__, name)
        else:
            self.lines += self.definitions(name, value)

    def type(self, name: str, value: type) -> None:
        home = value.__module__
        if value is tracegrad.Tensor:
            home = "tracegrad.tracer.tensor.tensor"
        if value.__name__ in defined(home):
            self.offer(home, value.__name__, name)
        elif issubclass(value, Module):
            self.imports.add("from tracegrad.nn.module import Module")
            self.lines.append(f"class {name}(Module):")
            options = list(inspect.signature(value).parameters.values())
            given = self.arguments(options, vars(sys.modules[home]), True)
            self.lines.append(f"    def __init__({given}) -> None: ...")
        elif fields := getattr(value, "_fields", ()):
            self.imports |= {"from typing import NamedTuple", "from tracegrad import Tensor"}
            self.lines.append(f"class {name}(NamedTuple):")
            self.lines += (f"    {field}: Tensor" for field in fields)
        else:  # the old names of tensors of one dtype
            self.imports.add("from typing import Any")
            self.lines.append(f"class {name}(Tensor):")
            self.lines.append("    def __init__(self, *args: Any) -> None: ...")

    def text(self) -> str:
        body = "\n".join(self.lines)
        twice = {line.rpartition(" as ")[0] for line in self.imports if " as _" not in line}
        imports = sorted(self.imports - twice)
        return HEAD + "\n".join(imports) + ("\n\n" + body if body else "") + "\n"


def stub(module: str) -> str:
    found = importlib.import_module(module)
    names = names_of(found)
    writer = Stub(module, names)
    for name in names:
        writer.entry(name, getattr(found, name))
    return writer.text()


def methods() -> str:
    """The methods and properties that functions/methods.py attaches to Tensor."""
    here = set(_class_names(ROOT / "tracer/tensor/tensor.py", "Tensor"))
    both = {n: f for n, f in vars(Value).items() if n.startswith("__")} | vars(tracegrad.Tensor)
    attached = {
        name: value for name, value in both.items()
        if name not in here and callable_or_property(value) and wanted(name)
    }
    writer = Stub("attached_methods", list(attached))
    writer.imports.add("from tracegrad.ir.value import Value")
    writer.imports.add("from tracegrad.tracer.tensor.tensor import Tensor")
    writer.lines.append("class Methods(Value):")
    for name in sorted(attached):
        value = attached[name]
        if isinstance(value, property):
            kind = {"itemsize": "int", "nbytes": "int"}.get(name, "Tensor")
            kind = kind if kind == "Tensor" else writer.name(kind, {})
            writer.lines += ["    @property", f"    def {name}(self) -> {kind}: ..."]
            if value.fset:
                writer.lines.append(f"    @{name}.setter")
                writer.lines.append(f"    def {name}(self, new: Tensor) -> None: ...")
        elif isinstance(value, staticmethod):
            signature = writer.signature(value.__func__)
            writer.lines += ["    @staticmethod", f"    def {name}{signature}: ..."]
        else:
            writer.lines += (f"    {line}" for line in writer.definitions(name, value, True))
    return writer.text()


def callable_or_property(value: Any) -> bool:
    return isinstance(value, (FunctionType, property, staticmethod))


def wanted(name: str) -> bool:
    """Names for users, and what operators and protocols call; `x += y` is typed as `x + y`."""
    if not name.startswith("_"):
        return True
    inherited = hasattr(object, name) and name not in ("__eq__", "__ne__")
    return name.startswith("__") and not inherited and name not in UNTYPED


def _class_names(path: Path, name: str) -> list[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = []
            for n in node.body:
                if isinstance(n, ast.FunctionDef):
                    found.append(n.name)
                elif isinstance(n, ast.Assign):
                    found += [t.id for t in n.targets if isinstance(t, ast.Name)]
            return found
    raise LookupError(name)


def texts() -> dict[str, str]:
    """Path of each stub -> what it should say."""
    return {path: stub(module) for module, path in STUBS.items()} | {METHODS: methods()}


if __name__ == "__main__":
    for path, text in texts().items():
        (ROOT / path).write_text(text)
