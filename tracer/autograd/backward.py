"""`backward` and `grad`: where the reverse walk over the autograd graph starts, and what it gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...ir.dtype import DType
from ...ir.ops.elementwise import cast
from ...ir.ops.source import full
from ..mode import FixedGradMode, GradMode, autograd_tensor, grad_mode, mode
from ..tensor.dispatch import bind, number
from ..tensor.gradient_layout import differentiable_copy, matches_layout
from ..tensor.masked_selection import settle
from ..tensor.placement import on_device, placed
from ..tensor.tensor import RemovableHandle, Tensor, wrap
from .backward_pass import BackwardPass, Root
from .graph import GradFn, PostAccumulateHook, edge
from .vmap import map_examples


def filled(shape: tuple[int, ...], dtype: DType, value: float) -> Tensor:
    """A tensor of one value."""
    return bind(full, (), {"value": value, "shape": tuple(shape), "dtype": dtype})


def filled_like(x: Tensor, value: float) -> Tensor:
    """A tensor of one value, with the shape, dtype and device of another one."""
    if type(x._array) is np.ndarray and mode.trace is None:
        array = np.empty(x._array.shape, x._dtype.storage)
        array[...] = number(value, x._dtype)._array
        return wrap(array, x._dtype)
    return placed(filled(x.shape, x._dtype, value), x.device)


def _roots(outputs: Sequence[Tensor], grads: Sequence[Any], create: bool) -> list[Root]:
    """The nodes where a backward starts, each with its gradient."""
    roots = []
    for i, (y, g) in enumerate(zip(outputs, grads, strict=True)):
        fn = edge(y)
        if fn is None:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn"
            )
        if g is None:
            if y.shape.numel() != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            roots.append((fn, filled_like(y, 1.0)))
            continue
        if not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        g = settle(g)
        if g.shape != y.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] "
                f"has a shape of {y.shape}."
            )
        if g.device != y.device:
            raise RuntimeError(
                f"invalid gradient at index {i} - expected device {y.device} but got {g.device}"
            )
        if not g._dtype.is_floating_point:
            g = cast(g, dtype=y._dtype)
        roots.append((fn, g if create else g.detach()))
    return roots


def _tuple(x: Any) -> tuple:
    return x if isinstance(x, tuple) else (x,) if isinstance(x, Tensor) else tuple(x)


def _autograd_tensors(tensors: Any, what: str) -> tuple[Tensor, ...]:
    """The tensors that carry the autograd state of the arguments."""
    sequence = _tuple(tensors)
    for t in sequence:
        if not isinstance(t, Tensor):
            raise RuntimeError(f"all {what} have to be Tensors, but got {type(t).__name__}")
    return tuple(autograd_tensor(t) for t in sequence)


def _grads_for(outputs: tuple, grads: Any) -> tuple:
    """One gradient or None for each output."""
    if grads is None:
        return (None,) * len(outputs)
    grads = _tuple(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    return grads


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, grad_variables: Any = None,
             inputs: Any = None) -> None:
    """Add to the `.grad` of every leaf the gradient of the sum of `tensors`.

    Each tensor is weighted by its entry of `grad_tensors`, formerly `grad_variables`.

    Shape: a gradient has the shape of its tensor. Raises RuntimeError for a tensor with more than
    one element without weights, and for a graph that was freed.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.backward([(x * x).sum()])
    >>> x.grad
    tensor([2., 4.])
    """
    if grad_variables is not None:
        warnings.warn(
            "`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, 2
        )
        grad_tensors = grad_variables if grad_tensors is None else grad_tensors
    if type(tensors) is Tensor and grad_tensors is None and inputs is None and not create_graph:
        fn = tensors._grad_fn
        if fn is not None and tensors._array is not None and not tensors._array.shape:
            if fn.run_fast_backward(bool(retain_graph)):
                return
    outputs = _autograd_tensors(tensors, "tensors")
    targets = None
    if inputs is not None:
        wanted = _autograd_tensors(inputs, "inputs")
        if not wanted:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        targets = {fn for t in wanted if (fn := edge(t)) is not None}
        if len(targets) < len({id(t) for t in wanted}) and any(
            not t._requires_grad for t in wanted
        ):
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    roots = _roots(outputs, _grads_for(outputs, grad_tensors), create_graph)
    for fn in targets or ():
        fn.check_target([root for root, _ in roots])
    backward_pass = BackwardPass(
        create_graph if retain_graph is None else retain_graph, create_graph, targets
    )
    with GradMode(create_graph):
        backward_pass.run(roots, accumulate=True)
        for t in wanted if inputs is not None else ():
            if t._grad_fn is not None and (g := backward_pass.captured.get(t._grad_fn)) is not None:
                t._grad = differentiable_copy(g) if t._grad is None else t._grad + g


def backpropagate(
    roots: list[Root], targets: Sequence[GradFn | None], keep: bool, create: bool,
    stop: bool = False,
) -> list[Tensor | None]:
    """The gradients that reach each target from the roots. No `.grad` changes.

    With `stop`, gradients do not continue past a target, and its hooks do not run.
    """
    wanted = {fn for fn in targets if fn is not None}
    backward_pass = BackwardPass(keep, create, wanted, stop)
    with FixedGradMode(grad_mode(create)):
        backward_pass.run(roots, accumulate=False)
    return [None if fn is None else backward_pass.captured.get(fn) for fn in targets]


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple:
    """The gradients of the sum of `outputs` with respect to `inputs`. No `.grad` changes.

    `grad_outputs` are the weights of the outputs. None means 1 and is allowed for scalar outputs.
    With `is_grads_batched` the first axis of each weight, and of each result, counts several
    weightings. An input that the outputs do not depend on is an error unless `allow_unused`, which
    gives None, or `materialize_grads`, which gives zeros. `only_inputs` is ignored, as in torch.

    Shape: those of `inputs`. Raises RuntimeError for an output with more than one element without
    weights, and for a graph that was freed.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x**2, x)
    (tensor(6.),)
    """
    if is_grads_batched:
        weights = _grads_for(_tuple(outputs), grad_outputs)
        batched = partial(
            _grads, _tuple(outputs), _tuple(inputs), retain_graph, create_graph, allow_unused,
            materialize_grads,
        )
        dims = tuple(None if g is None else 0 for g in weights)
        return map_examples(batched, dims, 0, weights, {}, allow_none=True)
    weights = _grads_for(_tuple(outputs), grad_outputs)
    return _grads(_tuple(outputs), _tuple(inputs), retain_graph, create_graph, allow_unused,
                  materialize_grads, *weights)


def _grads(outputs: tuple, inputs: tuple, retain_graph: bool | None, create_graph: bool,
           allow_unused: bool | None, materialize_grads: bool, *weights: Any) -> tuple:
    ys, xs = _autograd_tensors(outputs, "tensors"), _autograd_tensors(inputs, "inputs")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "False."
        )
    if not xs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    roots = _roots(ys, weights, create_graph)
    targets = [edge(x) for x in xs]
    if None in targets:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    for fn in targets:
        fn.check_target([root for root, _ in roots])  # type: ignore[union-attr]
    keep = create_graph if retain_graph is None else retain_graph
    with GradMode(create_graph):
        grads = backpropagate(roots, targets, keep, create_graph)
    if not (allow_unused or materialize_grads) and any(g is None for g in grads):
        raise RuntimeError(
            "One of the differentiated Tensors appears to not have been used in the graph. Set "
            "allow_unused=True if this is the desired behavior."
        )
    if materialize_grads:
        grads = [
            filled_like(x, 0.0) if g is None else g
            for g, x in zip(grads, xs, strict=True)
        ]
    return tuple([_like_input(g, x) for g, x in zip(grads, xs, strict=True)])


def _like_input(g: Tensor | None, x: Tensor) -> Tensor | None:
    """A gradient where its input `x` is; an eager one is contiguous, or lies in memory as `x`."""
    g = None if g is None else on_device(g, x.device)
    if g is None or (a := g._array) is None or x._array is None:
        return g
    usual = a.flags.c_contiguous or matches_layout(a, x._array)
    return g if usual else differentiable_copy(g, x._array)


def _backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None,
              create_graph: bool = False, inputs: Any = None) -> None:
    """Add to the `.grad` of every leaf the gradient of this tensor.

    A tensor that is not a scalar needs `gradient`, its weights.

    Shape: gradient has the shape of this tensor, as `.grad` has that of its leaf.
    Raises RuntimeError without `gradient` unless there is one element; for a tensor without
    history; for a graph that was freed by an earlier backward without `retain_graph`.

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def _register_post_accumulate_grad_hook(self: Tensor, hook: Callable) -> RemovableHandle:
    """Call `hook(tensor)` after backward has added to the `.grad` of this leaf."""
    t = settle(self)
    if not t._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if t._grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return t.register_hook(PostAccumulateHook(hook))


_backward.__name__ = "backward"
Tensor.register_post_accumulate_grad_hook = _register_post_accumulate_grad_hook  # type: ignore[method-assign, assignment]
Tensor.backward = _backward  # type: ignore[method-assign, assignment]
