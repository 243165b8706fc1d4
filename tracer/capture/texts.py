"""Texts that a traced function prints: f-strings with values that are read at each call.

An f-string that stands among the arguments of a `print` statement is seen by nobody else. So there
a value is replaced by a mark, and the text is put together at each call. Every other text needs the
value as a constant.
"""

from __future__ import annotations

import ast
import linecache
import opcode
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

from ...ir.node import is_ours
from ..mode import in_trace

_MARK = "\ue0f0"  # for private use: no text of a user has it
_FORMATS = {"FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"}
Values = list[tuple[Any, str]]  # values that stand in texts, with how to format them


def mark(values: Values, value: Any, spec: str) -> str | None:
    """The mark for a value that an f-string formats now; None if the text may go elsewhere than to
    `print`.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None or _MARK in spec:
        return None
    code = frame.f_code
    if opcode.opname[code.co_code[frame.f_lasti]] not in _FORMATS:
        return None
    if "print" in frame.f_locals or "print" in frame.f_globals:
        return None
    with in_trace(None):  # what is read here is not read by the function
        if not _only_printed(code.co_filename, frame.f_lineno):
            return None
    values.append((value, spec))
    return f"{_MARK}{len(values) - 1}{_MARK}"


@lru_cache(1000)
def _only_printed(file: str, line: int) -> bool:
    """Whether all f-strings on a line of a file are arguments of `print` statements."""
    texts = [spans for spans in _texts(file) if spans[0] <= line <= spans[1]]
    return bool(texts) and all(printed for _, _, printed in texts)


@lru_cache(20)
def _texts(file: str) -> list[tuple[int, int, bool]]:
    """The f-strings in a file: first line, last line, whether it is an argument of `print`."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return []
    printed = {id(text) for text in _arguments(tree) if not _nested(text)}
    return [
        (node.lineno, node.end_lineno or node.lineno, id(node) in printed)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and _has_values(node)
    ]


def _arguments(tree: ast.AST) -> Iterator[ast.JoinedStr]:
    """The f-strings that are arguments of statements `print(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(call := node.value, ast.Call):
            if isinstance(call.func, ast.Name) and call.func.id == "print":
                yield from (a for a in call.args if isinstance(a, ast.JoinedStr))


def _has_values(text: ast.JoinedStr) -> bool:
    return any(isinstance(part, ast.FormattedValue) for part in text.values)


def _nested(text: ast.JoinedStr) -> bool:
    """Whether another f-string with values stands inside."""
    inside = (node for node in ast.walk(text) if node is not text)
    return any(isinstance(node, ast.JoinedStr) and _has_values(node) for node in inside)


def printing(
    original: Callable, values: Values, args: tuple, kwargs: dict
) -> tuple[Callable, tuple, dict]:
    """A call of `print`, to be made at each call: a function, and its arguments."""
    if not any(type(a) is str and _MARK in a for a in args):
        return original, args, kwargs
    templates: list[list[str]] = []
    operands: list[Any] = []
    for a in args:
        parts = a.split(_MARK) if type(a) is str else [""]
        for k in range(1, len(parts), 2):
            number = int(parts[k])
            value, parts[k] = values[number]
            operands.append(value)
            values[number] = None, ""
        if len(parts) == 1:
            operands.append(a)
        templates.append(parts)
    return partial(_print, original, templates), tuple(operands), kwargs


def _print(original: Callable, templates: list[list[str]], *operands: Any, **kwargs: Any) -> None:
    """Print texts: what is at odd places of a template is how to format the next operand. A
    template of one part stands for the operand itself.
    """
    waiting = iter(operands)
    texts = [
        next(waiting) if len(parts) == 1 else "".join(
            format(next(waiting), part) if k % 2 else part for k, part in enumerate(parts)
        )
        for parts in templates
    ]
    original(*texts, **kwargs)


def unprinted(values: Values) -> list[Any]:
    """Values whose mark did not reach `print`."""
    return [value for value, _ in values if value is not None]
