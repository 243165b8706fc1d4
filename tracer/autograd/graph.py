"""The autograd graph: one autograd node (GradFn) for each recorded operation, with edges to the
nodes of its inputs. The nodes of primitives are in recording.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, NamedTuple
from weakref import ref

from ..mode import mode, resolve, sequence_numbers
from ..tensor.gradient_layout import differentiable_copy
from ..tensor.hidden_base import cut_off_hidden_base
from ..tensor.tensor import RemovableHandle, Tensor
from .node_classes import class_named

leaf_sequence_numbers = itertools.count(-1, -1)  # below those of operations: leaves come last


class GradFn:
    """An autograd node. `edges` lead to the nodes of its inputs; None if an input needs no
    gradient.
    """

    __slots__ = (
        "__weakref__", "composite", "edges", "metadata_", "posthooks", "prehooks", "retainers",
        "sequence", "title",
    )

    def __init__(self, title: str, edges: tuple[GradFn | None, ...], sequence: int | None = None):
        self.title, self.edges = title, edges
        self.sequence = next(sequence_numbers) if sequence is None else sequence
        self.composite: Composite | None = None
        self.prehooks: dict[int, Callable] | None = None
        self.posthooks: dict[int, Callable] | None = None
        self.retainers: Sequence[ref] = ()
        self.metadata_: dict | None = None

    def name(self) -> str:
        """The operation, as torch calls it: 'MulBackward0'."""
        return self.title

    @property
    def next_functions(self) -> tuple:
        """The nodes of the inputs, each paired with 0: every operation here has one output."""
        edges = (self.composite or self).edges
        return tuple((None if e is None else e.shown(), 0) for e in edges)

    def shown(self) -> GradFn:
        """The node as a user sees it: its class has torch's name."""
        if type(self).__name__ != self.title:
            self.__class__ = class_named(type(self), self.title)
        return self

    @property
    def metadata(self) -> dict:
        """A dict for the user's notes."""
        if self.metadata_ is None:
            self.metadata_ = {}
        return self.metadata_

    def register_prehook(self, hook: Callable) -> RemovableHandle:
        """Call `hook((grad,))` with the gradient of the output, before the derivative rule runs."""

        def alone(g: Tensor) -> Any:
            new = hook((g,))
            return new[0] if isinstance(new, (tuple, list)) else new

        return self.register_gradient_hook(alone)

    def register_gradient_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad)` with the gradient of the output."""
        if self.prehooks is None:
            self.prehooks = {}
        return RemovableHandle(self.prehooks, hook)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after the derivative rule has run."""
        if self.posthooks is None:
            self.posthooks = {}
        return RemovableHandle(self.posthooks, hook)

    def check_target(self, roots: Iterable[GradFn]) -> None:
        """Raise if a backward from `roots` cannot give the gradient of the output."""

    def retain(self, t: Tensor) -> None:
        """Store the gradient of the output in the `.grad` of `t`, the output."""
        self.retainers = [*self.retainers, ref(t)]

    def run_prehooks(self, g: Tensor) -> Tensor:
        """Run the hooks on the complete gradient of the output, and return their result."""
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
        """Run `backward()` of a scalar from here if no graph walk is needed. Returns whether it
        ran.
        """
        return False

    def release(self) -> None:
        """Free the saved values."""

    def has_saved_values(self) -> bool:
        """Whether there are saved values to free."""
        return False

    def __repr__(self) -> str:
        return f"<{self.title} object at {id(self):#x}>"


def checked_hook_result(new: Any, g: Tensor) -> Tensor:
    """The gradient after a hook returned `new`."""
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
    """The gradients of several outputs of one operation, on their way to its node."""

    def __init__(self, by_output: dict[int, Tensor]):
        self.by_output = by_output

    def __add__(self, other: OutputGradients) -> OutputGradients:
        gradients = dict(self.by_output)
        for k, g in other.by_output.items():
            gradients[k] = gradients[k] + g if k in gradients else g
        return OutputGradients(gradients)


class OutputNode(GradFn):
    """The node of one of several outputs. It passes the gradient on to the node of the operation.
    """

    __slots__ = ("index",)

    def __init__(self, whole: GradFn, index: int):
        super().__init__(whole.title, (whole,))
        self.index = index

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        return (OutputGradients({self.index: g}),)


class PostAccumulateHook(NamedTuple):
    """A hook of a leaf that runs after its `.grad` is accumulated."""

    function: Callable


class AccumulateGrad(GradFn):
    """The end of the graph: adds a gradient to the `.grad` of a leaf."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor):
        self.title, self.edges, self.sequence = "AccumulateGrad", (), next(leaf_sequence_numbers)
        self.composite = self.prehooks = self.posthooks = self.metadata_ = None
        self.retainers, self.variable = (), variable

    def run_prehooks(self, g: Tensor) -> Tensor:
        for hook in tuple((self.variable._hooks or {}).values()):
            if not isinstance(hook, PostAccumulateHook):
                g = checked_hook_result(hook(g), g)
        return super().run_prehooks(g)

    def run_post_accumulate_hooks(self) -> None:
        """Run the hooks that wait for `.grad`. They get the leaf that the user knows."""
        original = None if mode.trace is None else mode.trace.original(self.variable)
        leaf = self.variable if original is None else original
        for hook in tuple((self.variable._hooks or {}).values()):
            if isinstance(hook, PostAccumulateHook) and hook.function(leaf) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")


def edge(t: Tensor) -> GradFn | None:
    """The node that receives the gradient of `t`."""
    if t._grad_fn is not None or not t._requires_grad:
        return t._grad_fn
    accumulator = None if t._accumulator is None else t._accumulator()
    if accumulator is None:
        accumulator = AccumulateGrad(t)
        t._accumulator = ref(accumulator)
    return accumulator


def with_grad_name(y: Tensor, title: str) -> Tensor:
    """`y`, whose grad_fn is renamed to `title`."""
    if y._grad_fn is not None:
        y._grad_fn.title = title
    return y


class Composite(NamedTuple):
    """One operation made of several, begun at `start`: what its nodes show as edges, and the
    version counters of its arguments and outputs.
    """

    edges: list[GradFn | None]
    inputs: list[list]
    outputs: list[list]
    start: int


def _composite(args: Any, start: int) -> Composite:
    whole = Composite([], [], [], start)
    for a in args:
        if isinstance(a, Tensor):
            a = resolve(a)
            whole.edges.append(edge(a))
            whole.inputs.append(a._version)
        elif type(a) in (list, tuple):
            inner = _composite(a, start)
            whole.edges.extend(inner.edges)
            whole.inputs.extend(inner.inputs)
    return whole


def composite(title: str) -> Callable[[Callable], Callable]:
    """Mark a function of primitives as one operation.

    The grad_fn of its output is called `title`. As `next_functions` it shows the function's own
    tensor arguments. Differentiation still goes through the primitives.
    """

    def mark(function: Callable) -> Callable:
        @wraps(function)
        def operation(*args: Any, **kwargs: Any) -> Any:
            result = planned(title, function, args, kwargs)
            return as_one(title, function, *args, **kwargs) if result is NotImplemented else result

        return operation

    return mark


def planned(title: str, function: Callable, args: tuple, kwargs: dict) -> Any:
    """What plans.py makes of the call, which replaces this; NotImplemented if nothing."""
    return NotImplemented


def as_one(title: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function of primitives as one operation, see `composite`."""
    if not mode.grad:
        return function(*args, **kwargs)
    start = next(sequence_numbers)
    result = function(*args, **kwargs)
    if mode.grad:
        whole: Composite | None = None
        for t in result if isinstance(result, (tuple, list)) else (result,):
            # an older node is that of an argument which is returned: it keeps its name
            if (fn := getattr(t, "_grad_fn", None)) is not None and fn.sequence > start:
                if whole is None:
                    whole = _composite((*args, *kwargs.values()), start)
                whole.outputs.append(t._version)
                fn.title, fn.composite = title, whole
                cut_off_hidden_base(t, start)
    return result
