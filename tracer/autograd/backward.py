"""The reverse walk over the autograd graph: `backward` and `grad`.

Nodes are visited from the last recorded to the first. So the gradient of a node is complete when
the walk reaches it. The tensors may be eager or traced.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...ir.dtype import DType
from ...ir.node import at, user_site
from ...ir.ops.elementwise import cast
from ...ir.ops.source import full
from ..mode import FixedGradMode, GradMode, autograd_tensor, grad_mode, mode
from ..tensor.device_memory import host, place_of
from ..tensor.dispatch import bind
from ..tensor.gradient_layout import copy_in_layout, differentiable_copy, matches_layout, to_layout
from ..tensor.masked_selection import settle
from ..tensor.placement import on_device, placed
from ..tensor.tensor import RemovableHandle, Tensor, fill_slots
from .graph import AccumulateGrad, GradFn, OpBackward, PostAccumulateHook, edge
from .vmap import map_examples

Root = tuple[GradFn, Tensor]


def filled(shape: tuple[int, ...], dtype: DType, value: float) -> Tensor:
    """A tensor of one value."""
    return bind(full, (), {"value": value, "shape": tuple(shape), "dtype": dtype})


def filled_like(x: Tensor, value: float) -> Tensor:
    """A tensor of one value, with the shape, dtype and device of another one."""
    return placed(filled(x.shape, x._dtype, value), x.device)


def _nodes_on_path(roots: Iterable[Root], targets: set[GradFn]) -> set[GradFn]:
    """The nodes that must be differentiated to reach the targets."""
    leads: dict[GradFn, bool] = {}
    stack = [(fn, False) for fn, _ in roots]
    while stack:
        fn, done = stack.pop()
        below = [e for e in fn.edges if e is not None]
        if done:
            leads[fn] = any(e in targets or leads.get(e, False) for e in below)
        elif fn not in leads:
            leads[fn] = False
            stack.append((fn, True))
            stack.extend((e, False) for e in below)
    return {fn for fn, yes in leads.items() if yes}


def refuse_nan(fn: GradFn, grads: Sequence[Any]) -> None:
    """Raise if a gradient contains NaN, for `detect_anomaly`. Traced gradients are not checked."""
    for k, g in enumerate(grads):
        if isinstance(g, Tensor) and g._array is not None:
            if np.isnan(g._dtype.decode(host(g._array))).any():
                raise RuntimeError(
                    f"Function '{fn.title}' returned nan values in its {k}th output."
                )


class _BackwardPass:
    """One pass from the roots to the leaves."""

    def __init__(
        self, keep_graph: bool, create_graph: bool, targets: set[GradFn] | None, stop: bool = False
    ):
        self.keep_graph, self.create_graph = keep_graph, create_graph
        self.targets, self.stop = targets, stop
        self.pending: dict[GradFn, Tensor] = {}
        self.heap: list[tuple[int, GradFn]] = []
        self.captured: dict[GradFn, Tensor] = {}
        self.shared_ids: set[int] = set()  # ids of tensors that others refer to, too
        self.kept_alive: list[Tensor] = []  # they must keep their ids during the pass
        # in a trace: the line of the whole pass, so that not each node looks for it
        self.site = None if mode.trace is None else user_site()

    def push(self, fn: GradFn, g: Tensor) -> None:
        """Add a gradient to the pending gradient of a node."""
        before = self.pending.get(fn)
        if before is None:
            self.pending[fn] = g
            heapq.heappush(self.heap, (-fn.sequence, fn))
        else:
            self.pending[fn] = before + g

    def mark_shared(self, g: Tensor) -> None:
        """Others refer to `g`: it must not become the `.grad` of a leaf."""
        self.shared_ids.add(id(g))
        self.kept_alive.append(g)

    def run(self, roots: list[Root], accumulate: bool) -> None:
        on_path = None if self.targets is None else _nodes_on_path(roots, self.targets)
        for fn, g in roots:
            self.mark_shared(g)
            self.push(fn, g)
        while self.heap:
            _, fn = heapq.heappop(self.heap)
            arrived = self.pending.pop(fn)
            if self.stop and fn in self.targets:  # type: ignore[operator]
                self.captured[fn] = arrived
                continue
            g = fn.run_prehooks(arrived)
            if g is not arrived or fn.prehooks or fn.retainers:
                self.mark_shared(g)
            if self.targets is not None and fn in self.targets:
                self.captured[fn] = g
                self.mark_shared(g)
            if isinstance(fn, AccumulateGrad):
                if not fn.variable._requires_grad:
                    continue  # requires_grad was cleared since
                if accumulate and (self.targets is None or fn in self.targets):
                    self.accumulate(fn, g)
                    fn.run_post_accumulate_hooks()
                continue
            if on_path is None or fn in on_path:
                self.differentiate(fn, g)

    def differentiate(self, fn: GradFn, g: Tensor) -> None:
        """Apply the derivative rule of a node and pass the gradients on."""
        if self.site is not None and isinstance(fn, OpBackward):
            with at(self.site):
                grads = fn.apply(g)
        else:
            grads = fn.apply(g)
        if mode.anomaly:
            refuse_nan(fn, grads)
        if fn.posthooks:
            for hook in tuple(fn.posthooks.values()):
                new = hook(grads, (g,))
                if new is not None:
                    grads = tuple(new) if isinstance(new, (tuple, list)) else (new,)
        for to, gx in zip(fn.edges, grads, strict=True):
            if to is not None and gx is not None:
                if gx is g:
                    self.mark_shared(g)
                self.push(to, gx)
        if not self.keep_graph:
            fn.release()

    def accumulate(self, fn: AccumulateGrad, g: Tensor) -> None:
        """Add a gradient to the `.grad` of a leaf."""
        x = fn.variable
        if type(g._array) is not type(x._array):
            g = on_device(g, x.device)
        if x._grad is None:
            x._grad = self.exclusive(g, x)
        elif self.create_graph or x._grad._requires_grad:
            x._grad = to_layout(x._grad + g, x._array)
        else:
            x._grad.add_(g)

    def exclusive(self, g: Tensor, x: Tensor) -> Tensor:
        """A tensor equal to `g`, in the memory layout of leaf `x`, that nothing else refers to.

        It is `g` itself if that is safe.
        """
        if self.create_graph:
            return differentiable_copy(g, x._array)
        if g._node is not None:
            return fill_slots(object.__new__(Tensor), None, g._node, g._dtype)
        a = g._array
        assert a is not None
        shared = x._hooks or id(g) in self.shared_ids or a.base is not None or not a.flags.writeable
        if shared or not matches_layout(a, x._array):
            return copy_in_layout(g, x)
        self.mark_shared(g)
        return g


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
    backward_pass = _BackwardPass(
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
    backward_pass = _BackwardPass(keep, create, wanted, stop)
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
    return tuple([_in_input_layout(g, x._array) for g, x in zip(grads, xs, strict=True)])


def _in_input_layout(g: Tensor | None, x: np.ndarray | None) -> Tensor | None:
    """An eager gradient that is contiguous or has the memory layout of its input `x`."""
    if g is None or g._array is None or x is None:
        return g
    g = on_device(g, place_of(x))
    if g._array.flags.c_contiguous or matches_layout(g._array, x):
        return g
    return differentiable_copy(g, x)


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
