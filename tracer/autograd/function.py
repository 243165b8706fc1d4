"""Operations with a user-defined derivative: `autograd.Function`.

forward runs unrecorded. Its outputs get an autograd node that calls the user's backward. backward
uses ordinary operations, so its results can be differentiated, traced and batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple
from weakref import ref

from ...ir.autodiff import unbroadcast
from ...ir.dtype import DType
from ...ir.op import ShapeError
from ...ir.ops.elementwise import cast
from ..mode import FixedGradMode, GradMode, mode, resolve
from ..tensor.masked_selection import settle
from ..tensor.tensor import Tensor
from .backward import filled
from .batching import BatchTrace, batching
from .graph import GradFn, OutputGradients, OutputNode, edge
from .node_classes import FREED
from .recording import Saved
from .transform import detached_alias
from .vmap import move_axis


class FunctionCtx:
    """What forward saves for backward. Users may set attributes of their own."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._tensors: tuple[Tensor | None, ...] = ()
        self._saved: list[tuple[Saved, GradFn | int | None] | None] | None = None
        self._node_reference: Callable[[], CustomBackward | None] = lambda: None
        self._dirty: tuple[Tensor, ...] = ()
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Save tensors, preferably inputs or outputs of forward, for `saved_tensors`."""
        self._tensors = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for compatibility; forward mode here is derived from backward."""

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors that `save_for_backward` was given."""
        if self._saved is None:
            if self._tensors is None:
                raise RuntimeError(FREED)
            return self._tensors
        return tuple(
            s and s[0].unpack(self._producer(s[1]), "saved for backward", isinstance(s[1], int))
            for s in self._saved
        )

    def _producer(self, fn: GradFn | int | None) -> GradFn | None:
        """The node of a saved tensor. A number stands for that output of the function."""
        if not isinstance(fn, int):
            return fn
        node = self._node_reference()
        return node if node is None or len(node.outputs) == 1 else OutputNode(node, fn)

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare which inputs forward changed in place. They must be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare which outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros, not None, for an unused output."""
        self._materialize = bool(value)


class CustomBackward(GradFn):
    """The autograd node of one call of a Function."""

    __slots__ = ("ctx", "function", "inputs", "outputs")

    def __init__(self, function: type[Function], ctx: FunctionCtx, args: Sequence[Any]):
        graded = [a if isinstance(a, Tensor) and a._dtype.is_floating_point else None for a in args]
        super().__init__(
            f"{function.__name__}Backward", tuple(None if a is None else edge(a) for a in graded)
        )
        self.function, self.ctx = function, ctx
        self.inputs = [None if a is None else (tuple(a.shape), a._dtype) for a in graded]
        self.outputs: list[tuple] = []

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        parts = g.by_output if isinstance(g, OutputGradients) else {0: g}
        output_grads = [self.output_gradient(parts.get(k), *y) for k, y in enumerate(self.outputs)]
        results = self.function.backward(self.ctx, *output_grads)
        grads = list(results) if isinstance(results, (tuple, list)) else [results]
        count = len(self.inputs)
        if len(grads) < count or any(g is not None for g in grads[count:]):
            raise RuntimeError(
                f"function {self.title} returned an incorrect number of gradients (expected "
                f"{count}, got {len(grads)})"
            )
        return tuple(self.checked_gradient(k, g) for k, g in enumerate(grads[:count]))

    def output_gradient(self, g: Tensor | None, shape: tuple[int, ...], dtype: DType | None) -> Any:
        """The gradient of an output, as the user's backward receives it."""
        if g is not None or dtype is None or not self.ctx._materialize:
            return g
        return filled(shape, dtype, 0.0)

    def checked_gradient(self, k: int, g: Any) -> Tensor | None:
        """A gradient with the shape and dtype of its input."""
        wanted = self.inputs[k]
        if g is None or wanted is None or self.edges[k] is None:
            return None
        if not isinstance(g, Tensor):
            raise RuntimeError(
                f"function {self.title} returned a gradient different than None at position "
                f"{k + 1}, which is no tensor but a {type(g).__name__}"
            )
        shape, dtype = wanted
        if tuple(g.shape) != shape:
            try:
                g = unbroadcast(resolve(g), shape)
            except ShapeError:
                raise RuntimeError(
                    f"Function {self.title} returned an invalid gradient at index {k} - got "
                    f"{list(g.shape)} but expected shape compatible with {list(shape)}"
                ) from None
        return g if g.dtype is dtype else cast(g, dtype=dtype)

    def has_saved_values(self) -> bool:
        return bool(self.ctx._saved)

    def release(self) -> None:
        self.ctx._tensors = self.ctx._saved = None  # type: ignore[assignment]


class Function:
    """An operation with its own derivative: static methods `forward` and `backward`, and `apply`.

    forward may also be written without ctx. Then `setup_context(ctx, inputs, output)` uses ctx.
    Raises RuntimeError if instantiated, or for another number or shape of gradients.

    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, g):  # one gradient for each argument of forward
    ...         return g * 3 * ctx.saved_tensors[0] ** 2
    >>> torch.func.grad(Cube.apply)(torch.tensor(2.0))
    tensor(12.)
    """

    generate_vmap_rule = True

    def __init__(self, *_: Any):
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions are "
            "all static, so you should invoke them on the class itself: call its apply method."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The operation: (ctx, *args), or just args if there is a `setup_context`."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> Any:
        """Store in ctx what backward needs, for a `forward` without ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments of forward, given those of its outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *args: Any) -> Any:
        """The operation on all examples, if the class has its own rule: gives (outputs, out_dims).

        `info` has `batch_size` and `randomness`.
        """
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or "
            "set generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward; backward is called when an output is differentiated."""
        args = tuple(settle(a) if isinstance(a, Tensor) else a for a in args)
        if not isinstance(trace := mode.trace, BatchTrace):
            return _apply_recorded(cls, args, kwargs, None)
        if cls.vmap is not Function.vmap:
            outer = _apply_vmap_rule(cls, trace, args)
        elif mode.grad and trace.differentiated_outside:
            outer = _apply_mapped(cls, trace, args, kwargs)
        else:
            return _apply_recorded(cls, args, kwargs, None)
        if not any(isinstance(a, Tensor) and a._requires_grad for a in args):
            return outer
        return _apply_recorded(cls, args, kwargs, outer)


def _call(function: type[Function], ctx: FunctionCtx, args: tuple, kwargs: dict) -> Any:
    """Run forward unrecorded, in forward mode too, with its use of ctx."""
    with FixedGradMode(False):
        if function.setup_context is Function.setup_context:
            return function.forward(ctx, *args, **kwargs)
        output = function.forward(*args, **kwargs)
        function.setup_context(ctx, args, output)
        return output


def _apply_recorded(function: type[Function], args: tuple, kwargs: dict, computed: Any) -> Any:
    """Call a Function and record it.

    `known` are its outputs if `vmap` has already computed them in the outer trace.
    """
    ctx = FunctionCtx()
    ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a._requires_grad for a in args)
    wanted = mode.grad and any(ctx.needs_input_grad)
    node = CustomBackward(function, ctx, args) if wanted else None
    output = _call(function, ctx, args, kwargs)
    several = isinstance(output, (tuple, list))
    outputs = list(output) if several else [output]
    values = outputs if computed is None else list(computed) if several else [computed]
    fixed = {id(t) for t in ctx._non_differentiable}
    dirty = {id(resolve(t)) for t in ctx._dirty}
    made: dict[int, int] = {}  # id of an output -> its number: the node must not refer to itself
    results: list[Any] = []
    for k, y in enumerate(outputs):
        if not isinstance(y, Tensor):
            results.append(y)
            if node is not None:
                node.outputs.append(((), None))
            continue
        raw, y = y, settle(values[k])
        if id(y) in dirty:
            if node is not None and y._requires_grad and y._grad_fn is None:
                raise RuntimeError(
                    "a leaf Variable that requires grad is being used in an in-place operation."
                )
        elif node is not None and (any(y is a for a in args) or y._requires_grad):
            y = detached_alias(y)
        if node is not None:
            node.outputs.append((tuple(y.shape), y._dtype))
            if y._dtype.is_floating_point and id(raw) not in fixed:
                y._grad_fn = node if len(outputs) == 1 else OutputNode(node, k)
                y._requires_grad = True
                made[id(raw)] = k
        results.append(y)
    if node is not None:
        ctx._saved = [None if t is None else _save_tensor(t, made, results) for t in ctx._tensors]
        ctx._tensors = ctx._dirty = ctx._non_differentiable = ()
        ctx._node_reference = ref(node)
    return tuple(results) if several else results[0]


def _save_tensor(
    t: Tensor, made: dict[int, int], results: list
) -> tuple[Saved, GradFn | int | None]:
    """A tensor saved for backward and its node. Number k stands for output k."""
    keep: Any = Saved if mode.make_saved is None else mode.make_saved
    k = made.get(id(t))
    if k is not None:
        return keep(results[k]), k
    t = resolve(t)
    return keep(t), edge(t)


# ---- under vmap
class VmapInfo(NamedTuple):
    """The first argument of a Function's own `vmap`."""

    batch_size: int
    randomness: str


def _apply_vmap_rule(function: type[Function], trace: BatchTrace, args: tuple) -> Any:
    """Apply the Function's own `vmap` rule to all examples."""
    values = [a._node.value if isinstance(a, Tensor) else a for a in args]
    in_dims = tuple(0 if isinstance(a, Tensor) and a._node.mapped else None for a in args)
    with trace.outside():
        if not any(d == 0 for d in in_dims):
            outputs: Any = function.apply(*values)
            out_dims: Any = None
        else:
            info = VmapInfo(trace.size, trace.randomness)
            outputs, out_dims = function.vmap(info, in_dims, *values)
    several = isinstance(outputs, (tuple, list))
    tensors = list(outputs) if several else [outputs]
    dims = out_dims if isinstance(out_dims, (tuple, list)) else [out_dims] * len(tensors)
    results: list[Any] = []
    for y, d in zip(tensors, dims, strict=True):
        if isinstance(y, Tensor):
            with trace.outside():
                y = y if d is None else move_axis(resolve(y), d, 0)
            y = trace.example(y, d is not None)
        results.append(y)
    return tuple(results) if several else results[0]


def _apply_mapped(function: type[Function], trace: BatchTrace, args: tuple, kwargs: dict) -> Any:
    """Apply a Function inside `vmap` to all examples when the outer level takes gradients.

    The derivative is attached at the outer level.
    """
    axes = [isinstance(a, Tensor) and a._node.mapped for a in args]
    size = trace.size

    def enter(inner: BatchTrace, values: Sequence[Any], mapped: Sequence[bool]) -> list[Any]:
        pairs = zip(values, mapped, strict=True)
        return [inner.example(v, m) if isinstance(v, Tensor) else v for v, m in pairs]

    def leave(inner: BatchTrace, ys: Sequence[Any]) -> tuple[list[Any], list[bool]]:
        pairs = [inner.value(y) if isinstance(y, Tensor) else (y, False) for y in ys]
        return [v for v, _ in pairs], [m for _, m in pairs]

    outputs: dict[str, Any] = {}

    def forward(ctx: FunctionCtx, *values: Any) -> Any:
        inner_ctx = FunctionCtx()
        inner_ctx.needs_input_grad = ctx.needs_input_grad
        with batching(BatchTrace(size, trace.randomness)) as inner:
            output = _call(function, inner_ctx, tuple(enter(inner, values, axes)), kwargs)
            outputs["several"] = isinstance(output, (tuple, list))
            ys, outputs["mapped"] = leave(inner, output if outputs["several"] else (output,))
            saved, ctx.saved_mapped = leave(inner, inner_ctx._tensors)  # type: ignore[attr-defined]
            fixed, _ = leave(inner, inner_ctx._non_differentiable)
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(*fixed)
        ctx.inner, ctx.mapped = inner_ctx, outputs["mapped"]  # type: ignore[attr-defined]
        return tuple(ys)

    def backward(ctx: Any, *grads: Any) -> tuple:
        with batching(BatchTrace(size, trace.randomness)) as inner:
            ctx.inner._tensors = tuple(enter(inner, ctx.saved_tensors, ctx.saved_mapped))
            results = function.backward(ctx.inner, *enter(inner, grads, ctx.mapped))
            several = isinstance(results, (tuple, list))
            values, mapped = leave(inner, results if several else (results,))
        full = zip(values, mapped, [*axes, *(False,) * len(values)], strict=False)
        return tuple(
            g.sum(0) if isinstance(g, Tensor) and m and not axis else g for g, m, axis in full
        )

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    whole: Any = type(function.__name__, (Function,), methods)
    with trace.outside():
        values = whole.apply(*(a._node.value if isinstance(a, Tensor) else a for a in args))
    results = enter(trace, values, outputs["mapped"])
    return tuple(results) if outputs["several"] else results[0]


def once_differentiable(backward: Callable) -> Callable:
    """Mark a backward whose own result must not be differentiated."""

    @wraps(backward)
    def once(ctx: Any, *grads: Any) -> Any:
        with GradMode(False):
            results = backward(ctx, *grads)
        needed = [g for g in grads if isinstance(g, Tensor) and resolve(g)._requires_grad]
        if not mode.grad or not needed:
            return results
        several = isinstance(results, (tuple, list))
        edges = tuple(edge(resolve(g)) for g in needed)
        refused = _RefuseSecondDerivative("OnceDifferentiable", edges)
        marked = []
        for y in results if several else (results,):
            if isinstance(y, Tensor):
                y = detached_alias(resolve(y))
                y._grad_fn, y._requires_grad = refused, True
            marked.append(y)
        return tuple(marked) if several else marked[0]

    return once


class _RefuseSecondDerivative(GradFn):
    __slots__ = ()

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
