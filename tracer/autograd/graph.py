"""The gradient tape: one GradFn for each recorded operation, linked to those of its inputs.

`record` is called by dispatch for every operation on something that requires grad. It keeps only
what the derivative rules read. That is found, not declared: a rule is run once on placeholder
Nodes, and what its result depends on is what it needs. Payloads are kept without their Tensors, so
a tape never refers to itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, NamedTuple
from weakref import ref

from ...ir.autodiff import cotangent, rule_of
from ...ir.graph import postorder
from ...ir.node import Aval, input_node
from ...ir.op import Kind, OpDef
from ..mode import mode, resolve
from ..tensor.gradient_layout import differentiable_copy
from ..tensor.promotion import SCALAR_TYPE
from ..tensor.tensor import RemovableHandle, Tensor, fill_slots

sequence_numbers = itertools.count(1)
_leaf_sequence_numbers = itertools.count(-1, -1)  # below every operation: accumulation comes last

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or "
    "autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to "
    "access saved tensors "
    "after calling backward."
)
_HINT = (
    " Hint: the operation that changed it is an in-place one (a name that ends in _, or an "
    "augmented assignment) between "
    "the forward computation and backward()."
)


class GradFn:
    """An operation on the tape. `edges` lead to the GradFns of its inputs, None where no gradient
    is wanted.
    """

    __slots__ = (
        "__weakref__", "edges", "metadata_", "posthooks", "prehooks", "retainers", "sequence",
        "shown_edges", "title",
    )  # fmt: skip

    def __init__(self, title: str, edges: tuple[GradFn | None, ...], sequence: int | None = None):
        self.title, self.edges = title, edges
        self.sequence = next(sequence_numbers) if sequence is None else sequence
        self.shown_edges: tuple | None = None
        self.prehooks: dict[int, Callable] | None = None
        self.posthooks: dict[int, Callable] | None = None
        self.retainers: list[ref] = []
        self.metadata_: dict | None = None

    def name(self) -> str:
        """The operation, as torch calls it: 'MulBackward0'."""
        return self.title

    @property
    def next_functions(self) -> tuple:
        """The GradFns of the inputs, in pairs with 0: every operation here has one output."""
        return tuple((e, 0) for e in (self.edges if self.shown_edges is None else self.shown_edges))

    @property
    def metadata(self) -> dict:
        """A dict for the user's notes."""
        if self.metadata_ is None:
            self.metadata_ = {}
        return self.metadata_

    def register_prehook(self, hook: Callable) -> RemovableHandle:
        """Call `hook((grad,))` with the gradient of the result, before the rule is applied."""

        def alone(g: Tensor) -> Any:
            new = hook((g,))
            return new[0] if isinstance(new, (tuple, list)) else new

        return self.register_gradient_hook(alone)

    def register_gradient_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad)` with the gradient of the result."""
        if self.prehooks is None:
            self.prehooks = {}
        return RemovableHandle(self.prehooks, hook)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after the operation is differentiated."""
        if self.posthooks is None:
            self.posthooks = {}
        return RemovableHandle(self.posthooks, hook)

    def check_target(self, roots: Iterable[GradFn]) -> None:
        """Somebody wants the gradient of the result in a backward from `roots`: raise where it
        cannot be known.
        """

    def retain(self, t: Tensor) -> None:
        """Put the gradient of the result into the `.grad` of `t`, which it is."""
        self.retainers.append(ref(t))

    def run_prehooks(self, g: Tensor) -> Tensor:
        """The gradient of the result is complete: what the hooks make of it."""
        if self.prehooks:
            for hook in tuple(self.prehooks.values()):
                g = checked_hook_result(hook(g), g)
        for r in self.retainers:
            if (t := r()) is not None:
                t._grad = differentiable_copy(g) if t._grad is None else t._grad + g
        return g

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the inputs, one for each edge."""
        raise NotImplementedError

    def run_fast_backward(self, keep: bool) -> bool:
        """Do what `backward()` of a scalar would from here, if that needs no walk."""
        return False

    def release(self) -> None:
        """Forget the saved values."""

    def has_saved_values(self) -> bool:
        """Whether there are saved values to forget."""
        return False

    def __repr__(self) -> str:
        return f"<{self.title} object at {id(self):#x}>"


def checked_hook_result(new: Any, g: Tensor) -> Tensor:
    if new is None:
        return g
    if not isinstance(new, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
    if new.shape != g.shape:
        raise RuntimeError(
            f"hook has changed the size of value: expected {list(g.shape)}, got {list(new.shape)}"
        )
    return resolve(new)


class OutputGradients:
    """The cotangents of several answers of one operation, on their way to its record."""

    def __init__(self, parts: dict[int, Tensor]):
        self.parts = parts

    def __add__(self, other: OutputGradients) -> OutputGradients:
        parts = dict(self.parts)
        for k, g in other.parts.items():
            parts[k] = parts[k] + g if k in parts else g
        return OutputGradients(parts)


class OutputNode(GradFn):
    """The record of one of several answers of an operation; its cotangent goes to the whole."""

    __slots__ = ("index",)

    def __init__(self, whole: GradFn, index: int):
        super().__init__(whole.title, (whole,))
        self.index = index

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        return (OutputGradients({self.index: g}),)


class PostAccumulateHook(NamedTuple):
    """A leaf's hook that waits for its `.grad`."""

    function: Callable


class AccumulateGrad(GradFn):
    """Where the tape ends: adds what arrives to the `.grad` of a leaf."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor):
        super().__init__("AccumulateGrad", (), next(_leaf_sequence_numbers))
        self.variable = variable

    def run_prehooks(self, g: Tensor) -> Tensor:
        for hook in tuple((self.variable._hooks or {}).values()):
            if not isinstance(hook, PostAccumulateHook):
                g = checked_hook_result(hook(g), g)
        return super().run_prehooks(g)

    def run_post_accumulate_hooks(self) -> None:
        """The `.grad` of the leaf is what it is to be; hooks get the leaf that users know."""
        known = None if mode.trace is None else mode.trace.original(self.variable)
        leaf = self.variable if known is None else known
        for hook in tuple((self.variable._hooks or {}).values()):
            if isinstance(hook, PostAccumulateHook) and hook.function(leaf) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")


def edge(t: Tensor) -> GradFn | None:
    """The GradFn that a gradient of `t` goes to."""
    if t._grad_fn is not None or not t._requires_grad:
        return t._grad_fn
    found = None if t._accumulator is None else t._accumulator()
    if found is None:
        found = AccumulateGrad(t)
        t._accumulator = ref(found)
    return found


class Saved:
    """A value kept for backward: the payload and its version, without the Tensor."""

    __slots__ = ("array", "dtype", "node", "version", "version_counter")

    def __init__(self, t: Tensor):
        self.array, self.node, self.dtype = t._array, t._node, t._dtype
        self.version_counter, self.version = t._version, t._version[0]

    def keep(self) -> None:
        """Hold a copy: the operation is about to write over the value that its own derivative
        reads.
        """
        self.array = None if self.array is None else self.array.copy()
        self.version_counter, self.version = [0], 0

    def unpack(self, made_by: GradFn | None, of: str) -> Tensor:
        t: Tensor = fill_slots(
            object.__new__(Tensor), self.array, self.node, self.dtype, made_by is not None
        )
        if self.version_counter[0] != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                "inplace operation: "
                f"[tracegrad.{SCALAR_TYPE[self.dtype]}Tensor {list(t.shape)}], which is {of}, is "
                f"at version {self.version_counter[0]}; "
                f"expected version {self.version} instead.{_HINT}"
            )
        t._version = self.version_counter
        if isinstance(made_by, AccumulateGrad):
            t._accumulator = ref(made_by)
        else:
            t._grad_fn = made_by
        return t


class OpBackward(GradFn):
    """The record of one primitive."""

    __slots__ = ("freed", "inputs", "op", "params", "wanted", "y")

    def __init__(
        self, op: OpDef, params: dict, inputs: tuple, edges: tuple, wanted: tuple[int, ...], y: Any
    ):
        super().__init__(op.grad_name, edges)
        self.op, self.params, self.inputs, self.wanted, self.y, self.freed = (
            op,
            params,
            inputs,
            wanted,
            y,
            False,
        )

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        if self.freed:
            raise RuntimeError(FREED)
        y: Any = self.y
        if isinstance(y, Saved):
            y = y.unpack(self, f"output 0 of {self.title}")
        inputs = tuple(
            x.unpack(e, f"output 0 of {e.title}" if e is not None else "an input")
            if isinstance(x, Saved)
            else x
            for x, e in zip(self.inputs, self.edges, strict=True)
        )
        grads: list[Tensor | None] = [None] * len(inputs)
        for k in self.wanted:
            if self.edges[k] is not None:
                grads[k] = cotangent(self.op, k, g, y, inputs, self.params)
        return tuple(grads)

    def has_saved_values(self) -> bool:
        return any(isinstance(x, Saved) for x in (self.y, *self.inputs))

    def release(self) -> None:
        if self.has_saved_values():
            self.freed, self.inputs, self.y = True, (), None


_needs: dict[tuple, tuple[bool, frozenset[int]]] = {}


def _rule_key(name: str, value: Any) -> Any:
    """What a rule may decide by, of a parameter: a flag, a word, a primitive, how many axes."""
    if isinstance(value, (bool, str, OpDef)):
        return name, value
    return (name, len(value)) if isinstance(value, tuple) else name


def operands_read(
    op: OpDef, wanted: tuple[int, ...], inputs: tuple, params: dict, y: Tensor
) -> tuple[bool, frozenset[int]]:
    """Whether the rules for the `wanted` inputs read the answer, and which inputs they read."""
    key: tuple = (op, wanted, len(inputs))
    if params:
        key += tuple(_rule_key(n, v) for n, v in params.items())
    if op.kind is Kind.LINALG:  # rules of factors differ for tall and wide matrices
        key += tuple(x.shape for x in inputs)
    found = _needs.get(key)
    if found is None:
        xs = tuple(input_node(tuple(x.shape), x.dtype) for x in inputs)
        answer, g = (input_node(tuple(y.shape), y.dtype) for _ in range(2))
        try:
            gradients = [cotangent(op, k, g, answer, xs, params) for k in wanted]
        except RuntimeError:  # there is no derivative: said when it is asked for
            return False, frozenset()
        read = set(postorder(gx for gx in gradients if gx is not None))
        found = _needs[key] = (answer in read, frozenset(i for i, x in enumerate(xs) if x in read))
    return found


def record(op: OpDef, inputs: tuple, params: dict, y: Tensor) -> None:
    """Put the operation that made `y` on the tape, if it is differentiable in an input that
    requires grad.
    """
    wanted = tuple(
        [k for k, x in enumerate(inputs)
         if x._requires_grad and x._dtype.kind == "float" and rule_of(op, k) is not None]
    )  # fmt: skip
    if not wanted:
        return
    if mode.edges_only:
        edges = tuple([edge(x) if k in wanted else None for k, x in enumerate(inputs)])
        y._grad_fn = OpBackward(op, params, (), edges, wanted, None)
        y._grad_fn.freed = y._requires_grad = True
        return
    read_y, read = operands_read(op, wanted, inputs, params, y)
    keep: Any = Saved if mode.make_saved is None else mode.make_saved
    saved = tuple(
        [keep(x) if k in read else Aval(x.shape, x._dtype) for k, x in enumerate(inputs)]
    )
    edges = tuple([edge(x) if k in wanted else None for k, x in enumerate(inputs)])
    y._grad_fn = OpBackward(op, params, saved, edges, wanted, None)
    y._grad_fn.y = keep(y) if read_y else Aval(y.shape, y._dtype)
    y._requires_grad = True


def with_grad_name(y: Tensor, title: str) -> Tensor:
    """`y`, whose grad_fn is called `title` from now on."""
    if y._grad_fn is not None:
        y._grad_fn.title = title
    return y


def _edges_of(args: Any) -> list[GradFn | None]:
    found: list[GradFn | None] = []
    for a in args:
        if isinstance(a, Tensor):
            found.append(edge(resolve(a)))
        elif type(a) in (list, tuple):
            found += _edges_of(a)
    return found


def composite(title: str) -> Callable[[Callable], Callable]:
    """Mark a function of primitives as one operation: its result's grad_fn is called `title` and
    shows, as `next_functions`, the function's own tensor arguments. Differentiation goes through
    the primitives all the same.
    """

    def mark(function: Callable) -> Callable:
        @wraps(function)
        def operation(*args: Any, **kwargs: Any) -> Any:
            start = next(sequence_numbers) if mode.grad else 0
            result = function(*args, **kwargs)
            if mode.grad:
                shown_edges: tuple | None = None
                for t in result if isinstance(result, (tuple, list)) else (result,):
                    # what was there before belongs to somebody else: an argument handed through
                    # keeps its name
                    if (fn := getattr(t, "_grad_fn", None)) is not None and fn.sequence > start:
                        if shown_edges is None:
                            shown_edges = tuple(_edges_of((*args, *kwargs.values())))
                        fn.title, fn.shown_edges = title, shown_edges
            return result

        return operation

    return mark
