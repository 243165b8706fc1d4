"""The text of a kernel to an LLVM module, in one pass over its syntax tree.

The text is Python over the builtins, and Numba can compile it. But its types are known as it is
read: every builtin says what it gives for the types it takes, and a variable has the type of what
is first assigned to it. So neither bytecode nor type inference is needed, which together with
Numba's lowering take ten times as long. Arithmetic follows Numba's rules: integers are computed in
64 bits, comparisons with NaN are false. But where Numba tells LLVM that integers do not overflow,
they wrap around here.

A loop's step is positive, and a variable has a value where it is read; the rest of Python that
templates do without is refused: a parameter that changes, `else` of a loop, a comparison of three.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache as memo
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import fastmathpass
from numba.core.cpu_options import FastMathOptions

from .external_builtins import called
from .registers import CONTEXT, TYPING, llvm_type, promoted

I64, BIT = ir.IntType(64), ir.IntType(1)


def refusal(node: ast.AST) -> SyntaxError:
    return SyntaxError(f"not a part of kernels: {ast.unparse(node)}")


class Value(NamedTuple):
    """A number: its type, and what it is to LLVM; or in Python, of a literal, which has no type
    until it meets one.
    """

    type: Any
    llvm: Any
    literal: Any = None


def _constant(number: Any) -> Value:
    """A literal: an integer, a float, a bool."""
    if isinstance(number, bool):
        return Value(types.boolean, ir.Constant(BIT, int(number)), number)
    if isinstance(number, int):
        return Value(types.int64, ir.Constant(I64, number), number)
    return Value(types.float64, ir.Constant(ir.DoubleType(), number), number)


@memo
def _kind(number: type) -> Any:
    """The type of NumPy's scalars of that class."""
    return types.boolean if number is np.bool_ else getattr(types, number.__name__)


_SIGNS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
# operators of integers and of floats
_OPERATORS: dict[type, tuple[str, str]] = {
    ast.Add: ("add", "fadd"), ast.Sub: ("sub", "fsub"), ast.Mult: ("mul", "fmul"),
    ast.Div: ("", "fdiv"), ast.BitAnd: ("and_", ""), ast.BitOr: ("or_", ""),
    ast.BitXor: ("xor", ""), ast.RShift: ("ashr", ""),
}
_OF_BITS = ("and_", "or_", "xor")


@memo
def _signature(builtin: Any, given: tuple[Any, ...]) -> tuple[Any, Any]:
    """What an intrinsic gives for arguments of these types, and what writes it."""
    return builtin._defn(TYPING, *given)


class _Translator:
    def __init__(self, tree: ast.FunctionDef, builtins: Mapping[str, Any], name: str):
        self.builtins = builtins
        self.module = ir.Module(name)
        self.libraries: dict[int, Any] = {}  # of builtins that are functions of Numba's
        kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64, I64])
        function = ir.Function(self.module, kind, name)
        entry, body = (function.append_basic_block(name) for name in ("entry", "body"))
        self.b = ir.IRBuilder(body)
        kinds = (types.CPointer(types.int64), types.int64, types.int64, types.int64)
        # the parameters, and the variables that are assigned once, in the block where that is
        self.fixed = {
            argument.arg: Value(kind, x)
            for argument, kind, x in zip(tree.args.args, kinds, function.args, strict=True)
        }
        self.parameters = frozenset(self.fixed)
        self.slots: dict[str, Value] = {}  # of other variables: their type, and where they stand
        self.times = Counter(
            n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )
        self.exits: list[Any] = []  # where `break` goes
        self.block(tree.body)
        self.b.ret_void()
        self.b.position_at_end(entry)
        self.b.branch(body)

    def slot(self, kind: Any) -> Any:
        """Where a variable of that type stands, until LLVM puts it into registers."""
        with self.b.goto_entry_block():
            return self.b.alloca(kind)

    # ---- statements
    def block(self, statements: list[ast.stmt], first: Mapping[str, Value] = {}) -> None:
        outside = self.fixed
        self.fixed = dict(outside)  # what is assigned here is unknown afterwards
        for name, value in first.items():
            self.put(name, value)
        for statement in statements:
            if not self.b.block.is_terminated:
                _of(_STATEMENTS, statement)(self, statement)
        self.fixed = outside

    def assigned(self, statement: ast.Assign | ast.AugAssign | ast.For) -> str:
        """The variable that a statement gives a value."""
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        target = targets[0]
        # `fixed` forgets at the end of a block what was assigned there, and a parameter is not
        # assigned anywhere else
        if len(targets) > 1 or not isinstance(target, ast.Name) or target.id in self.parameters:
            raise refusal(statement)
        return target.id

    def assign(self, statement: ast.Assign) -> None:
        self.put(self.assigned(statement), self.value(statement.value))

    def add_to(self, statement: ast.AugAssign) -> None:
        name = self.assigned(statement)
        self.put(name, self.combined(statement, self.get(name), self.value(statement.value)))

    def put(self, name: str, value: Value) -> None:
        if self.times[name] == 1:
            self.fixed[name] = value
            return
        if name not in self.slots:
            self.slots[name] = Value(value.type, self.slot(value.llvm.type))
        slot = self.slots[name]
        if slot.type is not value.type:
            raise TypeError(f"{name} is {slot.type} and becomes {value.type}")
        self.b.store(value.llvm, slot.llvm)

    def get(self, name: str) -> Value:
        if name in self.fixed:
            return self.fixed[name]
        slot = self.slots[name]
        return Value(slot.type, self.b.load(slot.llvm))

    def for_(self, statement: ast.For) -> None:
        name, loop = self.assigned(statement), statement.iter
        if statement.orelse or not isinstance(loop, ast.Call) or ast.unparse(loop.func) != "range":
            raise refusal(statement)
        spans = [self.as_int64(self.value(x)) for x in loop.args]
        start, stop, step = (
            (ir.Constant(I64, 0), *spans, ir.Constant(I64, 1)) if len(spans) == 1
            else (*spans, ir.Constant(I64, 1)) if len(spans) == 2 else spans
        )
        b, before = self.b, self.b.block
        head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(start, before)
        b.cbranch(b.icmp_signed("<", i, stop), body, after)
        b.position_at_end(body)
        with self.leaving_to(after):
            self.block(statement.body, {name: Value(types.int64, i)})
        if not b.block.is_terminated:
            i.add_incoming(b.add(i, step, flags=("nsw",)), b.block)
            b.branch(head)
        b.position_at_end(after)

    def while_(self, statement: ast.While) -> None:
        if statement.orelse:
            raise refusal(statement)
        b = self.b
        head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(self.condition(statement.test), body, after)
        b.position_at_end(body)
        with self.leaving_to(after):
            self.block(statement.body)
        if not b.block.is_terminated:
            b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def leaving_to(self, after: Any) -> Iterator[None]:
        self.exits.append(after)
        yield
        self.exits.pop()

    def leave(self, statement: ast.Break) -> None:
        self.b.branch(self.exits[-1])

    def evaluate(self, statement: ast.Expr) -> None:
        self.value(statement.value)

    def if_(self, statement: ast.If) -> None:
        with self.b.if_else(self.condition(statement.test)) as (yes, no):
            with yes:
                self.block(statement.body)
            with no:
                self.block(statement.orelse)

    # ---- expressions
    def value(self, node: ast.expr) -> Value:
        return _of(_EXPRESSIONS, node)(self, node)

    def condition(self, node: ast.expr) -> Any:
        return self.truth(self.value(node))

    def truth(self, value: Value) -> Any:
        return CONTEXT.cast(self.b, value.llvm, value.type, types.boolean)

    def as_int64(self, value: Value) -> Any:
        return CONTEXT.cast(self.b, value.llvm, value.type, types.int64)

    def name(self, node: ast.Name) -> Value:
        if node.id in self.fixed or node.id in self.slots:
            return self.get(node.id)
        return _constant(self.builtins[node.id])  # inf, nan

    def unary(self, node: ast.UnaryOp) -> Value:
        x = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return Value(types.boolean, self.b.not_(self.truth(x)))
        assert isinstance(node.op, ast.USub)
        if x.literal is not None:
            return _constant(-x.literal)
        if isinstance(x.type, types.Float):
            return Value(x.type, self.b.fneg(x.llvm))
        to = promoted(x.type, x.type)
        return Value(to, self.b.neg(CONTEXT.cast(self.b, x.llvm, x.type, to)))

    def binary(self, node: ast.BinOp) -> Value:
        return self.combined(node, self.value(node.left), self.value(node.right))

    def combined(self, node: ast.BinOp | ast.AugAssign, x: Value, y: Value) -> Value:
        of_integers, of_floats = _OPERATORS.get(type(node.op), ("", ""))
        to = promoted(x.type, y.type)
        if x.type is y.type is types.boolean and of_integers in _OF_BITS:
            to = types.boolean
        name = of_floats if isinstance(to, types.Float) else of_integers
        if not name:
            raise refusal(node)
        a, b = (CONTEXT.cast(self.b, v.llvm, v.type, to) for v in (x, y))
        return Value(to, getattr(self.b, name)(a, b))

    def compare(self, node: ast.Compare) -> Value:
        if len(node.ops) > 1 or type(node.ops[0]) not in _SIGNS:
            raise refusal(node)
        sign = _SIGNS[type(node.ops[0])]
        x, y = self.value(node.left), self.value(node.comparators[0])
        to = promoted(x.type, y.type)
        a, b = (CONTEXT.cast(self.b, v.llvm, v.type, to) for v in (x, y))
        if isinstance(to, types.Float):
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        else:
            compare = self.b.icmp_signed if to.signed else self.b.icmp_unsigned
        return Value(types.boolean, compare(sign, a, b))

    def both(self, node: ast.BoolOp) -> Value:
        """`and`, `or`: what stands on the right is computed only if it matters."""
        first, *rest = node.values
        held = self.slot(BIT)
        self.b.store(self.condition(first), held)
        for x in rest:
            before = self.b.load(held)
            needed = before if isinstance(node.op, ast.And) else self.b.not_(before)
            with self.b.if_then(needed):
                self.b.store(self.condition(x), held)
        return Value(types.boolean, self.b.load(held))

    def choice(self, node: ast.IfExp) -> Value:
        with self.b.if_else(self.condition(node.test)) as (yes, no):
            with yes:
                x = self.value(node.body)
                slot = self.slot(x.llvm.type)
                self.b.store(x.llvm, slot)
            with no:
                y = self.value(node.orelse)
                if x.type is not y.type:
                    raise TypeError(f"a choice of {x.type} and {y.type}")
                self.b.store(y.llvm, slot)
        return Value(x.type, self.b.load(slot))

    def call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name):
            raise refusal(node)
        builtin = self.builtins[node.func.id]
        given = [self.value(x) for x in node.args]
        if isinstance(builtin, type):
            return self.converted(given[0], _kind(builtin))
        if not hasattr(builtin, "_defn"):
            library, entry, to = called(builtin, tuple(x.type for x in given))
            self.libraries[id(library)] = library
            kind = ir.FunctionType(llvm_type(to), [x.llvm.type for x in given])
            callee = self.module.globals.get(entry) or ir.Function(self.module, kind, entry)
            return Value(to, self.b.call(callee, [x.llvm for x in given]))
        literal = builtin._prefer_literal
        signature, write = _signature(builtin, tuple(
            types.literal(x.literal) if literal and x.literal is not None else x.type for x in given
        ))
        new = write(CONTEXT, self.b, signature, [x.llvm for x in given])
        return Value(signature.return_type, new)

    def converted(self, x: Value, to: Any) -> Value:
        """A number called with another, as NumPy's classes are."""
        if x.literal is not None and isinstance(to, types.Float):
            number = np.float32(x.literal) if to is types.float32 else x.literal
            return Value(to, ir.Constant(llvm_type(to), float(number)))
        return Value(to, CONTEXT.cast(self.b, x.llvm, x.type, to))


_STATEMENTS: dict[type, Callable[[_Translator, Any], None]] = {
    ast.Assign: _Translator.assign,
    ast.AugAssign: _Translator.add_to,
    ast.For: _Translator.for_,
    ast.While: _Translator.while_,
    ast.If: _Translator.if_,
    ast.Expr: _Translator.evaluate,
    ast.Break: _Translator.leave,
    ast.Pass: lambda self, statement: None,
}
_EXPRESSIONS: dict[type, Callable[[_Translator, Any], Value]] = {
    ast.Name: _Translator.name,
    ast.Constant: lambda self, node: _constant(node.value),
    ast.UnaryOp: _Translator.unary,
    ast.BinOp: _Translator.binary,
    ast.Compare: _Translator.compare,
    ast.BoolOp: _Translator.both,
    ast.IfExp: _Translator.choice,
    ast.Call: _Translator.call,
}


def _of(table: dict[type, Any], node: ast.AST) -> Any:
    if type(node) not in table:
        raise refusal(node)
    return table[type(node)]


def translated(
    text: str, name: str, builtins: Mapping[str, Any], flags: set[str]
) -> tuple[str, list[Any]]:
    """An LLVM module with the function of that text, and the libraries it calls; `flags` are those
    of its arithmetic on floats that has none.
    """
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.FunctionDef)
    made = _Translator(tree, builtins, name)
    if flags:
        fastmathpass.rewrite_module(made.module, FastMathOptions(flags))
    return str(made.module), list(made.libraries.values())
