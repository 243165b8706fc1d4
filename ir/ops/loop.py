"""Loops and branches: primitives with bodies, which are Graphs.

A Node is one value, so a loop of several results is several Nodes of the same operands and the same
body object, which differ in `result` only. The operands are, in this order: the initial carries,
values with a leading axis of which each iteration has a slice, and constants. A body has an input
for each of them, and gives the new carries, then what is stacked. It closes over nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dtype import DType, bool_
from ..op import Kind, OpDef, ShapeError, register

Type = tuple[tuple[int, ...], DType]
Run = Callable[..., tuple[np.ndarray, ...]]  # run(body, *arrays): its outputs


def _types(values: Sequence[Any]) -> list[Type]:
    return [(tuple(x.shape), x.dtype) for x in values]


def _fit(name: str, what: str, wanted: list[Type], actual: list[Type]) -> None:
    """Raise unless the values have the shapes and dtypes that are wanted."""
    if len(wanted) != len(actual):
        raise TypeError(f"{name}: {len(wanted)} {what} expected, got {len(actual)}")
    for k, (one, other) in enumerate(zip(wanted, actual, strict=True)):
        if one != other:
            texts = [f"{dtype.name}{list(shape)}" for shape, dtype in (one, other)]
            raise ShapeError(f"{name}: {what} {k} is {texts[1]}, but should be {texts[0]}")


def _stack(rows: list[np.ndarray], extent: int, like: Any) -> np.ndarray:
    """The rows along a new first axis of this extent; zeros where there are none."""
    out = np.zeros((extent, *like.shape), like.dtype.storage)
    for k, row in enumerate(rows):
        out[k] = row
    return out


# ---- a known number of iterations
def _loop_infer(*operands: Any, body: Any, carried: int, sliced: int, length: int, reverse: bool,
                result: int) -> Type:
    types = _types(operands)
    for k, (shape, _) in enumerate(types[carried : carried + sliced]):
        if shape[:1] != (length,):
            raise ShapeError(f"loop: sliced operand {k} has the shape {list(shape)}, but there are "
                             f"{length} iterations")
    inputs = [(shape[1:], dtype) if carried <= k < carried + sliced else (shape, dtype)
              for k, (shape, dtype) in enumerate(types)]
    _fit("loop", "operands", _types(body.inputs), inputs)
    _fit("loop", "new carries", types[:carried], _types(body.outputs[:carried]))
    shape, dtype = _types(body.outputs)[result]
    return (shape if result < carried else (length, *shape)), dtype


def _loop(run: Run, *arrays: np.ndarray, body: Any, carried: int, sliced: int, length: int,
          reverse: bool, **_: Any) -> Iterator[np.ndarray]:
    carries, constants = arrays[:carried], arrays[carried + sliced :]
    rows: list[list[np.ndarray]] = [[] for _ in body.outputs[carried:]]
    for i in range(length)[:: -1 if reverse else 1]:
        slices = [np.asarray(x[i]) for x in arrays[carried : carried + sliced]]
        outputs = run(body, *carries, *slices, *constants)
        carries = outputs[:carried]
        for stacked, row in zip(rows, outputs[carried:], strict=True):
            stacked.append(row)
    yield from carries
    for stacked, y in zip(rows, body.outputs[carried:], strict=True):
        yield _stack(stacked[:: -1 if reverse else 1], length, y)


# loop(*operands, body=, carried=, sliced=, length=, reverse=, result=): `length` iterations, the
# last index first if `reverse`. Result k is the last value of carry k, or else what iterations gave
# along a new first axis, in the order of the index.
loop = register(OpDef("for_loop", Kind.LOOP, _loop, _loop_infer, bodies=("body",)))


# ---- as long as a condition holds
def _while_infer(*operands: Any, cond: Any, body: Any, carried: int, capacity: int | None,
                 result: int) -> Type:
    types = _types(operands)
    for name, graph in (("the condition", cond), ("loop_while", body)):
        _fit(name, "operands", _types(graph.inputs), types)
    _fit("the condition", "results", [((), bool_)], _types(cond.outputs))
    _fit("loop_while", "new carries", types[:carried], _types(body.outputs[:carried]))
    shape, dtype = _types(body.outputs)[result]
    if result < carried:
        return shape, dtype
    if capacity is None:
        raise TypeError("loop_while: what is stacked needs a capacity")
    return (capacity, *shape), dtype


def _while(run: Run, *arrays: np.ndarray, cond: Any, body: Any, carried: int,
           capacity: int | None, **_: Any) -> Iterator[np.ndarray]:
    carries, constants = arrays[:carried], arrays[carried:]
    rows: list[list[np.ndarray]] = [[] for _ in body.outputs[carried:]]
    count = 0
    while count != capacity and run(cond, *carries, *constants)[0]:
        outputs = run(body, *carries, *constants)
        carries, count = outputs[:carried], count + 1
        for stacked, row in zip(rows, outputs[carried:], strict=True):
            stacked.append(row)
    yield from carries
    for stacked, y in zip(rows, body.outputs[carried:], strict=True):
        yield _stack(stacked, capacity or 0, y)


# loop_while(*operands, cond=, body=, carried=, capacity=, result=): no operand is sliced. The loop
# ends after `capacity` iterations, too. Rows of a stack that no iteration gave are zeros.
loop_while = register(
    OpDef("loop_while", Kind.LOOP, _while, _while_infer, bodies=("cond", "body"))
)


# ---- one of two
def _branch_infer(pred: Any, *operands: Any, then: Any, other: Any, result: int) -> Type:
    _fit("branch", "conditions", [((), bool_)], _types([pred]))
    for graph in (then, other):
        _fit("branch", "operands", _types(graph.inputs), _types(operands))
    _fit("branch", "results", _types(then.outputs), _types(other.outputs))
    return _types(then.outputs)[result]


def _branch(run: Run, pred: np.ndarray, *arrays: np.ndarray, then: Any, other: Any,
            **_: Any) -> tuple[np.ndarray, ...]:
    return run(then if pred else other, *arrays)


# branch(pred, *operands, then=, other=, result=): only the body that pred chooses is computed
branch = register(
    OpDef("branch", Kind.LOOP, _branch, _branch_infer, bodies=("then", "other"))
)
