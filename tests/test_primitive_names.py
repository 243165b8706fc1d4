"""Only a primitive's record, and the row for it in a backend's table, spell its name.

Reads the source with `ast` and finds

- a record looked up by a name that is spelled out, as `REGISTRY["dot"]`;
- a record's name that is used for anything but text that people read, as `op.name == "dot"` or
  `TABLE[op.name]`: compare records, key tables by record, or give the record a field;
- in the compiler (ir, tracer, codegen, runtime) any string that is a primitive's name. Some such
  strings mean something else: `MEANT_OTHERWISE` has a row for each.

tracegrad/ is exempt from the last rule: its strings are torch's public names, and parameters. A
public name that is one primitive stands in the record (`OpDef.public`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from inspect import signature, unwrap
from pathlib import Path
from types import FunctionType

import pytest
from test_import_law import ROOMS, ROOT, python_files

import tracegrad
from tracegrad.functions import namespace
from tracegrad.ir.value import REGISTRY, Value

RECORDS = Path("ir/ops")
BACKENDS = Path("runtime/cpu/builtins.py"), Path("runtime/cuda/device_functions.py")
COMPILER = ("ir", "tracer", "codegen", "runtime")
LOOKUPS = ("REGISTRY", "primitive")  # from a name to its record

# file -> strings that are no primitive there, and what they are
MEANT_OTHERWISE: dict[str, tuple[str, str]] = {
    "codegen/cuda/order.py": ("length argsort top", "key of a number; names of kernels"),
    "codegen/cuda/points.py": ("copy fold", "names of kernels"),
    "codegen/cuda/product.py": ("sum", "operand of an epilogue"),
    "codegen/cuda/scans.py": ("length band", "key of a number; name of a kernel"),
    "codegen/gemm/epilogue.py": ("sum", "operand of an epilogue: a number of the product"),
    "codegen/gemm/finish.py": ("sum", "operand of an epilogue"),
    "codegen/loop_launches.py": ("length", "parameter of a loop"),
    "codegen/program_file.py": ("input", "kind of a buffer"),
    "codegen/program_parts.py": ("input", "kind of a buffer"),
    "codegen/templates/buffer_parts.py": ("copy fold", "names of kernels"),
    "codegen/templates/column.py": ("sum", "key of a value: the sum so far"),
    "codegen/templates/lapack.py": ("full", "parameter of svd"),
    "codegen/templates/prefix.py": ("length", "key of a number: the length of the axis"),
    "codegen/templates/sorting.py": ("length argsort searchsorted top", "key; names of kernels"),
    "ir/dtype.py": ("i1", "code of NumPy for int8"),
    "ir/hoist.py": ("length", "parameter of a loop"),
    "ir/loops.py": ("length", "parameter of a loop"),
    "ir/op.py": ("index", "kind of primitive"),
    "ir/rolling/bodies.py": ("length", "parameter of a loop"),
    "ir/unread_factors.py": ("full", "parameter of svd"),
    "runtime/cpu/arithmetic.py": ("sqrt", "function of LLVM"),
    "runtime/cpu/coefficients.py": (
        "asin atan cos digamma erf erfcx exp lgamma log sin sinh", "names of polynomials"),
    "runtime/cpu/compiler.py": ("squares", "name of a file"),
    "runtime/cpu/intrinsics.py": ("i1", "code of a type"),
    "runtime/cpu/python_builtins.py": ("i1", "code of a type"),
    "runtime/cpu/real.py": ("sqrt", "function of LLVM"),
    "runtime/cpu/translator.py": ("add sub mul", "operations of LLVM"),
    "runtime/cuda/builtins.py": ("i1 max min prod sum", "code of a type; exchanges"),
    "runtime/cuda/device_memory.py": ("i1", "code of a type"),
    "runtime/cuda/exchanges.py": ("i1 max prod sum", "code of a type; exchanges"),
    "runtime/cuda/host_launch.py": ("input", "kind of a buffer"),
    "runtime/cpu/vector_angle.py": (
        "asin atan cos sin tan", "names of polynomials and functions of C"),
    "runtime/cpu/vector_error.py": ("erf erfcx", "names of polynomials"),
    "runtime/cpu/vector_gamma.py": ("digamma lgamma", "names of polynomials"),
    "runtime/cpu/vector_math.py": ("exp log sinh", "names of polynomials"),
    "tracer/autograd/graph.py": ("index", "attribute"),
    "tracer/capture/code_names.py": ("add", "method of set"),
    "tracer/capture/scalar.py": (
        "add sub mul pow neg abs round trunc floor ceil lt le eq ne gt ge", "operators of Python"),
    "tracer/capture/type_version.py": ("sub", "a subclass"),
    "tracer/tensor/device.py": ("index", "attribute"),
    "tracer/tensor/placement.py": ("index_put", "a function of torch"),
    "tracer/tensor/printing.py": ("full", "profile of printing"),
    "tracer/capture/values.py": ("index", "a way to ask for a value"),
    "tracer/loops/iterations.py": ("length", "parameter of a loop"),
}

# where a name is text though no f-string shows it
TEXT = {
    "codegen/schedule/groups.py": 2,  # a template's name, the note on a fusion
    "codegen/templates/lapack.py": 1,  # a kernel's name
    "tracer/tensor/dispatch.py": 1,  # torch's words of refusal
}


def named(node: ast.AST) -> str:
    """What a name or an attribute is called."""
    return getattr(node, "id", None) or getattr(node, "attr", "")


def is_name_of_record(node: ast.AST) -> bool:
    """Whether it is `op.name` or `x.op.name`."""
    return isinstance(node, ast.Attribute) and node.attr == "name" and named(node.value) == "op"


def lookup(node: ast.AST) -> ast.expr | None:
    """What a record is looked up by, if that is what is done."""
    if isinstance(node, ast.Subscript) and named(node.value) in LOOKUPS:
        return node.slice
    if isinstance(node, ast.Call) and node.args:
        f = node.func
        got = isinstance(f, ast.Attribute) and f.attr == "get" and named(f.value) in LOOKUPS
        return node.args[0] if got or named(f) in LOOKUPS else None
    return None


def decisions(tree: ast.AST) -> Iterator[int]:
    """Lines that take a record's name for anything but text or to enter it in the registry."""
    fine: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fine.update(ast.walk(node))
        elif (by := lookup(node)) is not None:
            fine.add(by)
        elif isinstance(node, ast.Compare) and named(node.comparators[-1]) in LOOKUPS:
            fine.add(node.left)
    for node in ast.walk(tree):
        if is_name_of_record(node) and node not in fine:
            yield node.lineno


def spelled_lookups(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(lookup(node), ast.Constant):
            yield node.lineno


def names_spelled(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Strings that are names of primitives, or several of them; parts of an f-string are text."""
    f_strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    text = {part for node in f_strings for part in node.values}
    for node in ast.walk(tree):
        if node not in text and isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.split()
            if words and all(word in REGISTRY for word in words):
                yield from ((node.lineno, word) for word in words)


def sources(*rooms: str) -> Iterator[tuple[Path, ast.AST]]:
    for path in python_files(*rooms):
        if RECORDS not in path.parents:
            yield path, ast.parse((ROOT / path).read_text())


def test_no_record_is_looked_up_by_a_name_that_is_spelled_out():
    assert [f"{p}:{line}" for p, tree in sources(*ROOMS) for line in spelled_lookups(tree)] == []


def test_names_of_records_are_text_alone():
    for path, tree in sources(*ROOMS):
        lines = list(decisions(tree))
        assert len(lines) == TEXT.get(str(path), 0), f"{path}: a record's name is used in {lines}"


def test_the_compiler_spells_no_name_of_a_primitive():
    found, met = [], {}
    for path, tree in sources(*COMPILER):
        words, _ = MEANT_OTHERWISE.get(str(path), ("", ""))
        for line, word in names_spelled(tree) if path not in BACKENDS else ():
            met.setdefault(str(path), set()).add(word)
            if word not in words.split():
                found.append(f"{path}:{line} {word!r}")
    assert found == [], "use the record, or say in MEANT_OTHERWISE what it is"
    assert met == {path: set(words.split()) for path, (words, _) in MEANT_OTHERWISE.items()}


class Operand(Value):
    """Answers an operation with the record of its primitive, and the operands."""

    @classmethod
    def bind(cls, op, inputs, params):
        return op, inputs


def applied(function):
    """The record of the primitive that a function applies to its operands, if it does no more and
    has no options.
    """
    parameters = signature(function).parameters.values()
    operands = tuple(Operand() for p in parameters if p.default is p.empty)
    if len(operands) < len(parameters):
        return None
    with suppress(Exception):
        op, inputs = function(*operands)
        return op if inputs == operands else None


PUBLIC = {path: op for op in REGISTRY.values() for path in op.public}


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_name_of_a_record_is_that_primitive(path):
    space, _, name = path.rpartition(".")
    function = getattr(getattr(tracegrad, space) if space else tracegrad, name)
    assert applied(unwrap(function)) is PUBLIC[path]


def test_a_function_that_is_one_primitive_has_its_name_in_the_record():
    functions = {n: f for n, f in vars(namespace).items() if isinstance(f, FunctionType)}
    missing = [n for n, f in functions.items() if (op := applied(f)) and n not in op.public]
    assert missing == []


@pytest.mark.parametrize(
    "source, finder",
    [
        ('x = REGISTRY["dot"]', spelled_lookups),
        ('x = REGISTRY.get("dot")', spelled_lookups),
        ('x = primitive("dot")', spelled_lookups),
        ('if node.op.name == "dot": pass', decisions),
        ("if op.name in TABLE: pass", decisions),
        ("x = TABLE[node.op.name]", decisions),
        ("name = op.name", decisions),
        ('match op.name:\n    case "dot": pass', decisions),
        ('TABLE = {"dot": 1}', names_spelled),
        ('TABLE = "abs floor".split()', names_spelled),
    ],
)
def test_a_planted_name_is_found(source, finder):
    assert list(finder(ast.parse(source)))


@pytest.mark.parametrize("source", ['f"{op.name} of {x.op.name}"', "REGISTRY[op.name] = op",
                                    "op.name in REGISTRY", "x = REGISTRY[name]", "op is dot",
                                    'x = "a dot"'])
def test_what_is_no_spelled_name_passes(source):
    tree = ast.parse(source)
    assert not [*spelled_lookups(tree), *decisions(tree), *names_spelled(tree)]
