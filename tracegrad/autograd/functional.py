"""Derivatives of functions at a point, by the names of torch.autograd.functional.

Functions take tensors and return a tensor or a tuple of tensors. Results have the structure of the
inputs. With `create_graph` results can be differentiated again. `strict` raises for an output that
does not depend on an input; otherwise its derivative is zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from ..functions.torch.creation import eye
from ..functions.torch.slicing_joining import stack
from ..tracer.autograd.backward import filled_like
from ..tracer.autograd.graph import GradFn
from ..tracer.autograd.transform import Pullback
from ..tracer.autograd.vmap import map_examples
from ..tracer.tensor.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = Tensor | tuple[Tensor, ...]


def _tensors(x: Any, what: str, function: str) -> tuple[Tensor, ...]:
    tensors = x if isinstance(x, tuple) else (x,)
    for k, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            which = f"value at index {k} of the {what}" if tensors is x else f"given {what}"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but "
                f"the {which} has type {type(t)}."
            )
    return tensors


def _depends(y: GradFn | None, x: GradFn) -> bool:
    """Whether the autograd graph leads from `y` to `x`."""
    stack, seen = [y], {y}
    while stack:
        fn = stack.pop()
        if fn is x:
            return True
        new = {e for e in (() if fn is None else fn.edges) if e not in seen}
        seen |= new
        stack.extend(new)
    return False


class _Linearization:
    """A function at its inputs: outputs, pullback, and the structures of both."""

    def __init__(self, func: Callable, inputs: Any, what: str, create: bool, strict: bool,
                 forward: bool = False):
        self.xs, self.create, self.strict = _tensors(inputs, "inputs", what), create, strict
        self.what, self.single_input = what, not isinstance(inputs, tuple)
        self.back = Pullback(lambda xs: func(*xs), self.xs, forward)
        output = self.back.result
        self.ys = _tensors(output, "outputs of the user-provided function", what)
        self.single_output = not isinstance(output, tuple)
        self.back.set_outputs(self.ys)
        if strict and None in self.back.roots:
            raise RuntimeError(
                f"Output {self.back.roots.index(None)} of the user-provided function does not "
                "require gradients. The outputs must be computed in a differentiable manner from "
                "the input when running in strict mode."
            )
        for k, root in enumerate(self.back.roots if strict else ()):
            for j, x in enumerate(self.back.origins):
                if not _depends(root, x):
                    raise RuntimeError(
                        f"Output {k} of the user-provided function is independent of input {j}. "
                        "This is not allowed in strict mode."
                    )

    def weights(self, v: Any, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """`v`, checked against the tensors that it weights. Without `v`: 1 for a single number."""
        if v is None:
            if len(like) == 1 and prod(like[0].shape) == 1:
                return (filled_like(like[0], 1.0),)
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element, or for jvp has such an input."
            )
        weights = _tensors(v, "v", self.what)
        if len(weights) != len(like):
            raise RuntimeError(
                f"v is a tuple of invalid length: should be {len(like)} but got {len(weights)}."
            )
        for k, (g, x) in enumerate(zip(weights, like, strict=True)):
            if g.shape != x.shape:
                where = "" if len(like) == 1 else f"Entry {k} in "
                raise RuntimeError(
                    f"{where}v has invalid size: should be {x.shape} but got {g.shape}."
                )
        return weights

    def finish(self, results: Sequence[Tensor]) -> list[Tensor]:
        for k, t in enumerate(results if self.create and self.strict else ()):
            if not t.requires_grad:
                raise RuntimeError(
                    f"The jacobian of the user-provided function is independent of input {k}. This "
                    "is not allowed in strict mode when create_graph=True."
                )
        return [t if self.create else t.detach() for t in results]

    def outputs(self) -> Tensors:
        ys = [y if self.create else y.detach() for y in self.ys]
        return ys[0] if self.single_output else tuple(ys)


def _shaped(results: Sequence[Any], single: bool) -> Any:
    return results[0] if single else tuple(results)


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:
    """(func(inputs), v pulled back to the inputs).

    Shape: v has that of the output. Raises RuntimeError if it has not.

    >>> torch.autograd.functional.vjp(torch.sin, torch.zeros(2), torch.tensor([1.0, 2.0]))
    (tensor([0., 0.]), tensor([1., 2.]))
    """
    p = _Linearization(func, inputs, "vjp", create_graph, strict)
    gradients = p.back(p.weights(v, p.ys), create_graph)
    return p.outputs(), _shaped(p.finish(gradients), p.single_input)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:
    """(func(inputs), its derivative along v).

    Shape: v has that of the inputs. Raises RuntimeError if it has not.

    >>> torch.autograd.functional.jvp(torch.sin, torch.zeros(2), torch.tensor([1.0, 2.0]))
    (tensor([0., 0.]), tensor([1., 2.]))
    """
    p = _Linearization(func, inputs, "jvp", create_graph, strict)
    tangents = p.back.pushforward()(p.weights(v, p.xs), create_graph)
    return p.outputs(), _shaped(p.finish(tangents), p.single_output)


class _Gradient:
    """The gradient of a function that returns one number, `value`."""

    def __init__(self, func: Callable, what: str):
        self.func, self.what = func, what

    def __call__(self, *xs: Tensor) -> tuple:
        back = Pullback(lambda inputs: self.func(*inputs), xs)
        self.value = y = back.result
        _tensors(y, "outputs of the user-provided function", self.what)
        if not isinstance(y, Tensor):
            raise RuntimeError(
                f"The function given to {self.what} should return a single Tensor"
            )
        if prod(y.shape) != 1:
            raise RuntimeError(
                f"The Tensor returned by the function given to {self.what} should contain a single "
                "element"
            )
        back.set_outputs([y])
        return tuple(back([filled_like(y, 1.0)]))


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:
    """(func(inputs), v times its Hessian).

    Shape: v has that of the inputs. Raises RuntimeError if it has not, or if the result is no
    scalar.

    >>> x, v = torch.ones(2), torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.vhp(lambda x: (x**3).sum(), x, v)
    (tensor(2.), tensor([ 6., 12.]))
    """
    gradient = _Gradient(func, "vhp")
    p = _Linearization(gradient, inputs, "vhp", create_graph, strict)
    gradients = p.finish(p.back(p.weights(v, p.xs), create_graph))
    value = gradient.value if create_graph else gradient.value.detach()
    return value, _shaped(gradients, p.single_input)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple:
    """(func(inputs), its Hessian times v).

    Shape: v has that of the inputs. Raises RuntimeError if it has not, or if the result is no
    scalar.

    >>> x, v = torch.ones(2), torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.hvp(lambda x: (x**3).sum(), x, v)
    (tensor(2.), tensor([ 6., 12.]))
    """
    gradient = _Gradient(func, "hvp")
    p = _Linearization(gradient, inputs, "hvp", create_graph, strict)
    products = p.finish(p.back.pushforward()(p.weights(v, p.xs), create_graph))
    value = gradient.value if create_graph else gradient.value.detach()
    return value, _shaped(products, p.single_input)


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:
    """The Jacobian: for each output and each input a tensor of shape (*output, *input).

    `vectorize` computes all rows at once, by `vmap`; `strategy` may then be 'forward-mode'.

    Shape: as above. Raises TypeError for inputs or outputs that are not tensors.

    >>> torch.autograd.functional.jacobian(lambda x: x**2, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            "function has more outputs than inputs, forward-mode tends to be more performant. "
            'Otherwise, prefer to use "reverse-mode".'
        )
    forward = strategy == "forward-mode"
    if forward and (create_graph or not (vectorize or strict)):
        raise NotImplementedError(
            "torch.autograd.functional.jacobian: with strategy 'forward-mode', vectorize must be "
            "True, and create_graph must be False"
        )
    p = _Linearization(func, inputs, "jacobian", create_graph, strict, forward)
    for other, name in ((forward, 'strategy="forward-mode"'), (vectorize, "vectorize=True")):
        if strict and other:
            raise RuntimeError(
                f"torch.autograd.functional.jacobian: `strict=True` and `{name}` are not supported "
                "together. Please either set `strict=False` or leave the other out."
            )
    if forward:
        along = p.back.pushforward()
        columns = [_at_units(along, len(p.xs), k, x, True) for k, x in enumerate(p.xs)]
        blocks = [
            [c[j].movedim(0, -1).reshape((*y.shape, *x.shape))
             for c, x in zip(columns, p.xs, strict=True)]
            for j, y in enumerate(p.ys)
        ]
    else:
        pulled = lambda gs: p.back(gs, create_graph)  # noqa: E731
        blocks = []
        for k, y in enumerate(p.ys):
            rows = _at_units(pulled, len(p.ys), k, y, vectorize)
            pairs = zip(rows, p.xs, strict=True)
            blocks.append([r.reshape((*y.shape, *x.shape)) for r, x in pairs])
    jacobians = [_shaped(p.finish(row), p.single_input) for row in blocks]
    return _shaped(jacobians, p.single_output)


def _at_units(
    function: Callable, count: int, at: int, like: Tensor, vectorize: bool
) -> list[Tensor]:
    """`function` of `count` tensors at all unit tensors of argument `at`, along a first axis."""
    n = prod(like.shape)
    basis = eye(n, dtype=like.dtype, device=like.device).reshape((n, *like.shape))

    def one(unit: Tensor) -> tuple:
        return tuple(function([unit if k == at else None for k in range(count)]))

    if vectorize or not n:
        return list(map_examples(one, 0, 0, (basis,), {}))
    return [stack(ys) for ys in zip(*(one(basis[k]) for k in range(n)), strict=True)]


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The Hessian: for each pair of inputs a tensor of shape (*input, *input).

    Shape: as above. Raises TypeError for inputs or outputs that are not tensors.

    >>> torch.autograd.functional.hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single = not isinstance(inputs, tuple)
    gradient = _Gradient(func, "hessian")
    return jacobian(
        lambda *xs: _shaped(gradient(*xs), single), inputs, create_graph, strict, vectorize,
        outer_jacobian_strategy,
    )
