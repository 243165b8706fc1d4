"""Derivatives of functions at a point, by the names of torch.autograd.functional.

Functions take tensors and give a tensor or a tuple of them; answers have the structure of the
inputs. With `create_graph` what is computed can be differentiated again. `strict` refuses an
answer that does not depend on the inputs, where zeros would be returned otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from ..tracer.backward import filled
from ..tracer.functions.creation import eye
from ..tracer.functions.joining import stack
from ..tracer.mode import enable_grad
from ..tracer.tensor import Tensor
from ..tracer.transform import Pullback
from ..tracer.vmap import map_examples

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = Tensor | tuple[Tensor, ...]


def _tensors(x: Any, what: str) -> tuple[Tensor, ...]:
    found = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    for k, t in enumerate(found):
        if not isinstance(t, Tensor):
            where = f" at index {k}" if isinstance(x, (tuple, list)) else ""
            raise TypeError(
                f"The {what} must be either a Tensor or a tuple of Tensors but the value{where} "
                f"has type {type(t)}."
            )
    return found


class _Point:
    """A function at its inputs: outputs, pullback, and the structures that users see."""

    def __init__(self, func: Callable, inputs: Any, what: str, create: bool, strict: bool):
        self.xs, self.create = _tensors(inputs, f"inputs given to {what}"), create
        self.single_input = not isinstance(inputs, (tuple, list))
        self.back = Pullback(lambda xs: func(*xs), self.xs)
        answer = self.back.answer
        self.ys = _tensors(answer, f"outputs of the user-provided function given to {what}")
        self.single_output = not isinstance(answer, (tuple, list))
        self.back.watch(self.ys)
        if strict and None in self.back.roots:
            raise RuntimeError(
                f"Output {self.back.roots.index(None)} of the user-provided function does not "
                "require gradients. The outputs must be computed in a differentiable manner from "
                "the input when running in strict mode."
            )

    def weights(self, v: Any, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """`v`, checked against the tensors it weights; ones if those are one number."""
        if v is None:
            if len(like) == 1 and prod(like[0].shape) == 1:
                return (filled(like[0].shape, like[0].dtype, 1.0),)
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element, or for jvp has such an input."
            )
        given = _tensors(v, "vector v")
        if len(given) != len(like):
            raise RuntimeError(
                f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}."
            )
        for k, (g, x) in enumerate(zip(given, like, strict=True)):
            if g.shape != x.shape:
                where = "" if len(like) == 1 else f"Entry {k} in "
                raise RuntimeError(
                    f"{where}v has invalid size: should be {x.shape} but got {g.shape}."
                )
        return given

    def finish(self, found: Sequence[Tensor]) -> list[Tensor]:
        return [t if self.create else t.detach() for t in found]

    def outputs(self) -> Tensors:
        ys = [self.back.cut(y) if self.create else y.detach() for y in self.ys]
        return ys[0] if self.single_output else tuple(ys)


def _shaped(found: Sequence[Any], single: bool) -> Any:
    return found[0] if single else tuple(found)


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:  # fmt: skip
    """(func(inputs), v pulled back to the inputs)."""
    p = _Point(func, inputs, "vjp", create_graph, strict)
    found = p.back(p.weights(v, p.ys), create_graph)
    return p.outputs(), _shaped(p.finish(found), p.single_input)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:  # fmt: skip
    """(func(inputs), its derivative along v)."""
    p = _Point(func, inputs, "jvp", create_graph, strict)
    found = p.back.pushforward()(p.weights(v, p.xs))
    return p.outputs(), _shaped(p.finish(found), p.single_output)


def _gradient(func: Callable) -> Callable:
    """The gradient of a function that returns one number, as a function."""

    def gradient(*xs: Tensor) -> tuple:
        back = Pullback(lambda given: func(*given), xs)
        answer = back.answer
        (y,) = _tensors(answer, "outputs of the user-provided function")
        if prod(y.shape) != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian, hvp or vhp should contain "
                "a single element"
            )
        back.watch([y])
        return tuple(back([filled(y.shape, y.dtype, 1.0)]))

    return gradient


def _value(func: Callable, inputs: Any, create: bool) -> Any:
    xs = _tensors(inputs, "inputs")
    with enable_grad():
        y = func(*xs)
    return y if create else y.detach()


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:  # fmt: skip
    """(func(inputs), v times its Hessian)."""
    p = _Point(_gradient(func), inputs, "vhp", create_graph, strict)
    found = p.back(p.weights(v, p.xs), create_graph)
    value = _value(func, inputs, create_graph)
    return value, _shaped(p.finish(found), p.single_input)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:  # fmt: skip
    """(func(inputs), its Hessian times v)."""
    p = _Point(_gradient(func), inputs, "hvp", create_graph, strict)
    found = p.back.pushforward()(p.weights(v, p.xs))
    value = _value(func, inputs, create_graph)
    return value, _shaped(p.finish(found), p.single_input)


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Jacobian: for each output and each input a tensor of shape (*output, *input).

    `vectorize` computes all rows at once, by `vmap`; `strategy` may then be 'forward-mode'.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            "function has more outputs than inputs, forward-mode tends to be more performant. "
            'Otherwise, prefer to use "reverse-mode".'
        )
    forward = strategy == "forward-mode"
    if forward and (create_graph or strict or not vectorize):
        raise NotImplementedError(
            "torch.autograd.functional.jacobian: with strategy 'forward-mode', vectorize must be "
            "True, and create_graph and strict must be False"
        )
    p = _Point(func, inputs, "jacobian", create_graph, strict)
    if forward:
        along = p.back.pushforward()
        columns = [_units(along, len(p.xs), k, x, True) for k, x in enumerate(p.xs)]
        blocks = [
            [c[j].movedim(0, -1).reshape(*y.shape, *x.shape)
             for c, x in zip(columns, p.xs, strict=True)]
            for j, y in enumerate(p.ys)
        ]  # fmt: skip
    else:
        pulled = lambda gs: p.back(gs, create_graph)  # noqa: E731
        blocks = []
        for k, y in enumerate(p.ys):
            rows = _units(pulled, len(p.ys), k, y, vectorize)
            pairs = zip(rows, p.xs, strict=True)
            blocks.append([r.reshape(*y.shape, *x.shape) for r, x in pairs])
    found = [_shaped(p.finish(row), p.single_input) for row in blocks]
    return _shaped(found, p.single_output)


def _units(function: Callable, count: int, at: int, like: Tensor, vectorize: bool) -> list[Tensor]:
    """`function` of `count` tensors at every unit of number `at`, along a first axis."""
    n = prod(like.shape)
    basis = eye(n, dtype=like.dtype).reshape(n, *like.shape)

    def one(unit: Tensor) -> tuple:
        return tuple(function([unit if k == at else None for k in range(count)]))

    if vectorize or not n:
        return list(map_examples(one, 0, 0, (basis,), {}))
    return [stack(ys) for ys in zip(*(one(basis[k]) for k in range(n)), strict=True)]


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The Hessian: for each two inputs a tensor of shape (*input, *input)."""
    single = not isinstance(inputs, (tuple, list))
    gradient = _gradient(func)
    return jacobian(
        lambda *xs: _shaped(gradient(*xs), single), inputs, create_graph, strict, vectorize,
        outer_jacobian_strategy,
    )  # fmt: skip
